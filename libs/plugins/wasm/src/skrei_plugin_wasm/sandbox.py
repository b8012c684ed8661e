"""One run of a WASI module inside a child process: compile or load, link, run, pack."""

import os
import resource
import signal
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import wasmtime

from skrei_plugin_api.outbound import Outbound, networks
from skrei_plugin_api.packing import OutputTooLarge, PackedResult, pack_result, stream_head
from skrei_plugin_wasm.drain import Drain, OutputLost
from skrei_plugin_wasm.endings import Failed, explain, timeout, unknown_entrypoint
from skrei_plugin_wasm.inputs import read
from skrei_plugin_wasm.layout import File, LayoutError, Preopen, begin, lay_out
from skrei_plugin_wasm.limits import soft_limit
from skrei_plugin_wasm.linking import Linking, needs
from skrei_plugin_wasm.memories import MOST_INSTANCES, bounded
from skrei_plugin_wasm.modules import InvalidModule
from skrei_plugin_wasm.offer import WASI, Exit, Offer
from skrei_plugin_wasm.shared_root import SharedRoot
from skrei_plugin_wasm.web import Web, most_bytes
from skrei_plugin_wasm.web_functions import MODULE as WEB

if TYPE_CHECKING:
    from wasmtime.component import Component

    from skrei_plugin_wasm.commands import Commands

_Prepared: TypeAlias = "WeakKeyDictionary[wasmtime.Module, wasmtime.InstancePre]"

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
        self._instances: tuple[_Prepared, _Prepared] = (WeakKeyDictionary(), WeakKeyDictionary())
        self._needed: WeakKeyDictionary[wasmtime.Module, frozenset[str]] = WeakKeyDictionary()
        self._commands: Commands | None = None
        self._store: wasmtime.Store | None = None
        self._drain = Drain()
        self._interrupted = False
        self._listen()

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
        return pack(order, code, failure, started, time.monotonic())

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
        module = self._offer.modules.get(read(files, order["module"], "EntryModule"))
        store = self._store = wasmtime.Store(self._offer.engine)
        store.set_limits(memory_size=order["memory"] or -1, table_elements=TABLE_ELEMENTS, instances=MOST_INSTANCES)
        store.set_epoch_deadline(1)
        if self._interrupted:  # the epoch moved before the store could notice
            raise timeout(order)
        self._offer.web = _web(order)
        largest = max(order["max_output"], order["max_stream"] + LINE_BYTES)
        with self._drain.into(Path(workdir), order["max_stream"]), _largest_file(largest):
            store.set_wasi(_wasi_config(order, preopens, *self._drain.paths))
            try:
                if isinstance(module, wasmtime.Module):
                    self._call(store, module, files, order)
                    return 0
                with bounded(order["memory"]):
                    return self._command(store, module, order)
            except Exit as exit_:
                return exit_.code
            except wasmtime.ExitTrap as exit_:
                return exit_.code
            except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
                raise explain(error, order) from error

    def _call(self, store: wasmtime.Store, module: wasmtime.Module, files: list[File], order: dict[str, Any]) -> None:
        offered = {WASI} if self._offer.web is None else {WASI, WEB}
        if not order["imports"] and self._needs(module) <= offered:
            self._enter(
                store, self._prepared(module, web=self._offer.web is not None).instantiate(store), module, order
            )
            return
        beside = (
            0 if self._offer.web is None else 2 * most_bytes(order["memory"])
        )  # an answer, as it comes and as it is told
        with bounded(order["memory"], beside):
            instance = self._linked(store, module, files, order["imports"], offered)
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
            found = self._offer.modules.get(read(files, target, "ImportModules"))
            if not isinstance(found, wasmtime.Module):
                raise Failed("module-invalid", f"ImportModules '{target}' is a component; only modules can be imported")
            return found

        linking = Linking(linker, store, files, compiled=compiled, offered=offered, listed=imports)
        for target in imports:
            linking.load(target)
        linking.satisfy(module)
        return linker.instantiate(store, module)

    def _needs(self, module: wasmtime.Module) -> frozenset[str]:
        found = self._needed.get(module)
        if found is None:
            found = self._needed[module] = needs(module)
        return found

    def _prepared(self, module: wasmtime.Module, *, web: bool) -> wasmtime.InstancePre:
        """Return the module linked with what we offer alone, once for all its runs in this process."""
        known = self._instances[web]
        made = known.get(module)
        if made is None:
            made = known[module] = self._offer.linkers[web].instantiate_pre(module)
        return made

    def _listen(self) -> None:
        """Let INTERRUPT move the epoch: the main thread is inside the program, so a thread of its own does it."""
        awake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(INTERRUPT, lambda *_: None)

        def interrupt() -> None:
            os.read(awake, 1)
            self._interrupted = True
            self._offer.engine.increment_epoch()

        threading.Thread(target=interrupt, name="interrupt", daemon=True).start()


def pack(
    order: dict[str, Any], code: int | None, failure: list[str] | None, started: float, ended: float
) -> tuple[dict[str, Any], bytes]:
    """Return the reply about a run that is over, with what it left."""
    workdir = Path(order["workdir"])
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
    out, err = stream_head(workdir / "stdout"), stream_head(workdir / "stderr")
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
