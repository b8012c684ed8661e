"""Executions that write more than they may are cut off, and counting what they wrote costs little."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_compute_agent import disk_watch as module
from skrei_compute_agent.disk_watch import COUNT_SECONDS, COUNT_SHARE, ENTRY_BYTES, DiskLimit, DiskWatch, held_bytes
from skrei_plugin_api.engine import MAX_OUTPUT_BYTES, FailureCode
from skrei_plugin_api.packing import RESULT_FILE

KIB = 1024
PLENTY = 1 << 60


class Disk:
    """Room on the disk as the test says, a clock that it moves, and what was counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.now, self.held, self.takes = PLENTY, 0.0, 0, 0.0
        self.counts = 0
        monkeypatch.setattr(module, "_free", lambda _: self.free)
        monkeypatch.setattr(module, "held_bytes", self.count)
        self.watch = DiskWatch(now=lambda: self.now)

    def count(self, folder: Path, most: int, *, streams: bool) -> int:
        self.counts += 1
        self.now += self.takes
        return self.held


@pytest.fixture
async def disk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Disk]:
    made = Disk(monkeypatch)
    yield made
    await made.watch.close()


async def test_nothing_is_counted_while_the_disk_has_lost_less_than_an_execution_may_write(disk: Disk) -> None:
    cut = disk.watch.watch("e-1", Path("/x"), DiskLimit(1_000, asked=True))
    for lost in (0, 400, 999):
        disk.free = PLENTY - lost
        await disk.watch.look()
    assert (disk.counts, cut.done()) == (0, False)
    disk.free, disk.held = PLENTY - 1_000, 600
    await disk.watch.look()
    assert (disk.counts, cut.done()) == (1, False)  # somebody else wrote the rest
    disk.free -= 399
    await disk.watch.look()
    assert disk.counts == 1
    disk.free, disk.held = disk.free - 1, 1_001
    await disk.watch.look()
    assert (disk.counts, cut.done()) == (2, True)
    assert cut.result().code is FailureCode.DISK_LIMIT_EXCEEDED
    assert "1001 bytes" in cut.result().message
    assert "Resources.Disk" in cut.result().message


async def test_what_others_remove_hides_what_one_writes_for_seconds_only(disk: Disk) -> None:
    cut = disk.watch.watch("e-1", Path("/x"), DiskLimit(1_000, asked=True))
    disk.held, disk.now = 5_000, COUNT_SECONDS
    await disk.watch.look()
    assert cut.done()


async def test_a_count_that_took_long_is_not_repeated_soon(disk: Disk) -> None:
    disk.watch.watch("e-1", Path("/x"), DiskLimit(1_000, asked=True))
    disk.takes, disk.now = 3.0, COUNT_SECONDS
    await disk.watch.look()
    counted = disk.now
    disk.now, disk.free = counted + COUNT_SHARE * 3.0 - 0.1, PLENTY - 5_000
    await disk.watch.look()
    assert disk.counts == 1
    disk.now = counted + COUNT_SHARE * 3.0
    await disk.watch.look()
    assert disk.counts == 2


async def test_who_has_ended_is_not_cut_off(disk: Disk) -> None:
    cut = disk.watch.watch("e-1", Path("/x"), DiskLimit(1_000, asked=True))
    disk.watch.forget("e-1")
    disk.watch.forget("e-1")
    disk.held, disk.now = 5_000, COUNT_SECONDS
    await disk.watch.look()
    assert (disk.counts, cut.done()) == (0, False)


async def test_looking_goes_on_by_itself_while_somebody_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "COUNT_SECONDS", 0.0)
    watch = DiskWatch()
    for name in ("first", "second"):  # the second after the first has ended, and the watch with it
        folder = tmp_path / name
        folder.mkdir()
        cut = watch.watch(name, folder, DiskLimit(64 * KIB, asked=True))
        (folder / "outputs").mkdir()
        (folder / "outputs" / "large").write_bytes(bytes(128 * KIB))
        async with asyncio.timeout(20):
            assert (await cut).code is FailureCode.DISK_LIMIT_EXCEEDED
        watch.forget(name)
    await watch.close()


async def test_a_count_that_fails_ends_no_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "COUNT_SECONDS", 0.0)
    failures = [RuntimeError("can't start new thread")]

    def count(folder: Path, most: int, *, streams: bool = True) -> int:
        if failures:
            raise failures.pop()
        return most + 1

    monkeypatch.setattr(module, "held_bytes", count)
    watch = DiskWatch()
    async with asyncio.timeout(20):
        await watch.watch("e-1", tmp_path, DiskLimit(64 * KIB, asked=True))
    assert not failures
    await watch.close()


def test_what_takes_room_counts_and_nothing_else(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "work", tmp_path / "input"
    (folder / "outputs" / "made" / "deep").mkdir(parents=True)
    (folder / "root").mkdir()
    empty = held_bytes(folder, PLENTY)
    elsewhere.write_bytes(bytes(100 * KIB))
    os.link(elsewhere, folder / "root" / "input")
    (folder / RESULT_FILE).write_bytes(bytes(100 * KIB))
    with (folder / "outputs" / "made" / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (folder / "outputs" / "loop").symlink_to("/")
    assert held_bytes(folder, PLENTY) <= empty + 8 * KIB
    for path in (folder / "stdout", folder / "outputs" / "made" / "deep" / "file", folder / "root" / "scratch"):
        before = held_bytes(folder, PLENTY)
        path.write_bytes(bytes(100 * KIB))
        assert held_bytes(folder, PLENTY) - before >= 100 * KIB
    os.link(elsewhere, folder / "outputs" / "linked")  # a link in the outputs hides nothing
    assert held_bytes(folder, PLENTY) - before >= 200 * KIB
    assert held_bytes(tmp_path / "gone", PLENTY) == 0


def test_a_file_that_goes_while_it_is_looked_at_hides_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    @contextmanager
    def slow(path: str) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        (tmp_path / "a").unlink()
        yield found

    for name in "ab":
        (tmp_path / name).write_bytes(bytes(100 * KIB))
    monkeypatch.setattr(os, "scandir", slow)
    assert 100 * KIB <= held_bytes(tmp_path, PLENTY) < 200 * KIB


def test_empty_files_count_too_and_counting_ends_where_it_is_too_much(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).touch()
    assert held_bytes(tmp_path, PLENTY) >= 50 * ENTRY_BYTES
    assert 10 * ENTRY_BYTES < held_bytes(tmp_path, 10 * ENTRY_BYTES) <= 11 * ENTRY_BYTES


@given(st.integers(0, 2**50))
def test_who_asks_for_no_disk_may_write_what_a_result_may_hold(disk_bytes: int) -> None:
    limit = DiskLimit.of(disk_bytes)
    failure = limit.exceeded(limit.bytes + 1)
    assert str(limit.bytes) in failure.message
    if disk_bytes:
        assert (limit.bytes, failure.code) == (disk_bytes, FailureCode.DISK_LIMIT_EXCEEDED)
    else:
        assert (limit.bytes, failure.code) == (MAX_OUTPUT_BYTES, FailureCode.OUTPUT_TOO_LARGE)
