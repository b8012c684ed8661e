"""The older form of wasm tasks, in which modules are inputs by themselves; turned into today's where a job is sent.

`EntryModule: {Source, Alias, Target}` and `ImportModules` as a list of such become input sources at fixed targets, and
the params name these.
"""

from collections.abc import Mapping
from typing import Any

ENTRY_TARGET = "/wasm/entry.wasm"
IMPORT_TARGET = "/wasm/imports/module_{}.wasm"


def lift_wasm(task: dict[str, Any]) -> None:
    """Rewrite a task of the older form in place; one of any other form, right or wrong, stays as it is."""
    engine, inputs = task.get("Engine"), task.get("InputSources")
    if not (isinstance(engine, dict) and str(engine.get("Type", "")).strip().lower() == "wasm"):
        return
    params = engine.get("Params")
    if not isinstance(params, Mapping) or not isinstance(inputs, list | tuple | None):
        return
    lifted, added = dict(params), []
    for key, value in params.items():
        match str(key).lower():
            case "entrymodule" if isinstance(value, Mapping):
                added.append(_input(value, ENTRY_TARGET))
                lifted[key] = ENTRY_TARGET
            case "importmodules" if isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
                targets = [IMPORT_TARGET.format(number) for number in range(len(value))]
                added += [_input(one, target) for one, target in zip(value, targets, strict=True)]
                lifted[key] = targets
    if added:
        task["Engine"] = engine | {"Params": lifted}
        task["InputSources"] = [*(inputs or ()), *added]


def _input(source: object, target: str) -> object:
    """Return an input source at `target`; what is no object stays, to be refused by its place."""
    if not isinstance(source, Mapping):
        return source
    return {key: value for key, value in source.items() if str(key).lower() != "target"} | {"Target": target}
