"""An engine that does what its params say, without running anything: for tests of whoever uses engines.

Params: `Say`, `SayError` (texts), `Write` (`{"<output>/<file>": text}`), `PrintEnv` (true: the whole environment),
`PrintFile` (target of an input), then `Seconds` or `Forever`, then `ExitCode`, `Trap` (message) or `Fail`
(`{"Code": …, "Message": …}`). Time is asyncio's, or a test's own.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from skrei_domain.errors import SkreiError
from skrei_domain.job_reading import FieldProblem, show
from skrei_plugin_api.engine import (
    CommandOutcome,
    CommandRequest,
    Engine,
    EngineFailure,
    FailureCode,
    RunEvents,
    RunOutcome,
    RunRequest,
    unknown_network,
)
from skrei_plugin_api.outcomes import outcome_of
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo, param
from skrei_plugin_api.streams import StreamFile

_KINDS: dict[str, tuple[type, ...]] = {
    "Say": (str,),
    "SayError": (str,),
    "Write": (dict,),
    "PrintEnv": (bool,),
    "PrintFile": (str,),
    "Seconds": (int, float),
    "Forever": (bool,),
    "ExitCode": (int,),
    "Trap": (str,),
    "Fail": (dict,),
}


class NotAlive(SkreiError):
    """There is nothing beside which a command could run."""

    code = "not-alive"


class ScriptedEngine(Engine):
    """Runs scripts given as params; keeps the engine contract. `alive` names the executions that run now."""

    plugin_api = PLUGIN_API
    name = "scripted"
    version = "1"
    commands = True

    def __init__(
        self,
        context: PluginContext,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(context)
        self._sleep = sleep
        self._now = now
        self.alive: set[str] = set()

    async def describe(self) -> PluginInfo:
        """Say that it works everywhere."""
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every param of another type than the script wants."""
        return [
            FieldProblem(name, show(value), " or ".join(kind.__name__ for kind in kinds))
            for name, kinds in _KINDS.items()
            if (value := param(params, name)) is not None and not isinstance(value, kinds)
        ]

    async def run(self, request: RunRequest, events: RunEvents) -> RunOutcome:
        """Do what the params say."""
        started = self._now()
        if (unknown := unknown_network(request)) is not None:
            return RunOutcome(None, unknown, started, started)
        self.alive.add(request.execution_id)
        try:
            events.running()
            _write_all(request)
            code, failure = await self._end_or_cut(request)
        finally:
            self.alive.discard(request.execution_id)
        return outcome_of(request, code, failure, started_at=started, ended_at=self._now())

    async def command(self, request: CommandRequest) -> CommandOutcome:
        """Do what its words say: `say TEXT`, `exit CODE`, or `forever`."""
        if request.execution_id not in self.alive:
            raise NotAlive(f"{request.execution_id} does not run")
        words = dict(zip(request.command[::2], request.command[1::2], strict=False))
        said = words.get("say", "").encode()[-request.most_output_bytes :]
        if request.command[-1] != "forever":
            return CommandOutcome(int(words.get("exit", 0)), said)
        await self._sleep(request.timeout_seconds)
        return CommandOutcome(None, said)

    async def _end_or_cut(self, request: RunRequest) -> tuple[int | None, EngineFailure | None]:
        if request.cut is None:
            return await self._end(request)
        ending = asyncio.ensure_future(self._end(request))
        try:
            first: set[asyncio.Future[Any]] = {ending, request.cut}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            return ending.result() if ending.done() else (None, request.cut.result())
        finally:
            ending.cancel()

    async def _end(self, request: RunRequest) -> tuple[int | None, EngineFailure | None]:
        params, limit = request.params, request.timeout_seconds
        seconds = math.inf if param(params, "Forever") else float(param(params, "Seconds") or 0)
        if limit is not None and seconds > limit:
            await self._sleep(limit)
            return None, EngineFailure(FailureCode.TIMEOUT, f"it ran longer than its limit of {limit:g} s")
        if seconds == math.inf:
            await asyncio.get_running_loop().create_future()  # until it is cancelled
        elif seconds:
            await self._sleep(seconds)
        if trap := param(params, "Trap"):
            return None, EngineFailure(FailureCode.TRAP, trap)
        if fail := param(params, "Fail"):
            return None, EngineFailure(FailureCode(param(fail, "Code")), str(param(fail, "Message")))
        return int(param(params, "ExitCode") or 0), None


def _write_all(request: RunRequest) -> None:
    """Write at once what the program says and makes."""
    params = request.params
    said = str(param(params, "Say") or "").encode()
    if param(params, "PrintEnv"):
        said += b"".join(f"{name}={value}\0".encode() for name, value in sorted(request.env.items()))
    if (target := param(params, "PrintFile")) is not None:
        said += next(mount.source for mount in request.mounts if mount.target == target).read_bytes()
    for name, data in (("stdout", said), ("stderr", str(param(params, "SayError") or "").encode())):
        file = StreamFile(request.workdir, name, request.max_stream_bytes)
        file.write(data)
        file.close()
    for output in request.outputs:
        (request.workdir / "outputs" / output.name).mkdir(parents=True)
    written: dict[str, Any] = param(params, "Write") or {}
    for name, text in written.items():
        path: Path = request.workdir / "outputs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
