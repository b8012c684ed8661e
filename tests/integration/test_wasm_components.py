"""WASI preview 2 components, told from modules by their header: a real one, and what others lack."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skrei_plugin_api.engine import Mount
from skrei_plugin_wasm.modules import is_component
from tests.support.components import PROBE
from tests.support.wasm_engine import Bench, failure
from tests.support.wat import wat

MIB = 1024 * 1024


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, grace_seconds="0.2")
    yield bench
    await bench.engine.close()


@pytest.mark.row("5.3/components")
def test_the_header_tells() -> None:
    assert is_component(PROBE.read_bytes())
    assert is_component(wat("(component)"))
    assert not is_component(wat("(module)"))
    assert not is_component(b"")


@pytest.mark.row("5.3/return", "5.3/components")
async def test_modules_and_components_run_in_the_same_children(bench: Bench) -> None:
    program = PROBE.read_bytes()
    for _ in range(2):
        outcome = await bench.run(program, Parameters=["say", "hello", "exit", "0"])
        assert (outcome.exit_code, outcome.stdout_head.data) == (0, b"hello")
        assert (await bench.run(wat('(module (func (export "_start")))'))).exit_code == 0


async def test_memory_is_limited(bench: Bench) -> None:
    outcome = await bench.run(PROBE.read_bytes(), memory_bytes=8 * MIB, Parameters=["grow"])
    assert (outcome.exit_code, outcome.stdout_head.data) == (0, b"full\n")
    code, message = failure(await bench.run(PROBE.read_bytes(), memory_bytes=65_536, Parameters=["grow"]))
    assert code == "out-of-memory"
    assert "65536" in message


@pytest.mark.parametrize("word", ["loop", "sleep"])
async def test_one_that_does_not_end_meets_its_timeout(bench: Bench, word: str) -> None:
    await bench.run(PROBE.read_bytes())  # compiling it takes a while
    outcome = await bench.run(PROBE.read_bytes(), timeout_seconds=0.3, Parameters=["say", "on", word])
    assert failure(outcome)[0] == "timeout"
    assert outcome.stdout_head.data == b"on"


async def test_a_trap_is_told_without_addresses(bench: Bench) -> None:
    code, message = failure(await bench.run(PROBE.read_bytes(), Parameters=["trap"]))
    assert code == "trap"
    assert "unreachable" in message
    assert "0x" not in message


async def test_an_entrypoint_of_its_own_may_be_called(bench: Bench) -> None:
    program = """
    (component
      (core module $m (func (export "f")))
      (core instance $i (instantiate $m))
      (func (export "mine") (canon lift (core func $i "f"))))
    """
    assert (await bench.run(wat(program), Entrypoint="mine")).exit_code == 0
    code, message = failure(await bench.run(wat(program)))
    assert code == "export-unknown"
    assert "exports wasi:cli/run; this one exports mine" in message


@pytest.mark.parametrize("wanted", ["wasi:http/outgoing-handler@0.2.0", "other:thing/x"])
async def test_what_is_not_offered_is_named(bench: Bench, wanted: str) -> None:
    code, message = failure(await bench.run(wat(f'(component (import "{wanted}" (instance (export "f" (func)))))')))
    assert code == "module-invalid"
    assert wanted.partition("@")[0] in message


async def test_components_and_modules_do_not_import_each_other(bench: Bench, tmp_path: Path) -> None:
    lib = tmp_path / "lib.bin"
    lib.write_bytes(wat("(component)"))
    main = wat('(module (import "lib" "f" (func)) (func (export "_start")))')
    code, message = failure(await bench.run(main, mounts=[Mount(lib, "/lib")]))
    assert (code, "is a component" in message) == ("module-invalid", True), message
    code, message = failure(await bench.run(PROBE.read_bytes(), mounts=[Mount(lib, "/lib")], ImportModules=["/lib"]))
    assert (code, "brings all that it needs" in message) == ("module-invalid", True), message


async def test_a_cut_component_does_not_compile(bench: Bench) -> None:
    code, message = failure(await bench.run(PROBE.read_bytes()[:5000]))
    assert code == "module-invalid"
    assert "does not compile" in message


async def test_the_memories_of_one_component_stay_below_the_limit_together(bench: Bench) -> None:
    instances = "".join(f"(core instance $i{number} (instantiate $m))" for number in range(40))
    program = f"""
    (component
      (core module $m (memory 150) (func (export "f")))
      {instances}
      (func (export "mine") (canon lift (core func $i0 "f"))))
    """
    ran = bench.run(wat(program), Entrypoint="mine", memory_bytes=10_000_000)
    code, message = failure(await ran)
    assert code == "out-of-memory"
    assert message.endswith("need more than Resources.Memory: 10000000 bytes")
    assert (await bench.run(wat(program), Entrypoint="mine", memory_bytes=400_000_000)).exit_code == 0
