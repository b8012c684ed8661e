"""The wasm engine as the agent sees it: orders go out, outcomes come back. wasmtime is never imported here."""

import asyncio
import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skrei_domain.errors import SkreiError
from skrei_domain.job_reading import FieldProblem, show
from skrei_plugin_api.aside import whatever_happens
from skrei_plugin_api.engine import (
    Engine,
    EngineFailure,
    FailureCode,
    RunEvents,
    RunOutcome,
    RunRequest,
    unknown_network,
)
from skrei_plugin_api.packing import PackedResult, StreamHead
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo, param
from skrei_plugin_wasm.layout import has_begun
from skrei_plugin_wasm.pool import Pool, PoolClosed
from skrei_plugin_wasm.process import Child, ChildLost, Reply
from skrei_plugin_wasm.settings import WasmSettings
from skrei_plugin_wasm.stopping import ask_to_stop, stop_variables

DEFAULT_ENTRYPOINT = "_start"


class EngineClosed(SkreiError):
    """The node ends: nothing of the run has happened."""

    code = "engine-closed"
    retryable = True


class WasmEngine(Engine):
    """Runs WASI modules (preview 1) and components (preview 2), each in a child process that can be killed."""

    plugin_api = PLUGIN_API
    name = "wasm"
    version = "0.5.0"

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._settings = WasmSettings.from_options(context.options)
        self.pool = Pool(self._settings, context.state_dir / "modules")
        self._leaving = False

    async def describe(self) -> PluginInfo:
        """Say whether wasmtime is installed, without importing it."""
        if importlib.util.find_spec("wasmtime") is None:
            return PluginInfo(available=False, reason="the package `wasmtime` is not installed")
        if sys.platform not in {"linux", "darwin"}:
            return PluginInfo(available=False, reason=f"children are forked, which {sys.platform} cannot do")
        return PluginInfo(available=True, version=version("wasmtime"))

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every wrong parameter."""
        problems = []
        module = param(params, "EntryModule")
        if not (isinstance(module, str) and module):
            problems.append(FieldProblem("EntryModule", show(module), "the target of the input that brings the module"))
        entrypoint = param(params, "Entrypoint")
        if not isinstance(entrypoint, str | None):
            problems.append(FieldProblem("Entrypoint", show(entrypoint), "the name of an exported function"))
        for name, allowed in (("Parameters", "a list of texts"), ("ImportModules", "a list of targets of inputs")):
            value = param(params, name)
            if value is not None and not _are_texts(value):
                problems.append(FieldProblem(name, show(value), allowed))
        return problems

    async def run(self, request: RunRequest, events: RunEvents) -> RunOutcome:
        """Run a module in a child process of its own; cancelled, it has its grace, then the child is killed."""
        if (failure := unknown_network(request)) is not None:
            began = time.monotonic()
            return RunOutcome(None, failure, began, began)
        order = _order(request, self.context.allow_addresses)
        told = False
        while True:
            try:
                child = await self.pool.take()
            except PoolClosed:
                raise EngineClosed("the wasm engine of this node is closed") from None
            if not told:
                events.running()
                told = True
            started = time.monotonic()
            try:
                with self._cuttable(child, request.cut):
                    head, body = await self._ask(child, order)
            except ChildLost:
                if request.cut is not None and request.cut.done():
                    return await self._lost(order, started, *_words(request.cut.result()))
                if not has_begun(request.workdir):
                    continue  # it died idle: nothing of this run has happened
                return await self._lost(order, started, "engine-lost", "the process that ran the module is gone")
            except TimeoutError:
                await self.pool.kill(child)
                message = f"it ran longer than its limit of {order['timeout']:g} s"
                return await self._lost(order, started, "timeout", message)
            except asyncio.CancelledError:
                try:
                    await self._grace(request, child.answer, started)
                finally:
                    # Also where that is cancelled: nobody else would end its program. When we leave, the pool does.
                    await whatever_happens(self._take_back(child, child.answer), unless=lambda: self._leaving)
                raise
            self._give_back(child, head)
            return _outcome(head, body)

    def leave(self) -> None:
        """The agent ends, and its children with it: nobody has a grace any more."""
        self._leaving = True

    async def _grace(self, request: RunRequest, answer: "asyncio.Future[Reply]", started: float) -> None:
        """Ask a program to end, and give it its time for that, within what it has to run at all. Ends early when it is
        cancelled itself."""
        if request.stop_grace_seconds and not self._leaving:
            ask_to_stop(request.workdir)
            grace = float(request.stop_grace_seconds)
            if request.timeout_seconds is not None:
                grace = min(grace, max(0.0, started + request.timeout_seconds - time.monotonic()))
            await asyncio.wait([answer], timeout=grace)

    async def _take_back(self, child: Child, answer: "asyncio.Future[Reply]") -> None:
        """End what still runs of a run that is cancelled; only a child that has answered goes on to the next."""
        if not answer.done() and not self._leaving:
            self.pool.interrupt(child)  # it tells what its program has said to the last byte
            await asyncio.wait([answer], timeout=self._settings.grace_seconds)
        if not answer.done():
            await self.pool.kill(child)
            await asyncio.wait([answer])
        if answer.exception() is None:
            self._give_back(child, answer.result()[0])
        else:  # it is lost
            await self.pool.kill(child)

    def _give_back(self, child: Child, head: dict[str, Any]) -> None:
        self.pool.give(child, rss_kib=head["rss"], spent=head.get("spent", False))

    async def close(self) -> None:
        """End the children and the zygote, whatever they do."""
        await self.pool.close()

    @contextmanager
    def _cuttable(self, child: Child, cut: "asyncio.Future[EngineFailure] | None") -> Iterator[None]:
        """Kill the child, whatever it does, once the run is to be cut off."""
        if cut is None:
            yield
            return

        def end(_: "asyncio.Future[EngineFailure]") -> None:
            self.pool.end(child)

        cut.add_done_callback(end)
        try:
            yield
        finally:
            cut.remove_done_callback(end)

    async def _ask(self, child: Child, order: dict[str, Any]) -> Reply:
        """Return the child's answer. At the timeout its program is interrupted; raises TimeoutError if that is vain."""
        if order["timeout"] is None:
            return await child.ask(order)
        interrupt = asyncio.get_running_loop().call_later(order["timeout"], self.pool.interrupt, child)
        try:
            async with asyncio.timeout(order["timeout"] + self._settings.grace_seconds):
                return await child.ask(order)
        finally:
            interrupt.cancel()

    async def _lost(self, order: dict[str, Any], started: float, code: str, message: str) -> RunOutcome:
        """Have another child pack what a killed one left."""
        packing = {
            "packs": [code, message],
            "started": started,
            "ended": time.monotonic(),
            **{name: order[name] for name in ("workdir", "outputs", "inline_limit", "max_output")},
        }
        try:
            child = await self.pool.take()
            head, body = await self._pack(child, packing)
        except (ChildLost, PoolClosed, OSError):  # its logs are lost with it
            return RunOutcome(None, EngineFailure(FailureCode(code), message), started, time.monotonic())
        self._give_back(child, head)
        if "trouble" in head:  # why it was ended counts more than that nothing could be packed
            return RunOutcome(None, EngineFailure(FailureCode(code), message), started, time.monotonic())
        return _outcome(head, body)

    async def _pack(self, child: Child, packing: dict[str, Any]) -> Reply:
        try:
            return await child.ask(packing)
        except asyncio.CancelledError:
            await self.pool.kill(child)
            raise


