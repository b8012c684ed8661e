"""WASI modules for tests, written as text: what a contract suite's behaviour is in WebAssembly."""

import posixpath
from collections.abc import Mapping

import wasmtime

from skrei_plugin_api.testing import Behaviour

HEAD = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func $write (param $fd i32) (param $at i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $size))
    (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $open (param $dir i32) (param $at i32) (param $size i32) (param $flags i32) (param $rights i64) (result i32)
    (if (call $path_open (local.get $dir) (i32.const 0) (local.get $at) (local.get $size) (local.get $flags)
          (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 12))
      (then (call $proc_exit (i32.const 111))))
    (i32.load (i32.const 12)))
"""
_DATA = 1024
_BUFFER = 65536
_CREATE, _READ, _WRITE = 1, 2, 64
ROOT_FD = 3
"""The first folder that a program finds open; outputs follow in the order of their paths."""
CANNOT_OPEN = 111


def wat(text: str) -> bytes:
    """Return the module, or component, that a text is."""
    return bytes(wasmtime.wat2wasm(text))


def module(body: str, head: str = HEAD, tail: str = "") -> bytes:
    """Return a module whose `_start` is `body`."""
    return wat(f'{head}{tail}\n  (func (export "_start")\n{body}))')


def behaving(behaviour: Behaviour, fds: Mapping[str, int] | None = None, *, file_fd: int = ROOT_FD) -> bytes:
    """Return a module that behaves so; `fds` says where outputs are open, `file_fd` where `print_file` lies."""
    fds = fds or {"first": ROOT_FD + 1, "second": ROOT_FD + 2}
    data: list[str] = []
    end = _DATA

    def put(text: str) -> tuple[int, int]:
        nonlocal end
        raw, at = text.encode(), end
        end += len(raw)
        data.append(f'  (data (i32.const {at}) "{_escaped(raw)}")')
        return at, len(raw)

    body = []
    for fd, text in ((1, behaviour.say), (2, behaviour.say_error)):
        if text:
            at, size = put(text)
            body.append(f"(call $write (i32.const {fd}) (i32.const {at}) (i32.const {size}))")
    if behaviour.print_env:
        body.append(
            f"(drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))"
            f"(drop (call $environ_get (i32.const {_BUFFER}) (i32.const {_BUFFER + 4096})))"
            f"(call $write (i32.const 1) (i32.const {_BUFFER + 4096}) (i32.load (i32.const 20)))"
        )
    if behaviour.print_file:
        at, size = put(posixpath.relpath(behaviour.print_file, "/"))
        body.append(
            f"(i32.store (i32.const 24) (i32.const {_BUFFER})) (i32.store (i32.const 28) (i32.const 8192))"
            f"(drop (call $fd_read (call $open (i32.const {file_fd}) (i32.const {at}) (i32.const {size}) (i32.const 0)"
            f" (i64.const {_READ})) (i32.const 24) (i32.const 1) (i32.const 32)))"
            f"(call $write (i32.const 1) (i32.const {_BUFFER}) (i32.load (i32.const 32)))"
        )
    for name, text in behaviour.write.items():
        output, _, file = name.partition("/")
        (at, size), (text_at, text_size) = put(file), put(text)
        body.append(
            f"(call $write (call $open (i32.const {fds[output]}) (i32.const {at}) (i32.const {size})"
            f" (i32.const {_CREATE}) (i64.const {_WRITE})) (i32.const {text_at}) (i32.const {text_size}))"
        )
    if behaviour.forever:
        body.append("(loop $on (br $on))")
    if behaviour.trap:
        body.append("unreachable")
    if behaviour.exit_code:
        body.append(f"(call $proc_exit (i32.const {behaviour.exit_code}))")
    return module("\n".join(body), tail="\n".join(data))


def _escaped(raw: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in raw)
