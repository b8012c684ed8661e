"""Compiled modules: by digest in this process, and by digest on disk for the processes after it.

A file on disk is native code that is run as it stands, so the folder is this user's alone, and names carry all that
the code depends on: the module's digest, wasmtime's version, the machine and the configuration.
"""

import fcntl
import hashlib
import os
import platform
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import wasmtime
    from wasmtime.component import Component

    Kind: TypeAlias = type[wasmtime.Module] | type[Component]

IN_MEMORY = 16
"""Modules kept ready in one child: a node's jobs repeat the same few; each costs its code's size."""
CONFIG = "epoch,no-threads,one-memory"
"""Names the settings of `offer.new_engine`; change it with them."""
MAGIC = b"\x00asm"
CORE_VERSION = b"\x01\x00\x00\x00"
COMPONENT_VERSION = b"\x0d\x00\x01\x00"


class InvalidModule(Exception):
    """The bytes are no WebAssembly, or do not compile; the text says why."""


class Compiled:
    """A module or component that is ready to run, and what was found out about it since."""

    __slots__ = ("code", "linked")

    def __init__(self, code: "wasmtime.Module | Component") -> None:
        self.code = code
        self.linked: dict[bool, wasmtime.InstancePre | None] = {}
        """The module with all that it imports, with and without the web; None where we alone do not offer all that."""


class Modules:
    """Turns module bytes into compiled modules, each compiled once on this machine while the disk remembers it."""

    def __init__(self, engine: "wasmtime.Engine", version: str, folder: Path, disk_bytes: int) -> None:
        self._engine = engine
        self._folder = folder
        self._disk_bytes = disk_bytes
        self._ready: OrderedDict[bytes, Compiled] = OrderedDict()
        self.has_compiled = False
        """Whether this process holds the compiler (its threads, its memory, and some megabytes of its code) and what it
        compiled lies on disk: the next one need not."""
        self._salt = f"{version} {platform.machine()} {CONFIG}".encode()

    def get(self, wasm: bytes) -> Compiled:
        """Return the compiled module or component, as its header says. Raises InvalidModule."""
        key = hashlib.sha256(wasm).digest()
        module = self._ready.get(key)
        if module is not None:
            self._ready.move_to_end(key)
            return module
        _refuse_others(wasm)
        return self._keep(key, self._from_disk(key, wasm))

    def find(self, wasm: bytes) -> Compiled | None:
        """Return a module that is compiled; None where `get` would have to do that."""
        key = hashlib.sha256(wasm).digest()
        code = self._load(self._at(key), _kind(wasm))
        return None if code is None else self._keep(key, code)

    def _keep(self, key: bytes, code: "wasmtime.Module | Component") -> Compiled:
        module = self._ready[key] = Compiled(code)
        if len(self._ready) > IN_MEMORY:
            self._ready.popitem(last=False)
        return module

    def _at(self, key: bytes) -> str:
        return f"{self._folder}/{hashlib.sha256(key + self._salt).hexdigest()}.cwasm"

    def _from_disk(self, key: bytes, wasm: bytes) -> "wasmtime.Module | Component":
        kind = _kind(wasm)
        path = self._at(key)
        module = self._load(path, kind)
        if module is not None:
            return module
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._compiling(Path(path).name):  # many partitions of one job start at once: one child compiles
            module = self._load(path, kind)
            return self._compile(wasm, Path(path), kind) if module is None else module

    def _load(self, path: str, kind: "Kind") -> "wasmtime.Module | Component | None":
        import wasmtime

        try:
            os.utime(path)
            return kind.deserialize_file(self._engine, path)
        except FileNotFoundError:
            return None
        except wasmtime.WasmtimeError:  # cut short by a full disk, or another build: compiled again
            Path(path).unlink(missing_ok=True)
            return None

    def _compile(self, wasm: bytes, path: Path, kind: "Kind") -> "wasmtime.Module | Component":
        import wasmtime

        self.has_compiled = True
        try:
            module = kind(self._engine, wasm)
        except wasmtime.WasmtimeError as error:
            raise InvalidModule(f"the module does not compile: {error}") from error
        partial = path.with_suffix(f".{os.getpid()}.part")
        try:
            partial.write_bytes(module.serialize())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self._shrink(keep=path)
        if self._load(str(path), kind) is None:  # no file there may be run (`noexec`): only this process has the module
            self.has_compiled = False
        return module

    @contextmanager
    def _compiling(self, name: str) -> Iterator[None]:
        descriptor = os.open(self._folder / f"{name[:2]}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _shrink(self, keep: Path) -> None:
        """Remove what was used longest ago until the rest fits; also what a killed child left half written."""
        found: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            if path.suffix == ".lock":
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # another child is tidying up too
                continue
            found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._disk_bytes:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size


def _kind(wasm: bytes) -> "Kind":
    if is_component(wasm):
        from wasmtime.component import Component  # only where there is one: most children never need it

        return Component
    import wasmtime

    return wasmtime.Module


def is_component(wasm: bytes) -> bool:
    """Whether these bytes are a component of WASI preview 2, not a module of preview 1."""
    return wasm[:8] == MAGIC + COMPONENT_VERSION


def _refuse_others(wasm: bytes) -> None:
    if not wasm.startswith(MAGIC):
        raise InvalidModule(f"this is no WebAssembly module: {len(wasm)} bytes that start with {bytes(wasm[:8])!r}")
    if wasm[4:8] not in (CORE_VERSION, COMPONENT_VERSION):
        raise InvalidModule(f"this is WebAssembly of a version that is not run here: {wasm[4:8].hex()}")
