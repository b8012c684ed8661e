"""How runs end that have no exit code: wasmtime's words turned into the contract's codes and into sentences."""

import errno
import os
import re
from typing import Any

import wasmtime

_PAGE_BYTES = 64 * 1024
_TOO_SMALL = re.compile(r"memory minimum size of (\d+) pages exceeds memory limits")
_INTERRUPTED = "wasm trap: interrupt"
_UNREACHED = "wasm trap: "
_MISSING = re.compile(r"component imports (\w+) `(.*?)`, but")
_UNKNOWN_IMPORT = re.compile(r"unknown import: `(.*?)::(.*?)`")


class Failed(Exception):
    """The run has no exit code; `code` is one of the engine contract's failure codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def explain(error: wasmtime.Trap | wasmtime.WasmtimeError, order: dict[str, Any]) -> Failed:
    """Return the failure that an error of wasmtime is."""
    if isinstance(error, wasmtime.Trap):
        if error.trap_code is wasmtime.TrapCode.INTERRUPT:
            return timeout(order)
        return Failed("trap", _cause(error))
    text = str(error)
    if _INTERRUPTED in text:
        return timeout(order)
    if _UNREACHED in text:
        return Failed("trap", _cause(error))
    if found := _MISSING.search(text):
        return Failed(
            "module-invalid",
            f"the component imports {found[1]} `{found[2]}`, which is not offered here: WASI preview 2 is, without its "
            "sockets and without wasi:http",
        )
    if found := _TOO_SMALL.search(text):
        return Failed(
            "out-of-memory",
            f"the module starts with {int(found[1]) * _PAGE_BYTES} bytes of memory; "
            f"Resources.Memory allows {order['memory']} bytes",
        )
    if (found := _UNKNOWN_IMPORT.search(text)) and found[1] == "wasi:http/requests" and found[2] == "http_request":
        message = "the module wants to use the web (wasi:http/requests), which Network.Type None does not give it"
        return Failed("module-invalid", message)
    if found := _UNKNOWN_IMPORT.search(text):
        return Failed(
            "module-invalid", f"unknown module \"{found[1]}\": the module imports '{found[2]}' from it; "
            "name the input that has it in ImportModules, or give it that name as Target",
        )  # fmt: skip
    if os.strerror(errno.ENOMEM) in text:
        return Failed(
            "out-of-memory",
            f"the memories of all that the program is made of need more than Resources.Memory: {order['memory']} bytes",
        )
    if "GC heap out of memory" in text:
        return Failed(
            "out-of-memory", f"the program's objects need more than Resources.Memory: {order['memory']} bytes"
        )
    if os.strerror(errno.EFBIG) in text:
        return Failed("output-too-large", f"it wrote more than {order['max_output']} bytes into one file")
    if "incompatible import type" in text:
        return Failed("module-invalid", text)
    return Failed("trap", _cause(error))


def unknown_entrypoint(entrypoint: str, module: wasmtime.Module) -> Failed:
    """Return the failure of a module without that entrypoint, naming those it has."""
    names = [one.name for one in module.exports if isinstance(one.type, wasmtime.FuncType)]
    told = ", ".join(sorted(names)[:20]) or "nothing that can be called"
    return Failed(
        "export-unknown", f"unable to find the entrypoint '{entrypoint}' in the WASM module; it exports {told}"
    )


def timeout(order: dict[str, Any]) -> Failed:
    """Return the failure of a run whose time was over, or that was told to end."""
    if order["timeout"] is None:
        return Failed("timeout", "it was told to end")
    return Failed("timeout", f"it ran longer than its limit of {order['timeout']:g} s")


def _cause(error: wasmtime.Trap | wasmtime.WasmtimeError) -> str:
    """Return the reason without the backtrace's addresses, and the function where it happened."""
    text = str(error)
    cause = text.rpartition("Caused by:")[2].strip() or text
    frames = error.frames if isinstance(error, wasmtime.Trap) else []
    where = next((frame.func_name for frame in frames if frame.func_name), None)
    return f"{cause} (in {where})" if where else cause
