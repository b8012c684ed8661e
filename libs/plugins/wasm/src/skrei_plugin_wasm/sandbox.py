"""One run of a WASI module inside a child process: compile or load, link, run, pack."""

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wasmtime

from skrei_plugin_api.outbound import Outbound, networks
from skrei_plugin_api.packing import OutputTooLarge, PackedResult, pack_result, stream_head
from skrei_plugin_wasm.drain import Drain, OutputLost
from skrei_plugin_wasm.endings import Failed, explain, timeout, unknown_entrypoint
from skrei_plugin_wasm.inputs import read
from skrei_plugin_wasm.layout import File, LayoutError, Preopen, begin, lay_out
from skrei_plugin_wasm.limits import soft_limit
from skrei_plugin_wasm.linking import Linking
from skrei_plugin_wasm.memories import MOST_INSTANCES, bounded
from skrei_plugin_wasm.modules import Compiled, InvalidModule, Modules
from skrei_plugin_wasm.offer import WASI, Exit, Offer
from skrei_plugin_wasm.shared_root import SharedRoot
from skrei_plugin_wasm.web import Web, most_bytes
from skrei_plugin_wasm.web_functions import MODULE as WEB

if TYPE_CHECKING:
    from wasmtime.component import Component

    from skrei_plugin_wasm.commands import Commands

INTERRUPT = signal.SIGUSR1
"""Sent to a child whose run's time is over; it does no other run after that."""
LINE_BYTES = 1024
"""More than the line that says that a stream was cut: it is written beyond the stream's limit."""
TABLE_ELEMENTS = 1_000_000
"""Entries of one table: they lie outside the program's memory; the largest real programs have some 100,000."""


