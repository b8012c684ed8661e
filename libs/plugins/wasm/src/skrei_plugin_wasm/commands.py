"""WASI preview 2: components that are commands, and how they end. Imports wasmtime's component API, 1.6 MB a child."""

import wasmtime
from wasmtime import component as components

from skrei_plugin_wasm.endings import Failed

RUN = "wasi:cli/run@0.2.0"
"""What a command exports, in any version of 0.2: the linker finds later ones by it."""
USUAL = ("_start", "run")
"""Entrypoints that mean: run the command."""


class Commands:
    """Runs components with the interfaces of WASI preview 2, without its network."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._linker = components.Linker(engine)
        self._linker.add_wasip2()

    def run(self, store: wasmtime.Store, component: components.Component, entrypoint: str) -> int:
        """Call a component's entrypoint and return its exit code: 0, or 1 where it says that it failed.

        Raises Failed for an entrypoint that it has not, and wasmtime's errors.
        """
        instance = self._linker.instantiate(store, component)
        if entrypoint in USUAL:
            command = instance.get_export_index(store, RUN)
            index = command and instance.get_export_index(store, "run", command)
        else:
            index = instance.get_export_index(store, entrypoint)
        function = index and instance.get_func(store, index)
        if not function:
            raise self._unknown(entrypoint, component)
        if function.type(store).params:
            raise Failed("export-unknown", f"the entrypoint '{entrypoint}' takes parameters; an entrypoint takes none")
        result = function(store)
        function.post_return(store)
        return 1 if getattr(result, "tag", "ok") == "err" else 0

    def _unknown(self, entrypoint: str, component: components.Component) -> Failed:
        told = ", ".join(sorted(component.type.exports(self._engine))[:20]) or "nothing"
        return Failed(
            "export-unknown",
            f"unable to find the entrypoint '{entrypoint}' in the WASM module: a component that is a command exports "
            f"wasi:cli/run; this one exports {told}",
        )
