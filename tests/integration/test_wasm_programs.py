"""What WASI programs see and how their ends are told."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skrei.cli.init_texts import HELLO
from skrei_plugin_api.engine import Mount
from skrei_plugin_api.testing import Behaviour, contents
from tests.support.wasm_engine import Bench, failure
from tests.support.wat import CANNOT_OPEN, ROOT_FD, behaving, module, wat

ARGS = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "run")
    (drop (call $sizes (i32.const 16) (i32.const 20)))
    (drop (call $args (i32.const 1024) (i32.const 4096)))
    (i32.store (i32.const 0) (i32.const 4096))
    (i32.store (i32.const 4) (i32.load (i32.const 20)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"""
GROW = """
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $on (br_if $on (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (call $exit (memory.size))))
"""
SLEEP_FOR_EVER = """
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 256)))))
"""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, grace_seconds="0.2")
    yield bench
    await bench.engine.close()


async def test_the_module_of_a_first_job_file_says_hello(bench: Bench) -> None:
    outcome = await bench.run(base64.b64decode(HELLO))
    assert (outcome.exit_code, outcome.stdout_head.data) == (0, b"hello\n")


@pytest.mark.parametrize("code", [1, 125, 126, 200, 255, 1000, -1])
@pytest.mark.row("5.3/exit-code")
async def test_every_number_is_an_exit_code(bench: Bench, code: int) -> None:
    assert (await bench.run(behaving(Behaviour(exit_code=code)))).exit_code == code


async def test_proc_exit_0_is_exit_code_0(bench: Bench) -> None:
    assert (await bench.run(module("(call $proc_exit (i32.const 0))"))).exit_code == 0


@pytest.mark.row("5.3/argv")
async def test_parameters_follow_an_empty_program_name(bench: Bench) -> None:
    outcome = await bench.run(wat(ARGS), Entrypoint="run", Parameters=["one", "two words", "ø"])
    assert outcome.stdout_head.data.decode() == "\0one\0two words\0ø\0"


@pytest.mark.row("5.3/trap")
async def test_a_trap_names_its_reason_and_the_function(bench: Bench) -> None:
    text = '(module (memory (export "memory") 1) (func $dig (export "_start") (call $dig)))'
    code, message = failure(await bench.run(wat(text)))
    assert (code, message) == ("trap", "wasm trap: call stack exhausted (in dig)")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"this is no module", "this is no WebAssembly module: 17 bytes that start with b'this is '"),
        (b"", "this is no WebAssembly module"),
        (b"\0asm\x02\0\0\0", "of a version that is not run here: 02000000"),
        (b"\0asm\x01\0\0\0\xff", "does not compile"),
    ],
)
async def test_what_is_no_module_says_so(bench: Bench, content: bytes, said: str) -> None:
    code, message = failure(await bench.run(content))
    assert code == "module-invalid"
    assert said in message