def _order(request: RunRequest, private: tuple[str, ...]) -> dict[str, Any]:
    params = request.params
    return {
        "workdir": str(request.workdir),
        "module": param(params, "EntryModule"),
        "entrypoint": param(params, "Entrypoint") or DEFAULT_ENTRYPOINT,
        "args": param(params, "Parameters") or [],
        "imports": param(params, "ImportModules") or [],
        "env": sorted((*request.env.items(), *stop_variables(request))),
        "mounts": [(str(mount.source), mount.target, mount.read_write) for mount in request.mounts],
        "outputs": [(output.name, output.path) for output in request.outputs],
        "memory": request.resources.memory_bytes,
        "timeout": request.timeout_seconds,
        "network": request.network,
        "domains": request.domains,
        "private": private,
        "services": [(way.host, way.port) for way in request.services],
        "stops": bool(request.stop_grace_seconds),
        "max_output": request.max_output_bytes,
        "max_stream": request.max_stream_bytes,
        "inline_limit": request.inline_result_limit,
    }


def _outcome(head: dict[str, Any], body: bytes) -> RunOutcome:
    """Return what a child's answer says. Raises OSError for what is wrong with this node."""
    if "trouble" in head:
        raise OSError(*head["trouble"])
    failure = head["failure"]
    (out_size, out_more), (err_size, err_more) = head["out"], head["err"]
    data_at = out_size + err_size
    result = None
    if (packed := head.get("result")) is not None:
        digest, size, path = packed
        result = (
            PackedResult(digest, size, body[data_at:]) if path is None else PackedResult(digest, size, path=Path(path))
        )
    return RunOutcome(
        exit_code=head["exit"],
        failure=None if failure is None else EngineFailure(FailureCode(failure[0]), failure[1]),
        started_at=head["started"],
        ended_at=head["ended"],
        stdout_head=StreamHead(body[:out_size], out_more),
        stderr_head=StreamHead(body[out_size:data_at], err_more),
        result=result,
    )


def _words(failure: EngineFailure) -> tuple[str, str]:
    return failure.code.value, failure.message


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
