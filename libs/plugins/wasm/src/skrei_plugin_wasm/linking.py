"""Modules that import each other: those that the task lists, and those that are found by the name of an import."""

from collections.abc import Callable, Iterable
from pathlib import Path

import wasmtime

from skrei_plugin_wasm.endings import Failed
from skrei_plugin_wasm.inputs import exists, locate
from skrei_plugin_wasm.layout import File, guest_path

MOST_MODULES = 64
"""That one program imports: each is compiled, and has its memory."""


def needs(module: wasmtime.Module) -> frozenset[str]:
    """Return the names of the modules that a module imports from."""
    return frozenset(one.module for one in module.imports)


class Linking:
    """Fills a linker for one run. A module stands under its target, its path, and its file's name without suffix."""

    def __init__(
        self,
        linker: wasmtime.Linker,
        store: wasmtime.Store,
        files: list[File],
        *,
        compiled: Callable[[str], wasmtime.Module],
        offered: Iterable[str],
        listed: Iterable[str] = (),
    ) -> None:
        self._linker = linker
        self._store = store
        self._files = files
        self._compiled = compiled
        self._known = set(offered)
        self._listed = {name: target for target in reversed([*listed]) for name in _names(target)}
        self._loaded: set[str] = set()
        self._under_way: list[str] = []

    def load(self, target: str) -> None:
        """Instantiate the module at `target`, once, after those that it imports. Raises Failed, and wasmtime's errors.

        A module that two import is one and the same for both: what it holds is theirs together.
        """
        path = guest_path(target)
        if path in self._loaded:
            return
        if path in self._under_way:
            circle = " → ".join([*self._under_way[self._under_way.index(path) :], path])
            raise Failed("module-invalid", f"modules import each other in a circle: {circle}")
        if len(self._loaded) + len(self._under_way) >= MOST_MODULES:
            raise Failed("module-invalid", f"a program may import {MOST_MODULES} modules")
        self._under_way.append(path)
        module = self._compiled(target)
        self.satisfy(module)
        instance = self._linker.instantiate(self._store, module)
        for name in _names(target):
            self._linker.define_instance(self._store, name, instance)
            self._known.add(name)
        self._loaded.add(self._under_way.pop())

    def satisfy(self, module: wasmtime.Module) -> None:
        """Load what a module imports and nobody offers yet: what the task lists under that name, else what an input
        has there."""
        for name in sorted(needs(module)):
            if name in self._known:
                continue
            if name in self._listed:
                self.load(self._listed[name])
            elif (place := locate(self._files, name)) is not None and exists(place):
                self.load(name)


def _names(target: str) -> tuple[str, ...]:
    path = guest_path(target)
    return tuple(dict.fromkeys((target, path, path.lstrip("/"), Path(path).stem)))
