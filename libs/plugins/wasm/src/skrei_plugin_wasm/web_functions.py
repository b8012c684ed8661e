"""The functions of `wasi:http/requests` over a program's memory: lengths and places in, a number out."""

import struct
from collections.abc import Callable

import wasmtime

from skrei_plugin_wasm.web import METHODS, Answer, Asked, Refused, Result, Web, most_bytes, read_headers

MODULE = "wasi:http/requests"
FUNCTION = "http_request"
_I32 = struct.Struct("<I")
_PARAMETERS = 12


def define(linker: wasmtime.Linker, web: Callable[[], Web]) -> None:
    """Offer the functions; `web` is what the program that runs now may use."""
    i32 = wasmtime.ValType.i32()

    def http_request(caller: wasmtime.Caller, *given: int) -> int:
        memory = caller.get("memory")
        if not isinstance(memory, wasmtime.Memory):
            return Result.MEMORY_ERROR
        return _request(_Memory(memory, caller), web(), [number & 0xFFFF_FFFF for number in given])

    kind = wasmtime.FuncType([i32] * _PARAMETERS, [i32])
    linker.define_func(MODULE, FUNCTION, kind, http_request, access_caller=True)


class _Outside(Exception):
    """A place that is not in the program's memory."""


class _Memory:
    """A program's memory, with its bounds."""

    def __init__(self, memory: wasmtime.Memory, store: wasmtime.Caller) -> None:
        self._memory = memory
        self._store = store

    @property
    def size(self) -> int:
        return self._memory.data_len(self._store)

    def read(self, at: int, size: int) -> bytes:
        if at + size > self.size:
            raise _Outside
        return bytes(self._memory.read(self._store, at, at + size))

    def write(self, at: int, data: bytes) -> None:
        if at + len(data) > self.size:
            raise _Outside
        self._memory.write(self._store, data, at)

    def number(self, at: int) -> int:
        found: int = _I32.unpack(self.read(at, 4))[0]
        return found


def _request(memory: _Memory, web: Web, given: list[int]) -> Result:
    method, url, url_size, headers, headers_size, body, body_size, *places = given
    if not all(places[:4]):
        return Result.BAD_INPUT
    try:
        text = memory.read(url, url_size).decode()
    except (_Outside, UnicodeDecodeError):
        return Result.INVALID_URL
    try:
        asked = Asked(
            METHODS[method] if method < len(METHODS) else "GET",
            text,
            read_headers(memory.read(headers, headers_size).decode("latin-1")) if headers else (),
            memory.read(body, body_size) if body else b"",
        )
    except _Outside:
        return Result.BAD_INPUT
    try:
        answer = web.ask(asked, most_bytes(memory.size))
    except Refused as refused:
        return refused.result
    try:
        _tell(memory, answer, places)
    except _Outside:
        return Result.MEMORY_ERROR
    return Result.SUCCESS


def _tell(memory: _Memory, answer: Answer, places: list[int]) -> None:
    """Write an answer where the program wants it, cut to the room that it has for each part."""
    headers_at, headers_size_at, body_at, body_size_at, status_at = places
    lines = "\n".join(f"{name}: {value}" for name, value in answer.headers)
    for at, size_at, data in (
        (headers_at, headers_size_at, lines.encode("latin-1", "replace")),
        (body_at, body_size_at, answer.body),
    ):
        cut = data[: memory.number(size_at)]
        memory.write(size_at, _I32.pack(len(cut)))
        memory.write(at, cut)
    if status_at:
        memory.write(status_at, _I32.pack(answer.status))
