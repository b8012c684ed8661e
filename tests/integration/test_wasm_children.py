"""Zygote and children: who lives, who is reused, and what is left when something dies."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import wasmtime

from skrei_plugin_api.testing import Behaviour, Running, contents, eventually
from skrei_plugin_wasm import pool
from skrei_plugin_wasm.engine import EngineClosed
from skrei_plugin_wasm.modules import Modules
from skrei_plugin_wasm.offer import new_engine
from skrei_plugin_wasm.process import Child, Zygote, runnable
from skrei_plugin_wasm.settings import WasmSettings
from tests.support.wasm_engine import Bench, alive, begun, failure, kill
from tests.support.wat import behaving

QUICK = behaving(Behaviour(say="quick"))
ENDLESS = behaving(Behaviour(say="on\n", forever=True))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.engine.close()


async def started(bench: Bench) -> tuple["asyncio.Task[object]", int]:
    """Start a run that does not end, and return it with its child's process."""
    before = set(bench.engine.pool.pids)
    request = bench.request(ENDLESS)
    run = await begun(bench, request)
    (pid,) = [
        pid
        for pid in bench.engine.pool.pids
        if pid not in before or any(str(request.workdir) in file.path for file in psutil.Process(pid).open_files())
    ]
    return run, pid


def own_kib(pid: int) -> int:
    """Return the memory that no other process shares."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty:"))


async def test_a_child_is_reused(bench: Bench) -> None:
    await bench.run(QUICK)
    await bench.run(QUICK)
    pids = bench.engine.pool.pids
    for _ in range(5):
        await bench.run(QUICK)
    assert bench.engine.pool.pids == pids


async def test_a_child_that_compiled_ends_with_the_compiler_in_it(bench: Bench) -> None:
    await bench.run(QUICK)
    await eventually(lambda: bench.engine.pool.pids == ())
    await bench.run(QUICK)
    assert len(bench.engine.pool.pids) == 1, "it found compiled what the one before had left"


def test_a_child_is_kept_where_no_other_could_load_what_it_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk whose files may not be run, say: each run would compile its module."""
    kept, refused = (Modules(new_engine(), "x", tmp_path / name, 1024**2) for name in ("a", "b"))
    kept.get(QUICK)
    assert kept.has_compiled

    def refuse(*_: object) -> None:
        raise wasmtime.WasmtimeError("Operation not permitted")

    monkeypatch.setattr(wasmtime.Module, "deserialize_file", refuse)
    compiled = refused.get(QUICK)
    assert not refused.has_compiled
    assert refused.get(QUICK) is compiled


async def test_a_node_ends_its_zygote_also_where_no_child_was_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path, idle_seconds="0.1")
    await bench.run(QUICK)
    assert bench.engine.pool.zygote_pid is not None
    await eventually(lambda: bench.engine.pool.zygote_pid is None)
    await bench.engine.close()


async def test_a_node_that_keeps_no_child_warm_forks_one_all_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path, warm_children="0")
    try:
        async with asyncio.timeout(30):  # it waited for ever
            assert (await bench.run(QUICK)).exit_code == 0
    finally:
        await bench.engine.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere children begin unrehearsed")
async def test_a_child_has_few_threads_however_many_cores_there_are(bench: Bench) -> None:
    for _ in range(2):  # the first one compiles, by a thread for each core
        run, pid = await started(bench)
        threads = psutil.Process(pid).num_threads()
        run.cancel()
        await asyncio.wait([run])
    assert threads <= 4, "the program's, the one that hears what it says, and WASI's two"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere children begin unrehearsed")
async def test_children_share_what_was_rehearsed(bench: Bench) -> None:
    """A child's own memory is the pages that its first run wrote to: some 3 MB, a third more unrehearsed."""
    await bench.run(QUICK)
    await bench.run(QUICK)
    (pid,) = bench.engine.pool.pids
    assert own_kib(pid) < 4 * 1024


async def test_small_runs_share_few_children(bench: Bench) -> None:
    outcomes = await asyncio.gather(*(bench.run(QUICK) for _ in range(60)))
    assert {outcome.exit_code for outcome in outcomes} == {0}
    assert len(bench.engine.pool.pids) < 30


async def test_long_runs_get_a_child_each(bench: Bench) -> None:
    requests = [bench.request(ENDLESS) for _ in range(6)]
    runs = [asyncio.create_task(bench.engine.run(request, Running())) for request in requests]
    await eventually(lambda: all((request.workdir / "stdout").exists() for request in requests))
    assert len(bench.engine.pool.pids) == 6
    for run in runs:
        run.cancel()
    await asyncio.wait(runs)
    assert not bench.engine.pool.pids


