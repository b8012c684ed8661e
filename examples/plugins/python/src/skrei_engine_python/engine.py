"""The `python` engine: scripts that run in Python environments of the node, with whatever libraries are there.

The node's owner names the environments that jobs may use
(`SKREI_PLUGIN_OPTIONS="python_environments=science=/srv/venvs/science web=/srv/venvs/web"`); a job names one of them.

**There is no isolation.** A script is a process of the agent's user: it may read and change whatever that user may,
also the agent's own files and the inputs of others, and it reaches whatever the node reaches. It is for nodes whose
owner trusts everybody who may submit jobs. Resources are what the scheduler reckons with; nothing else keeps to them.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from skrei_domain.job_reading import FieldProblem, show
from skrei_engine_python.devices import visible
from skrei_engine_python.layout import DoNotFit, inside, lay_out
from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.engine import (
    Engine,
    EngineFailure,
    FailureCode,
    RunEvents,
    RunOutcome,
    RunRequest,
    unknown_network,
)
from skrei_plugin_api.outcomes import outcome_of
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginInfo, param
from skrei_plugin_api.streams import NAMES, StreamFile

OPTION = "python_environments"
BEGIN = Path(__file__).with_name("begin.py")
GRACE_SECONDS = 10.0
"""Between being asked to end and being killed, where the task says no StopGrace: as containers have it."""
LAST_WORDS_SECONDS = 1.0
"""For what is still in the pipes once a script is gone. Who went into a session of its own may hold them for ever."""
CHUNK = 64 * 1024
"""Read of a stream at once."""


class PythonEngine(Engine):
    """Runs a script, each time in a process of its own, and whatever that starts."""

    plugin_api = PLUGIN_API
    name = "python"
    version = "0.5.0"

    async def describe(self) -> PluginInfo:
        """Say whether the owner named environments, and which of them are not there: the node looks for those."""
        named = self._named()
        if not named:
            named_by = f"SKREI_PLUGIN_OPTIONS={OPTION}=NAME=FOLDER"
            return PluginInfo(available=False, reason=f"its owner names no Python environments ({named_by})")
        missing = tuple(str(path) for path in named.values() if not os.access(path, os.X_OK))
        return PluginInfo(
            available=len(missing) < len(named),
            version=f"{self.version}: {', '.join(sorted(named))}",
            missing_paths=missing,
        )

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every wrong parameter. Pure: which environments there are, only the node knows."""
        problems = []
        for name, allowed in (
            ("Script", "the target of the input that is the script, or its place in a folder that is one"),
            ("Environment", "the name of one of the node's Python environments"),
        ):
            value = param(params, name)
            if not isinstance(value, str) or not value:
                problems.append(FieldProblem(name, show(value), allowed))
        words = param(params, "Parameters")
        if words is not None and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            problems.append(FieldProblem("Parameters", show(words), "a list of texts"))
        return problems

    async def run(self, request: RunRequest, events: RunEvents) -> RunOutcome:
        """Run a script to its end. Cancelled, it gets SIGTERM, and SIGKILL after its grace."""
        began = time.monotonic()
        try:
            words = self._command(request)
        except Refused as refused:
            return RunOutcome(None, refused.failure, began, time.monotonic())
        process, keeping = await _begin(request, words)
        events.running()
        try:
            failure = await _end(request, process)
        finally:
            _signal(process, signal.SIGKILL)
            await asyncio.shield(_last_words(process, keeping))
        if failure is None and process.returncode is not None and process.returncode < 0:
            ended_by = signal.Signals(-process.returncode).name
            failure = EngineFailure(FailureCode.TRAP, f"the script was ended by {ended_by}")
        code, ended = process.returncode if failure is None else None, time.monotonic()
        return await to_its_end(lambda: outcome_of(request, code, failure, started_at=began, ended_at=ended))

    def _command(self, request: RunRequest) -> list[str]:
        """Lay out the files, and return the command. Raises Refused."""
        if (unknown := unknown_network(request)) is not None:
            raise Refused(unknown.code, unknown.message)
        if request.network.casefold() == "http":
            raise Refused(
                FailureCode.NETWORK_UNSUPPORTED, "scripts have the node's own network: nothing filters it by domain"
            )
        name = param(request.params, "Environment")
        interpreter = self._named().get(name)
        if interpreter is None or not os.access(interpreter, os.X_OK):
            have = ", ".join(sorted(self._named())) or "none"
            raise Refused(
                FailureCode.EXECUTABLE_INVALID, f"this node has no Python environment {name!r}; it has {have}"
            )
        try:
            lay_out(_root(request), request.mounts, request.outputs, request.workdir / "outputs")
            script = inside(_root(request), param(request.params, "Script"))
        except DoNotFit as error:
            raise Refused(FailureCode.INPUT_INVALID, str(error)) from error
        if not script.is_file():
            raise Refused(FailureCode.INPUT_INVALID, f"no input brings the script {param(request.params, 'Script')!r}")
        words = param(request.params, "Parameters") or []
        return [str(interpreter), "-u", str(BEGIN), str(os.getpid()), str(script), *words]

    def _named(self) -> dict[str, Path]:
        """Return the interpreters by the names that the owner gave their environments."""
        pairs = (text.partition("=") for text in self.context.options.get(OPTION, "").split())
        folder = "Scripts" if sys.platform == "win32" else "bin"
        return {name: Path(path) / folder / "python" for name, _, path in pairs if name and path}


