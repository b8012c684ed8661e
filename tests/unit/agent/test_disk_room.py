"""An input never fills the disk that its node's journal lies on, whatever it says how large it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from skrei_compute_agent import disk_room
from skrei_compute_agent.cached_files import name_of
from skrei_compute_agent.disk_room import FREE_BYTES, BeyondDisk, NoRoom
from skrei_compute_agent.input_cache import InputCache
from skrei_domain.errors import SkreiError, Unavailable
from skrei_plugin_api.pieces import DATA

MB = 1024**2


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Disk:
    """A disk of so many bytes beside what stays free of it; what lies in the cache takes room."""

    def __init__(self, folder: Path, room: int) -> None:
        self.folder = folder
        self.room = room

    def usage(self, _: Path) -> Usage:
        taken = sum(
            path.stat().st_size for path in self.folder.rglob("*") if path.is_file() and ".state" not in path.parts
        )
        return Usage(10**12, 0, FREE_BYTES + self.room - taken)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(tmp_path / "cache", 10 * MB)
    monkeypatch.setattr(disk_room.shutil, "disk_usage", made.usage)
    monkeypatch.setattr(disk_room, "LOOK_SECONDS", 0.0)
    return made


@pytest.fixture
async def cache(disk: Disk) -> AsyncIterator[InputCache]:
    made = InputCache(disk.folder, nothing, limit_bytes=10**9, blob_bytes=10**9)
    made.open()
    yield made
    await made.close()


@asynccontextmanager
async def nothing(digest: str, token: str) -> AsyncIterator[AsyncIterator[bytes]]:
    pytest.fail(f"{digest} is no blob")
    yield


async def bring(cache: InputCache, name: str, size: int, told: int | None, *, release: bool = True) -> None:
    """Bring a file a megabyte at a time."""

    async def work(folder: Path) -> None:
        with (folder / DATA).open("wb") as file:
            for _ in range(size // MB):
                file.write(bytes(MB))
                file.flush()
                await asyncio.sleep(0)

    await cache.bring(f"at/{name}", work, told)
    if release:
        cache.release(f"at/{name}")


def begin(cache: InputCache, **sizes: int) -> None:
    """Begin to bring files, and leave off."""
    with cache.room.promised(sizes):
        pass


async def test_what_nobody_uses_makes_way_for_what_is_wanted(cache: InputCache, disk: Disk) -> None:
    for name in ("a", "b", "c"):
        await bring(cache, name, 3 * MB, 3 * MB)
    with cache.room.promised({"d": 4 * MB}):
        assert cache.ready("at/a") is None
        assert cache.ready("at/c") is not None
        assert cache.size_bytes == 6 * MB
        assert cache.room.free >= 4 * MB


async def test_what_is_in_use_does_not_and_may_be_gone_later(cache: InputCache, disk: Disk) -> None:
    await bring(cache, "a", 6 * MB, 6 * MB, release=False)
    with pytest.raises(NoRoom, match=r"5,242,880 bytes of the input are not .* has room for 4,194,304") as raised:
        begin(cache, b=5 * MB)
    assert not isinstance(raised.value, BeyondDisk)
    assert raised.value.code == "input-too-large"
    with pytest.raises(BeyondDisk) as beyond:
        begin(cache, b=11 * MB)
    assert (beyond.value.code, beyond.value.retryable) == ("input-beyond-disk", True)


async def test_nothing_goes_for_what_would_have_no_room_all_the_same(cache: InputCache) -> None:
    await bring(cache, "a", 3 * MB, 3 * MB)
    await bring(cache, "b", 6 * MB, 6 * MB, release=False)
    with pytest.raises(NoRoom):
        begin(cache, c=5 * MB)
    assert cache.files.has(name_of("at/a"))
    assert not cache.room.fits({"c": 5 * MB})
    assert cache.room.fits({"c": 4 * MB})
    assert not cache.room.fits({"c": 3 * MB, name_of("at/a"): 3 * MB}), "what it needs itself makes no way for it"
    assert cache.files.has(name_of("at/a")), "a look drops nothing"
    cache.release("at/b")
    assert cache.room.fits({"c": 5 * MB})
    begin(cache, c=5 * MB)


async def test_what_has_room_alone_and_never_together_is_beyond_the_disk(cache: InputCache) -> None:
    await bring(cache, "a", 6 * MB, 6 * MB, release=False)  # whoever uses it: it goes one day
    cache.room.check_together({name_of("at/a"): 6 * MB, "b": 4 * MB})
    cache.room.check_together({"b": 9 * MB})
    with pytest.raises(BeyondDisk, match="11,534,336 bytes together") as raised:
        cache.room.check_together({name_of("at/a"): 6 * MB, "b": 5 * MB})
    assert raised.value.hint
    with cache.room.promised({"c": 4 * MB}), pytest.raises(BeyondDisk):
        cache.room.check_together({"c": 4 * MB, "b": 7 * MB})


async def test_what_came_of_a_file_before_it_broke_off_is_room_that_it_has(cache: InputCache) -> None:
    async def breaks(folder: Path) -> None:
        (folder / DATA).write_bytes(bytes(6 * MB))
        raise Unavailable("the line broke")

    with pytest.raises(Unavailable):
        await cache.bring("at/a", breaks, 9 * MB)
    both = {name_of("at/a"): 9 * MB, "b": 1 * MB}
    cache.room.check_together(both)
    assert cache.room.fits(both)


@pytest.mark.parametrize("told", [None, 9 * MB])
async def test_what_is_larger_than_it_said_is_cut_off_and_leaves_nothing(
    cache: InputCache, disk: Disk, told: int | None
) -> None:
    with pytest.raises(BeyondDisk, match="the disk of this node runs full") as raised:
        await bring(cache, "a", 500 * MB, told)
    assert raised.value.hint
    assert [path for path in disk.folder.iterdir() if path.name.startswith("at-")] == []
    await bring(cache, "b", 2 * MB, None)


async def test_what_is_idle_makes_way_while_one_comes_too(cache: InputCache, disk: Disk) -> None:
    await bring(cache, "a", 6 * MB, 6 * MB)
    await bring(cache, "b", 8 * MB, None, release=False)
    assert cache.ready("at/a") is None


async def test_what_is_on_its_way_has_its_room_and_who_comes_second_may_have_it_later(cache: InputCache) -> None:
    with cache.room.promised({"a": 6 * MB}):
        with pytest.raises(NoRoom, match="has room for 4,194,304 beside 6,291,456 bytes that are on their") as raised:
            begin(cache, b=6 * MB)
        assert not isinstance(raised.value, BeyondDisk)
        begin(cache, a=6 * MB, b=4 * MB)  # what both want comes once
        cache.room.came("a")
        begin(cache, b=6 * MB)
    begin(cache, b=10 * MB)


async def test_what_has_come_of_a_file_takes_its_room_once(cache: InputCache) -> None:
    half, whole = asyncio.Event(), asyncio.Event()

    async def work(folder: Path) -> None:
        (folder / DATA).write_bytes(bytes(5 * MB))
        half.set()
        await whole.wait()

    with cache.room.promised({name_of("at/a"): 6 * MB}):
        bringing = asyncio.create_task(cache.bring("at/a", work, 6 * MB))
        await half.wait()
        begin(cache, b=4 * MB)
        with pytest.raises(NoRoom) as raised:
            begin(cache, b=5 * MB)
        assert not isinstance(raised.value, BeyondDisk)
        whole.set()
        await bringing


async def test_what_has_come_and_is_still_looked_at_takes_its_room_once(cache: InputCache, disk: Disk) -> None:
    folder = disk.folder / "x.part"
    folder.mkdir()

    async def work() -> None:
        (folder / DATA).write_bytes(bytes(6 * MB))

    with cache.room.promised({"x": 6 * MB}):
        await cache.room.within(work(), 6 * MB, folder)
        begin(cache, b=4 * MB)


async def test_what_an_earlier_try_has_left_of_a_file_takes_its_room_once(cache: InputCache, disk: Disk) -> None:
    async def breaks(folder: Path) -> None:
        (folder / DATA).write_bytes(bytes(6 * MB))
        raise Unavailable("the line broke")

    with pytest.raises(Unavailable):
        await cache.bring("at/a", breaks, 9 * MB)
    with cache.room.promised({name_of("at/a"): 9 * MB}):
        begin(cache, b=1 * MB)
        with pytest.raises(NoRoom):
            begin(cache, b=2 * MB)


async def test_what_is_cut_off_since_others_filled_the_disk_may_fit_later(cache: InputCache, disk: Disk) -> None:
    await bring(cache, "a", 6 * MB, 6 * MB, release=False)
    with pytest.raises(NoRoom, match="something else has taken the room") as raised:
        await bring(cache, "b", 6 * MB, 6 * MB)
    assert not isinstance(raised.value, BeyondDisk)
    assert (raised.value.code, raised.value.retryable) == ("input-too-large", True)


async def test_what_a_storage_raises_is_raised(cache: InputCache) -> None:
    async def fails(folder: Path) -> None:
        raise SkreiError("it is gone")

    with pytest.raises(SkreiError, match="it is gone"):
        await cache.bring("at/x", fails)


async def test_a_cancelled_one_is_over_when_that_is_passed_on(cache: InputCache) -> None:
    over: list[str] = []

    async def waits(folder: Path) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            over.append("over")

    task = asyncio.create_task(cache.bring("at/x", waits))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert over == ["over"]