async def test_there_are_never_more_children_than_the_cap_and_the_rest_waits(tmp_path: Path) -> None:
    bench = Bench(tmp_path, most_children="2")
    (first, _), (second, _) = await started(bench), await started(bench)
    waiting = asyncio.create_task(bench.run(QUICK))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    assert len(bench.engine.pool.pids) == 2
    first.cancel()
    assert (await waiting).exit_code == 0
    second.cancel()
    await asyncio.wait([first, second])
    await bench.engine.close()


async def test_a_child_that_was_killed_is_told_as_lost_with_its_logs(bench: Bench) -> None:
    run, pid = await started(bench)
    kill(pid)
    outcome = await run
    assert failure(outcome)[0] == "engine-lost"  # type: ignore[arg-type]
    assert contents(outcome)["stdout"] == b"on\n"  # type: ignore[arg-type]
    assert (await bench.run(QUICK)).exit_code == 0


async def test_a_child_that_was_killed_idle_costs_no_run(bench: Bench) -> None:
    await bench.run(QUICK)
    for pid in bench.engine.pool.pids:
        kill(pid)
    assert (await bench.run(QUICK)).exit_code == 0


async def test_the_zygotes_death_costs_the_runs_and_the_next_one_works(bench: Bench) -> None:
    run, child = await started(bench)
    zygote = bench.engine.pool.zygote_pid
    assert zygote is not None
    kill(zygote)
    assert failure(await run)[0] == "engine-lost"  # type: ignore[arg-type]
    await eventually(lambda: not alive(child))
    assert (await bench.run(QUICK)).exit_code == 0
    assert bench.engine.pool.zygote_pid not in {zygote, None}


async def test_a_cancelled_run_leaves_no_process(bench: Bench) -> None:
    run, pid = await started(bench)
    run.cancel()
    await asyncio.wait([run])
    await eventually(lambda: not alive(pid))  # its memory and files are gone; its entry in the table follows
    assert bench.engine.pool.pids == ()


async def test_a_run_that_is_cancelled_again_while_it_ends_leaves_no_process(bench: Bench) -> None:
    """Its time was over, and then its job was stopped."""
    run, pid = await started(bench)
    os.kill(pid, signal.SIGSTOP)  # it hears no interruption
    run.cancel()
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert pid not in bench.engine.pool.pids
    await eventually(lambda: not alive(pid))  # as above


async def test_a_child_that_dies_as_it_is_born_is_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts towards the cap otherwise, and as one that is free, for as long as the agent lives."""
    gone, born = asyncio.Event(), Zygote.fork
    dead: list[int] = []
    monkeypatch.setattr(bench.engine.pool, "forget", lambda _: gone.set())

    async def fork(zygote: Zygote, number: int, theirs: socket.socket) -> int:
        pid = await born(zygote, number, theirs)
        if not dead:
            theirs.close()
            dead.append(pid)
            kill(pid)
            await gone.wait()
        return pid

    monkeypatch.setattr(Zygote, "fork", fork)
    assert (await bench.run(QUICK)).exit_code == 0
    assert not set(dead) & set(bench.engine.pool.pids)


async def test_a_child_is_replaced_after_so_many_runs(tmp_path: Path) -> None:
    bench = Bench(tmp_path, most_runs="2")
    seen: set[int] = set()
    for _ in range(6):
        await bench.run(QUICK)
        seen.update(bench.engine.pool.pids)
    assert len(seen) >= 2
    await bench.engine.close()


async def test_idle_children_and_zygote_end_and_a_later_run_starts_them_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, idle_seconds="0.1")
    await bench.run(QUICK)
    pids = [*bench.engine.pool.pids, bench.engine.pool.zygote_pid or 0]
    await eventually(lambda: bench.engine.pool.zygote_pid is None)
    await eventually(lambda: not alive(*pids))
    assert bench.engine.pool.pids == ()
    assert (await bench.run(QUICK)).exit_code == 0
    await bench.engine.close()


async def test_closing_ends_everything_also_what_runs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run, pid = await started(bench)
    zygote = bench.engine.pool.zygote_pid
    assert zygote is not None
    await bench.engine.close()
    assert not alive(pid, zygote)
    assert failure(await run)[0] == "engine-lost"  # type: ignore[arg-type]
    with pytest.raises(EngineClosed):
        await bench.run(QUICK)
    assert bench.engine.pool.zygote_pid is None


async def test_the_zygote_has_one_thread_and_none_of_our_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKREI_SECRET", "x")
    await bench.run(QUICK)
    zygote = psutil.Process(bench.engine.pool.zygote_pid)
    assert zygote.num_threads() == 1
    assert "SKREI_SECRET" not in zygote.environ()


PARENT = """
import asyncio, sys
from pathlib import Path
from skrei_plugin_api.testing import Running, eventually
from skrei_plugin_wasm.engine import EngineClosed
from skrei_plugin_wasm.process import runnable
from tests.support.wasm_engine import Bench

