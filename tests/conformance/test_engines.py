"""Every engine against the contract of engines, the scripted one that other tests rely on included."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from skrei_plugin_api.engine import Engine, Mount, RunRequest
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.registry import engines
from skrei_plugin_api.testing import Behaviour, EngineContract, Program, Running, ScriptedEngine
from tests.support.components import PROBE, words
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


class TestWasmComponent(TestWasm):
    exit_code = 1  # WASI preview 2 knows but one

    @pytest.fixture
    async def engine(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
        state = tmp_path_factory.getbasetemp() / "component-state"  # compiled once: that takes longer than a run
        engine = engines().load("wasm")(PluginContext(state))
        (workdir := tmp_path_factory.mktemp("first")).chmod(0o700)
        await engine.run(
            RunRequest("e-first", 1, {"EntryModule": "m"}, workdir, mounts=(Mount(PROBE, "m"),)), Running()
        )
        yield engine
        await engine.close()

    def program(self, behaviour: Behaviour, folder: Path) -> Program:
        params = {"EntryModule": "main.wasm", "Parameters": words(behaviour)}
        return Program(params, (Mount(PROBE, "main.wasm"),))


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

    def words(self, behaviour: Behaviour) -> tuple[str, ...]:
        end = ("forever",) if behaviour.forever else ("exit", str(behaviour.exit_code))
        return ("say", behaviour.say, *end)
