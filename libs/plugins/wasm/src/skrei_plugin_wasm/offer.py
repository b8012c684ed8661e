"""What programs are offered, made once for all runs of a process: wasmtime's engine, WASI, the web, compiled modules.

The zygote makes it before it forks, so a child begins with a copy that took it no time. Nothing of it is a thread.
"""

from pathlib import Path

import wasmtime

from skrei_plugin_wasm.modules import Modules
from skrei_plugin_wasm.web import Web
from skrei_plugin_wasm.web_functions import define

WASI = "wasi_snapshot_preview1"


def new_engine() -> wasmtime.Engine:
    """Return wasmtime with what every run needs: see `modules.CONFIG`."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.wasm_threads = False  # shared memories are not bounded by a store's limits
    config.wasm_multi_memory = False  # the memory limit is per memory, so one module has one
    return wasmtime.Engine(config)


class Exit(Exception):
    """The program called proc_exit."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def proc_exit(code: int) -> None:
    """End the program that runs, with any number."""
    raise Exit(code)


class Offer:
    """The engine of this process and what belongs to it; `web` is what the program that runs now may use."""

    def __init__(self, version: str, cache: Path, cache_bytes: int) -> None:
        self.web: Web | None = None
        self.engine = new_engine()
        self.modules = Modules(self.engine, version, cache, cache_bytes)
        self.linkers = (self.linker(web=False), self.linker(web=True))

    def linker(self, *, web: bool) -> wasmtime.Linker:
        """Return a linker with all that we offer: WASI, and the web where the task may use it."""
        linker = wasmtime.Linker(self.engine)
        linker.define_wasi()
        # wasmtime's own proc_exit takes 0 to 125 only; programs end with any number.
        linker.allow_shadowing = True
        linker.define_func(WASI, "proc_exit", wasmtime.FuncType([wasmtime.ValType.i32()], []), proc_exit)
        if web:
            define(linker, self._the_web)
        return linker

    def _the_web(self) -> Web:
        assert self.web is not None, "only linked where there is one"
        return self.web
