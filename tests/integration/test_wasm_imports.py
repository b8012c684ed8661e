"""Modules that import each other: by list, by name, from folders, and what cannot be."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skrei_plugin_api.engine import Mount
from tests.support.wasm_engine import Bench, failure
from tests.support.wat import wat

EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'


def giving(number: int, *, calls: str = "") -> bytes:
    """A module whose `give` is a number, or what another module's `give` is, and that number."""
    if not calls:
        return wat(f'(module (func (export "give") (result i32) (i32.const {number})))')
    return wat(
        f'(module (import "{calls}" "give" (func $other (result i32)))'
        f'(func (export "give") (result i32) (i32.add (call $other) (i32.const {number}))))'
    )


def exiting(name: str) -> bytes:
    """A program that exits with what the module `name` gives."""
    return wat(
        f'(module {EXIT} (import "{name}" "give" (func $give (result i32)))'
        '(func (export "_start") (call $exit (call $give))))'
    )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, grace_seconds="0.2")
    yield bench
    await bench.engine.close()


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["/libs/lib.wasm", "libs/lib.wasm", "lib"])
@pytest.mark.row("5.3/import-modules")
async def test_a_listed_module_has_its_target_its_path_and_its_stem_as_names(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    mounts = [Mount(put(tmp_path, "lib.bin", giving(3)), "/libs/lib.wasm")]
    assert (await bench.run(exiting(name), mounts=mounts, ImportModules=["/libs/lib.wasm"])).exit_code == 3


@pytest.mark.row("5.3/import-by-name")
async def test_a_module_that_an_input_has_by_name_needs_no_list(bench: Bench, tmp_path: Path) -> None:
    mounts = [Mount(put(tmp_path, "lib.bin", giving(4)), "/lib")]
    assert (await bench.run(exiting("lib"), mounts=mounts)).exit_code == 4


@pytest.mark.row("5.3/import-by-name")
async def test_modules_that_imports_import_are_found_too(bench: Bench, tmp_path: Path) -> None:
    mounts = [
        Mount(put(tmp_path, "a.bin", giving(1, calls="b")), "/a"),
        Mount(put(tmp_path, "b.bin", giving(2, calls="deep/c")), "/b"),
        Mount(put(tmp_path, "c/c", giving(4)).parent, "/deep"),
    ]
    assert (await bench.run(exiting("a"), mounts=mounts)).exit_code == 7


@pytest.mark.row("5.3/folder-with-one-module")
async def test_a_folder_with_one_module_is_that_module(bench: Bench, tmp_path: Path) -> None:
    folder = put(tmp_path, "lib/only.wasm", giving(5)).parent
    put(tmp_path, "lib/README.md", b"no module")
    assert (await bench.run(exiting("lib"), mounts=[Mount(folder, "/lib")])).exit_code == 5
    put(tmp_path, "main/main.wasm", exiting("lib"))
    mounts = [Mount(folder, "/lib"), Mount(tmp_path / "main", "/entry")]
    assert (await bench.run(None, mounts=mounts, EntryModule="/entry")).exit_code == 5
    put(tmp_path, "lib/second.wasm", giving(6))
    code, message = failure(await bench.run(exiting("lib"), mounts=[Mount(folder, "/lib")]))
    assert code == "module-invalid"
    assert "'lib' is a folder with 2 files `*.wasm`" in message


@pytest.mark.row("5.3/unknown-module")
async def test_a_module_that_nobody_has_is_named(bench: Bench) -> None:
    code, message = failure(await bench.run(exiting("nowhere")))
    assert code == "module-invalid"
    assert 'unknown module "nowhere"' in message
    assert "ImportModules" in message


async def test_a_circle_is_told_as_one(bench: Bench, tmp_path: Path) -> None:
    mounts = [
        Mount(put(tmp_path, "a.bin", giving(1, calls="b")), "/a"),
        Mount(put(tmp_path, "b.bin", giving(2, calls="a")), "/b"),
    ]
    code, message = failure(await bench.run(exiting("a"), mounts=mounts))
    assert code == "module-invalid"
    assert "in a circle: /a → /b → /a" in message


async def test_a_listed_module_that_is_not_there_is_named_as_such(bench: Bench) -> None:
    code, message = failure(await bench.run(exiting("x"), ImportModules=["/x"]))
    assert code == "module-invalid"
    assert "ImportModules '/x' is at no input's target" in message


@pytest.mark.row("5.3/start-functions")
async def test_only_the_entrypoint_is_called(bench: Bench) -> None:
    program = wat(
        f'(module {EXIT} (func (export "_initialize") (call $exit (i32.const 1)))'
        '(func (export "_start") (call $exit (i32.const 2))) (func (export "mine") (call $exit (i32.const 3))))'
    )
    assert (await bench.run(program, Entrypoint="mine")).exit_code == 3
    assert (await bench.run(program)).exit_code == 2


# ---------------------------------------------------------------- one instance each, their memories counted together


COUNTER = """
(module (global $n (mut i32) (i32.const 0))
  (func (export "give") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))
"""


@pytest.mark.parametrize("listed", [["/lib/a.wasm", "/lib/b.wasm"], ["/lib/b.wasm", "/lib/a.wasm"]])
async def test_a_module_that_two_import_is_one_whatever_the_order_of_the_list(
    bench: Bench, tmp_path: Path, listed: list[str]
) -> None:
    put(tmp_path, "lib/b.wasm", wat(COUNTER))
    put(tmp_path, "lib/a.wasm", wat('(module (import "b" "give" (func $b (result i32))) (export "give" (func $b)))'))
    program = wat(
        f'(module {EXIT} (import "a" "give" (func $a (result i32))) (import "b" "give" (func $b (result i32)))'
        '(func (export "_start") (drop (call $a)) (call $exit (call $b))))'
    )
    outcome = await bench.run(program, mounts=[Mount(tmp_path / "lib", "/lib")], ImportModules=listed)
    assert outcome.exit_code == 2


async def test_many_modules_may_be_listed(bench: Bench, tmp_path: Path) -> None:
    listed = [f"/lib/m{number}.wasm" for number in range(40)]
    for target in listed:
        put(tmp_path, target[1:], giving(1))
    outcome = await bench.run(exiting("m39"), mounts=[Mount(tmp_path / "lib", "/lib")], ImportModules=listed)
    assert outcome.exit_code == 1


async def test_the_memories_of_all_modules_together_stay_below_the_limit(bench: Bench, tmp_path: Path) -> None:
    listed = [f"/lib/m{number}.wasm" for number in range(30)]
    for target in listed:
        put(tmp_path, target[1:], wat('(module (memory 150) (func (export "give") (result i32) (i32.const 3)))'))
    mounts = [Mount(tmp_path / "lib", "/lib")]
    ran = bench.run(exiting("m0"), mounts=mounts, ImportModules=listed, memory_bytes=10_000_000)
    code, message = failure(await ran)
    assert (code, message) == (
        "out-of-memory",
        "the memories of all that the program is made of need more than Resources.Memory: 10000000 bytes",
    )
    outcome = await bench.run(exiting("m0"), mounts=mounts, ImportModules=listed[:1], memory_bytes=10_000_000)
    assert outcome.exit_code == 3  # and so in the same child, that was limited before


# ---------------------------------------------------------------- links that lead out


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "device"])
async def test_a_link_out_of_an_input_is_not_followed(bench: Bench, tmp_path: Path, kind: str) -> None:
    lib, outside = tmp_path / "lib", put(tmp_path, "outside/m.wasm", giving(3))
    lib.mkdir()
    match kind:
        case "file":
            (lib / "m.wasm").symlink_to(outside)
        case "folder":
            (lib / "m.wasm").symlink_to(outside.parent)
        case "pipe":
            os.mkfifo(lib / "m.wasm")
        case _:
            (lib / "m.wasm").symlink_to("/dev/zero")
    mounts = [Mount(lib, "/lib")]
    code, message = failure(await bench.run(exiting("m"), mounts=mounts, ImportModules=["/lib/m.wasm"]))
    assert code == "module-invalid"
    assert message.startswith("ImportModules '/lib/m.wasm' is no file")
    code, message = failure(await bench.run(exiting("/lib/m.wasm"), mounts=mounts))
    assert code == "module-invalid"


async def test_a_link_within_an_input_is_followed(bench: Bench, tmp_path: Path) -> None:
    put(tmp_path, "lib/real.wasm", giving(3))
    (tmp_path / "lib/m.wasm").symlink_to("real.wasm")
    outcome = await bench.run(exiting("m"), mounts=[Mount(tmp_path / "lib", "/lib")], ImportModules=["/lib/m.wasm"])
    assert outcome.exit_code == 3