async def test_a_missing_entry_module_names_the_inputs_that_there_are(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    code, message = failure(await bench.run(None, mounts=[Mount(tmp_path / "data", "/data")]))
    assert (code, message) == ("module-invalid", "EntryModule 'main.wasm' is at no input's target; inputs: /data")
    code, message = failure(
        await bench.run(None, mounts=[Mount(tmp_path / "data", "/data")], EntryModule="/data/none.wasm")
    )
    assert (code, message) == ("module-invalid", "EntryModule '/data/none.wasm' is no file in its input")


async def test_the_entry_module_may_lie_in_a_directory(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.wasm").write_bytes(behaving(Behaviour(exit_code=4)))
    outcome = await bench.run(None, mounts=[Mount(tmp_path / "data", "/data")], EntryModule="/data/a.wasm")
    assert outcome.exit_code == 4


@pytest.mark.row("5.3/entrypoint")
async def test_an_unknown_entrypoint_names_the_exports(bench: Bench) -> None:
    code, message = failure(await bench.run(wat(ARGS), Entrypoint="main"))
    assert code == "export-unknown"
    assert message == "unable to find the entrypoint 'main' in the WASM module; it exports run"


async def test_an_entrypoint_with_parameters_is_refused(bench: Bench) -> None:
    text = '(module (func (export "_start") (param i32)))'
    assert failure(await bench.run(wat(text)))[0] == "export-unknown"


async def test_an_unknown_import_names_module_and_function(bench: Bench) -> None:
    text = '(module (import "math" "twice" (func)) (func (export "_start")))'
    code, message = failure(await bench.run(wat(text)))
    assert code == "module-invalid"
    assert message.startswith("unknown module \"math\": the module imports 'twice'")


@pytest.mark.parametrize("name", ["lib/math.wasm", "/lib/math.wasm", "math"])
async def test_imported_modules_are_found_by_path_and_stem(bench: Bench, tmp_path: Path, name: str) -> None:
    (tmp_path / "math.wasm").write_bytes(wat('(module (func (export "answer") (result i32) (i32.const 42)))'))
    text = f"""(module (import "{name}" "answer" (func $answer (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (func (export "_start") (call $exit (call $answer))))"""
    outcome = await bench.run(
        wat(text), mounts=[Mount(tmp_path / "math.wasm", "lib/math.wasm")], ImportModules=["lib/math.wasm"]
    )
    assert (outcome.exit_code, outcome.failure) == (42, None)


@pytest.mark.row("5.3/memory")
async def test_memory_grows_up_to_the_limit_and_no_further(bench: Bench) -> None:
    assert (await bench.run(wat(GROW), memory_bytes=10 * 65536)).exit_code == 10
    assert (await bench.run(wat(GROW), memory_bytes=20 * 65536)).exit_code == 20


@pytest.mark.row("5.3/memory")
async def test_a_module_that_starts_larger_than_its_limit_says_both_numbers(bench: Bench) -> None:
    text = '(module (memory (export "memory") 100) (func (export "_start")))'
    code, message = failure(await bench.run(wat(text), memory_bytes=655360))
    assert code == "out-of-memory"
    assert message == "the module starts with 6553600 bytes of memory; Resources.Memory allows 655360 bytes"


async def test_a_program_asleep_in_a_host_call_is_killed_at_its_timeout(bench: Bench) -> None:
    assert failure(await bench.run(wat(SLEEP_FOR_EVER), timeout_seconds=0.1)) == (
        "timeout",
        "it ran longer than its limit of 0.1 s",
    )
    assert (await bench.run(behaving(Behaviour()))).exit_code == 0


@pytest.mark.row("5.3/inputs")
async def test_an_input_directory_is_read_only_unless_said(bench: Bench, tmp_path: Path) -> None:
    for writable, code in ((False, CANNOT_OPEN), (True, 0)):
        folder = tmp_path / f"data-{writable}"
        folder.mkdir()
        program = behaving(Behaviour(write={"data/new.txt": "new"}), {"data": ROOT_FD + 1})
        outcome = await bench.run(program, mounts=[Mount(folder, "/data", writable)])
        assert outcome.exit_code == code
        assert [path.name for path in folder.iterdir()] == (["new.txt"] if writable else [])


async def test_an_input_file_can_be_written_only_where_said_and_its_neighbours_never(
    bench: Bench, tmp_path: Path
) -> None:
    for name in ("kept", "changed"):
        (tmp_path / name).write_text("old")
    mounts = [Mount(tmp_path / "kept", "/kept"), Mount(tmp_path / "changed", "/changed", read_write=True)]
    for name in ("kept", "changed"):
        program = behaving(Behaviour(write={f"root/{name}": "NEW"}), {"root": ROOT_FD})
        assert (await bench.run(program, mounts=mounts)).exit_code == 0
    assert ((tmp_path / "kept").read_text(), (tmp_path / "changed").read_text()) == ("old", "NEW")
    program = behaving(Behaviour(write={"root/kept": "NEW"}), {"root": ROOT_FD})
    assert (await bench.run(program, mounts=mounts[:1])).exit_code == CANNOT_OPEN


@pytest.mark.row("5.3/inputs")
async def test_a_link_does_not_lead_out_of_an_input(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "own").write_text("own")
    mounts = [Mount(tmp_path / "data", "/data")]
    linked = await bench.run(behaving(Behaviour(print_file="/link"), file_fd=ROOT_FD + 1), mounts=mounts)
    assert (linked.exit_code, linked.stdout_head.data) == (CANNOT_OPEN, b"")
    own = await bench.run(behaving(Behaviour(print_file="/own"), file_fd=ROOT_FD + 1), mounts=mounts)
    assert own.stdout_head.data == b"own"


@pytest.mark.row("5.3/inputs")
async def test_a_file_below_a_mounted_directory_is_there(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "one").write_text("one")
    program = behaving(Behaviour(print_file="/one"), file_fd=ROOT_FD + 2)  # /, /data, /data/sub
    mounts = [Mount(tmp_path / "data", "/data"), Mount(tmp_path / "one", "/data/sub/one")]
    assert (await bench.run(program, mounts=mounts)).stdout_head.data == b"one"


@pytest.mark.row("5.3/outputs")
async def test_an_output_is_reachable_by_its_name_too(bench: Bench) -> None:
    program = behaving(Behaviour(write={"named/a": "1"}), {"named": ROOT_FD + 2})  # /deep/path, /named
    outcome = await bench.run(program, outputs={"named": "/deep/path"})
    assert contents(outcome)["named/a"] == b"1"


async def test_two_inputs_at_one_place_are_refused(bench: Bench, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    mounts = [Mount(tmp_path / "a", "/data"), Mount(tmp_path / "b", "data/")]
    code, message = failure(await bench.run(behaving(Behaviour()), mounts=mounts))
    assert (code, message) == ("input-invalid", "two inputs or outputs want to be /data")


async def test_an_input_below_a_file_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    mounts = [Mount(tmp_path / "a", "/x"), Mount(tmp_path / "a", "/x/y")]
    assert failure(await bench.run(behaving(Behaviour()), mounts=mounts))[0] == "input-invalid"


async def test_compiled_code_is_kept_and_made_again_when_it_is_damaged(tmp_path: Path) -> None:
    program = behaving(Behaviour(exit_code=5))
    for turn in ("made", "damaged", "kept"):
        bench = Bench(tmp_path / turn, state=tmp_path / "state")
        assert (await bench.run(program)).exit_code == 5
        await bench.engine.close()
        compiled = max(bench.modules.glob("*.cwasm"), key=lambda path: path.stat().st_mtime)  # not what is rehearsed
        assert compiled.stat().st_size > 100
        if turn == "made":
            assert bench.modules.stat().st_mode & 0o077 == 0
            compiled.write_bytes(b"damaged")
        elif turn == "damaged":
            again = compiled.stat().st_ino
    assert compiled.stat().st_ino == again


async def test_compiled_code_on_disk_stays_within_its_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cache_bytes="30000")
    for code in range(1, 6):
        await bench.run(behaving(Behaviour(exit_code=code)))
        assert sum(path.stat().st_size for path in bench.modules.glob("*.cwasm")) <= 40000
    await bench.engine.close()
