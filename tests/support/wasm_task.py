"""A task of a WASI module that comes with its command."""

import base64
from typing import Any

import wasmtime

from tests.support.agent_machine import a_task


def wasm_task(source: str, **params: Any) -> dict[str, Any]:
    """Return the task of a module that is written as text."""
    module = base64.b64encode(wasmtime.wat2wasm(source)).decode()
    url = f"data:application/wasm;base64,{module}"
    return a_task(
        Engine={"Type": "wasm", "Params": {"EntryModule": "/main.wasm", "Entrypoint": "_start"} | params},
        InputSources=[{"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": "/main.wasm"}],
        Resources={"CPU": "100m", "Memory": "64Mb"},
    )