async def main():
    bench = Bench(Path(sys.argv[1]))
    request = bench.request(Path(sys.argv[2]).read_bytes())
    run = asyncio.create_task(bench.engine.run(request, Running()))
    await eventually(lambda: (request.workdir / "stdout").exists() and (request.workdir / "stdout").stat().st_size)
    assert "wasmtime" not in sys.modules
    print(*bench.engine.pool.pids, bench.engine.pool.zygote_pid, flush=True)
    await run

asyncio.run(main())
"""


async def test_the_parents_death_leaves_no_child_and_it_never_imports_wasmtime(tmp_path: Path) -> None:
    (tmp_path / "endless.wasm").write_bytes(ENDLESS)
    with subprocess.Popen(  # noqa: ASYNC220 - read from a thread
        [sys.executable, "-c", PARENT, str(tmp_path), str(tmp_path / "endless.wasm")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in (await asyncio.to_thread(parent.stdout.readline)).split()]
        assert len(pids) == 2
        assert alive(*pids)
        parent.kill()
    await eventually(lambda: not alive(*pids))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells which processes compute")
async def test_who_computes_is_told_from_who_waits() -> None:
    waiting = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    try:
        await eventually(lambda: runnable([waiting.pid], 2) == 0 and psutil.Process(waiting.pid).status() == "sleeping")
        assert runnable([os.getpid(), waiting.pid], 2) == 1
    finally:
        await waiting.communicate(b"\n")
    assert runnable([waiting.pid], 2) == 0
    assert runnable([os.getpid(), os.getpid(), os.getpid()], 2) == 2, "more are not asked about"


@pytest.mark.parametrize(("state", "counts"), [("R", 1), ("D", 1), ("S", 0), ("Z", 0)])
def test_who_waits_for_the_disk_is_as_busy_as_who_computes(
    monkeypatch: pytest.MonkeyPatch, state: str, counts: int
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"7 (a) D (b) {state} 1 7 7 0")
    assert runnable([7], 2) == counts


def test_the_cores_are_those_that_we_may_use() -> None:
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    one = f"import os; os.sched_setaffinity(0, {{{min(mine)}}}); " if mine else ""
    told = subprocess.run(
        [sys.executable, "-c", f"{one}from skrei_plugin_wasm import pool; print(pool._CORES)"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert int(told) == (1 if mine else os.cpu_count())


async def test_where_no_child_can_be_added_none_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def looks(*_: object) -> int:
        raise AssertionError("some hundred files are read")

    monkeypatch.setattr(pool, "runnable", looks)
    assert pool.Pool(WasmSettings(most_children=0), tmp_path)._too_few(turning=False) == 0


async def test_the_more_children_there_are_the_more_rarely_they_are_looked_at(tmp_path: Path) -> None:
    many = pool.Pool(WasmSettings(grow_seconds=0.003), tmp_path)
    assert many.pause_seconds == 0.003
    many._children.update(Child(number, many.forget) for number in range(200))
    assert many.pause_seconds == pytest.approx(200 * pool.LOOK_SECONDS)


class Looked:
    """A pool with two children, both in a run, and what a look at processes would see of them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pool = pool.Pool(WasmSettings(), folder)
        self.children = [Child(number, self.pool.forget) for number in (1, 2)]
        for child in self.children:
            child.pid, child.made = child.number, -1.0
        self.pool._children.update(self.children)
        self.computing: set[int] = set()
        monkeypatch.setattr(pool, "_CORES", 2)
        monkeypatch.setattr(pool, "runnable", lambda pids, enough: min(len(self.computing & set(pids)), enough))

    def look(self, *, turning: bool = False) -> int:
        return self.pool._too_few(turning=turning)


async def test_as_many_are_added_as_two_looks_in_a_row_find_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Looked(tmp_path, monkeypatch)
    assert [looked.look(), looked.look(), looked.look()] == [0, 2, 2]
    assert [looked.look(turning=True), looked.look(), looked.look()] == [0, 0, 2]
    looked.computing = {1}
    assert looked.look() == 1


async def test_none_is_added_where_those_there_are_keep_the_cores_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Looked(tmp_path, monkeypatch)
    looked.computing = {1, 2}
    assert [looked.look(), looked.look()] == [0, 0]


async def test_a_child_that_begins_to_compute_does_not_speak_against_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Looked(tmp_path, monkeypatch)
    looked.computing = {1, 2}
    looked.children[0].made = asyncio.get_running_loop().time() + 1  # as young as can be
    assert [looked.look(), looked.look()] == [0, 0], "but neither does it for more"
    looked.computing = {1}
    assert looked.look() == 1