class Refused(Exception):
    """A run that cannot begin, and why."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.failure = EngineFailure(code, message)


def _root(request: RunRequest) -> Path:
    return request.workdir / "root"


Keeping = list["asyncio.Task[None]"]
"""What keeps the streams of a script; each is done when nobody holds its stream any more."""


async def _begin(request: RunRequest, words: list[str]) -> tuple[asyncio.subprocess.Process, Keeping]:
    """Start a command whose streams go to their files. Raises OSError.

    The pipes are ours, not asyncio's: for that a process has not ended while somebody holds its pipes.
    """
    pipes = {number: os.pipe() for number in NAMES}
    keeping = [asyncio.ensure_future(_keep(request, number, reads)) for number, (reads, _) in pipes.items()]
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=_root(request),
            env={**request.env, **visible(request.gpus)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipes[1][1],
            stderr=pipes[2][1],
            start_new_session=True,  # what it starts is ended with it
        )
    finally:
        for _, writes in pipes.values():
            os.close(writes)
    return process, keeping


async def _keep(request: RunRequest, number: int, pipe: int) -> None:
    """Write what comes through a pipe to its stream's file, until nobody holds the other end any more."""
    reader = asyncio.StreamReader()
    file = StreamFile(request.workdir, NAMES[number], request.max_stream_bytes)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", 0)
    )
    try:
        while data := await reader.read(CHUNK):
            file.write(data)
    finally:
        transport.close()
        file.close()


async def _last_words(process: asyncio.subprocess.Process, keeping: Keeping) -> None:
    """Return when a script that was killed is gone, and what it had said is kept."""
    await process.wait()
    _, speaking = await asyncio.wait(keeping, timeout=LAST_WORDS_SECONDS)
    for one in speaking:
        one.cancel()
    await asyncio.gather(*keeping, return_exceptions=bool(speaking))


async def _end(request: RunRequest, process: asyncio.subprocess.Process) -> EngineFailure | None:
    """Wait for the end of a script, and bring it about where it is over; return why that was."""
    ending = asyncio.ensure_future(process.wait())
    waited: set[asyncio.Future[Any]] = {ending} if request.cut is None else {ending, request.cut}
    try:
        await asyncio.wait(waited, timeout=request.timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await _ask_to_end(request, process, ending)
        raise
    if ending.done():
        return None
    if request.cut is not None and request.cut.done():
        return request.cut.result()
    await _ask_to_end(request, process, ending)
    return EngineFailure(FailureCode.TIMEOUT, f"it ran longer than its limit of {request.timeout_seconds:g} s")


async def _ask_to_end(request: RunRequest, process: asyncio.subprocess.Process, ending: "asyncio.Future[int]") -> None:
    """Ask a script to end, and give it its time for that."""
    grace = GRACE_SECONDS if request.stop_grace_seconds is None else request.stop_grace_seconds
    if grace and not ending.done():
        _signal(process, signal.SIGTERM)
        await asyncio.wait([ending], timeout=grace)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to the script and all that it has started and not sent into a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.returncode is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, 0)
                return  # all of it is gone: its number is somebody else's by now
        os.killpg(process.pid, number)