class Sandbox:
    """Runs one program at a time; compiled modules stay ready in between."""

    def __init__(self, offer: Offer, roots: Path) -> None:
        self._root = SharedRoot(roots)
        self._offer = offer
        self._commands: Commands | None = None
        self._store: wasmtime.Store | None = None
        self._drain = Drain()
        self._interrupted = False

    @property
    def modules(self) -> Modules:
        """What is compiled."""
        return self._offer.modules

    def start(self) -> None:
        """Make what was made before a fork this process's own: it hears INTERRUPT, and what programs say, from here on.
        A thread does, since the main one is inside the program."""
        self._drain.open()
        self._drain.start(self._interrupt)
        signal.signal(INTERRUPT, lambda *_: None)

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        """Let programs that say nothing run in a process that has one thread, and is to keep but that one."""
        self._drain.open()
        try:
            yield
        finally:
            self._drain.close()
            self._root.close()

    def run(self, order: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Run what the agent asked for and return the reply's head and body."""
        started = time.monotonic()
        begin(order["workdir"])
        code, failure = None, None
        try:
            code = self._run(order)
        except Failed as error:
            failure = [error.code, str(error)]
        except InvalidModule as error:
            failure = ["module-invalid", str(error)]
        except LayoutError as error:
            failure = ["input-invalid", str(error)]
        except MemoryError:
            failure = ["out-of-memory", f"it needs more than Resources.Memory: {order['memory']} bytes"]
        except OutputLost as error:
            failure = ["engine-lost", str(error)]
        head, body = pack(order, code, failure, started, time.monotonic())
        return head | {"spent": self.modules.has_compiled}, body

    def tidy(self) -> None:
        """Give back what the last run used; it costs a third of a small run, so it is done after the answer."""
        self._store = None

    def close(self) -> None:
        """Leave nothing on disk that only this process uses."""
        self._root.close()

    def _run(self, order: dict[str, Any]) -> int:
        workdir: str = order["workdir"]
        files = [File(*mount) for mount in order["mounts"]]
        outputs = [(name, path) for name, path in order["outputs"]]
        shared = None if outputs or order["stops"] else self._root.of(files)
        preopens = shared or lay_out(workdir, files, outputs, stops=order["stops"])
        compiled = self._offer.modules.get(read(files, order["module"], "EntryModule"))
        store = self._store = wasmtime.Store(self._offer.engine)
        store.set_limits(memory_size=order["memory"] or -1, table_elements=TABLE_ELEMENTS, instances=MOST_INSTANCES)
        store.set_epoch_deadline(1)
        if self._interrupted:  # the epoch moved before the store could notice
            raise timeout(order)
        self._offer.web = _web(order)
        largest = max(order["max_output"], order["max_stream"] + LINE_BYTES)
        with self._drain.into(workdir, order["max_stream"]), _largest_file(largest):
            store.set_wasi(_wasi_config(order, preopens, *self._drain.paths))
            try:
                if isinstance(compiled.code, wasmtime.Module):
                    self._call(store, compiled, compiled.code, files, order)
                    return 0
                with bounded(order["memory"]):
                    return self._command(store, compiled.code, order)
            except Exit as exit_:
                return exit_.code
            except wasmtime.ExitTrap as exit_:
                return exit_.code
            except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
                raise explain(error, order) from error

    def _call(
        self,
        store: wasmtime.Store,
        compiled: Compiled,
        module: wasmtime.Module,
        files: list[File],
        order: dict[str, Any],
    ) -> None:
        web = self._offer.web is not None
        if web not in compiled.linked:
            compiled.linked[web] = self._alone(module, web=web)
        if not order["imports"] and (prepared := compiled.linked[web]) is not None:
            self._enter(store, prepared.instantiate(store), module, order)
            return
        beside = 2 * most_bytes(order["memory"]) if web else 0  # an answer, as it comes and as it is told
        with bounded(order["memory"], beside):
            instance = self._linked(store, module, files, order["imports"], {WASI, WEB} if web else {WASI})
            self._enter(store, instance, module, order)

    def _enter(
        self, store: wasmtime.Store, instance: wasmtime.Instance, module: wasmtime.Module, order: dict[str, Any]
    ) -> None:
        entrypoint: str = order["entrypoint"]
        function = instance.exports(store).get(entrypoint)
        if not isinstance(function, wasmtime.Func):
            raise unknown_entrypoint(entrypoint, module)
        if function.type(store).params:
            raise Failed(
                "export-unknown",
                f"the entrypoint '{entrypoint}' of the WASM module takes parameters; an entrypoint takes none",
            )
        function(store)

    def _command(self, store: wasmtime.Store, component: "Component", order: dict[str, Any]) -> int:
        if order["imports"]:
            raise Failed("module-invalid", "a component brings all that it needs: ImportModules is for modules")
        if self._commands is None:
            from skrei_plugin_wasm.commands import Commands  # 1.6 MB: most children never run a component

            self._commands = Commands(self._offer.engine)
        return self._commands.run(store, component, order["entrypoint"])

    # ------------------------------------------------------------ linking

    def _linked(
        self, store: wasmtime.Store, module: wasmtime.Module, files: list[File], imports: list[str], offered: set[str]
    ) -> wasmtime.Instance:
        """Return the module with all that it imports: from us, from what the task lists, from inputs by name."""
        linker = self._offer.linker(web=self._offer.web is not None)

        def compiled(target: str) -> wasmtime.Module:
            found = self._offer.modules.get(read(files, target, "ImportModules")).code
            if not isinstance(found, wasmtime.Module):
                raise Failed("module-invalid", f"ImportModules '{target}' is a component; only modules can be imported")
            return found

        linking = Linking(linker, store, files, compiled=compiled, offered=offered, listed=imports)
        for target in imports:
            linking.load(target)
        linking.satisfy(module)
        return linker.instantiate(store, module)

    def _alone(self, module: wasmtime.Module, *, web: bool) -> wasmtime.InstancePre | None:
        """Return the module linked with what we offer alone; None where that is not all that it imports."""
        try:
            return self._offer.linkers[web].instantiate_pre(module)
        except wasmtime.WasmtimeError:  # linking it with the rest tells what is wrong, if anything is
            return None

    def _interrupt(self) -> None:
        self._interrupted = True
        self._offer.engine.increment_epoch()


def pack(
    order: dict[str, Any], code: int | None, failure: list[str] | None, started: float, ended: float
) -> tuple[dict[str, Any], bytes]:
    """Return the reply about a run that is over, with what it left."""
    workdir: str = order["workdir"]
    result: PackedResult | None = None
    try:
        result = pack_result(
            workdir,
            [name for name, _ in order["outputs"]],
            code,
            inline_limit=order["inline_limit"],
            max_bytes=order["max_output"],
        )
    except OutputTooLarge as error:
        if failure is None:
            code, failure = None, ["output-too-large", str(error)]
    out, err = stream_head(f"{workdir}/stdout"), stream_head(f"{workdir}/stderr")
    head: dict[str, Any] = {
        "exit": code,
        "failure": failure,
        "started": started,
        "ended": ended,
        "out": [len(out.data), out.truncated],
        "err": [len(err.data), err.truncated],
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    body = out.data + err.data
    if result is not None:
        head["result"] = [result.digest, result.size, None if result.path is None else str(result.path)]
        body += result.data or b""
    return head, body


def _largest_file(limit: int) -> AbstractContextManager[None]:
    """Let no file that the program writes grow beyond `limit`: its write fails (Python ignores SIGXFSZ)."""
    return soft_limit(resource.RLIMIT_FSIZE, limit + 1)  # one more, so that too much is told from just enough


def _wasi_config(order: dict[str, Any], preopens: list[Preopen], stdout: str, stderr: str) -> wasmtime.WasiConfig:
    wasi = wasmtime.WasiConfig()
    wasi.argv = ["", *order["args"]]
    wasi.env = order["env"]
    wasi.stdout_file = stdout
    wasi.stderr_file = stderr
    for one in preopens:
        wasi.preopen_dir(one.host, one.guest, one.writable)
    return wasi


def _web(order: dict[str, Any]) -> Web | None:
    """Return the web as the task may use it; None where it has no network."""
    kind = order["network"].casefold()
    services = tuple((str(host), int(port)) for host, port in order["services"])
    if kind == "none" and not services:
        return None
    domains = tuple(order["domains"]) if kind == "http" else None
    if services and kind in ("", "default", "none"):
        domains = ()  # who uses a service of the node, and asks for no other network, has that alone
    return Web(Outbound(domains, networks(order["private"]), services))
