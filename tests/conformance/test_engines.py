"""Every engine against the contract of engines, the scripted one that other tests rely on included."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from skrei_plugin_api.engine import Engine, Mount
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.registry import engines
from skrei_plugin_api.testing import Behaviour, EngineContract, Program, ScriptedEngine
from tests.support.wat import behaving


class TestWasm(EngineContract):
    invalid: ClassVar[Mapping[str, Params]] = {
        "EntryModule": {},
        "Entrypoint": {"EntryModule": "a", "entrypoint": 7},
        "Parameters": {"EntryModule": "a", "Parameters": "no list"},
        "ImportModules": {"EntryModule": "a", "ImportModules": [1]},
    }

    @pytest.fixture
    async def engine(self, tmp_path: Path) -> AsyncIterator[Engine]:
        engine = engines().load("wasm")(PluginContext(tmp_path / "state"))
        yield engine
        await engine.close()

    def program(self, behaviour: Behaviour, folder: Path) -> Program:
        module = behaving(behaviour)
        path = folder / f"{hash(module)}.wasm"
        path.write_bytes(module)
        return Program({"EntryModule": "main.wasm"}, (Mount(path, "main.wasm"),))


class TestScripted(EngineContract):
    invalid: ClassVar[Mapping[str, Params]] = {"Seconds": {"seconds": "ten"}, "Write": {"Write": "x"}}

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine:
        return ScriptedEngine(PluginContext(tmp_path / "state"))

    def program(self, behaviour: Behaviour, folder: Path) -> Program:
        params: dict[str, Any] = {
            "Say": behaviour.say,
            "SayError": behaviour.say_error,
            "PrintEnv": behaviour.print_env,
            "Write": dict(behaviour.write),
            "Forever": behaviour.forever,
            "ExitCode": behaviour.exit_code,
        }
        if behaviour.print_file:
            params["PrintFile"] = behaviour.print_file
        if behaviour.trap:
            params["Trap"] = "it gave up"
        return Program(params)
