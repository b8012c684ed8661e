"""WASI programs for tests that run jobs: a list of steps becomes a module that takes them one after the other."""

from dataclasses import dataclass

import wasmtime

_HEAD = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 64)
  (func $write (param $fd i32) (param $at i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $size))
    (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $sleep (param $nanoseconds i64)
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (local.get $nanoseconds))
    (i32.store (i32.const 32) (i32.const 1))
    (i64.store (i32.const 40) (local.get $nanoseconds))
    (drop (call $poll (i32.const 16) (i32.const 128) (i32.const 1) (i32.const 192))))
"""
_DATA = 1024


@dataclass(frozen=True)
class Say:
    """Write these bytes to stdout (1) or stderr (2)."""

    data: bytes
    stream: int = 1
    times: int = 1


@dataclass(frozen=True)
class Sleep:
    """Do nothing for a while."""

    seconds: float


@dataclass(frozen=True)
class Exit:
    """End with this exit code."""

    code: int


@dataclass(frozen=True)
class Trap:
    """Do what is not allowed."""


Step = Say | Sleep | Exit | Trap


def program(*steps: Step) -> bytes:
    """Return the module."""
    data, body, at = [], [], _DATA
    for step in steps:
        match step:
            case Say(said, stream, times):
                data.append(f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in said)}")')
                call = f"(call $write (i32.const {stream}) (i32.const {at}) (i32.const {len(said)}))"
                body.append(_repeated(call, times) if times > 1 else call)
                at += len(said)
            case Sleep(seconds):
                body.append(f"(call $sleep (i64.const {int(seconds * 1e9)}))")
            case Exit(code):
                body.append(f"(call $proc_exit (i32.const {code}))")
            case Trap():
                body.append("unreachable")
    text = "\n".join([_HEAD, *data, '(func (export "_start") (local $n i32)', *body, "))"])
    return bytes(wasmtime.wat2wasm(text))


def _repeated(call: str, times: int) -> str:
    return (
        f"(local.set $n (i32.const {times})) (loop $again {call}"
        " (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))"
    )
