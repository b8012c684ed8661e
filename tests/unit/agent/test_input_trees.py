"""Inputs of many files: brought once, laid out once, kept while somebody looks into them, whatever restarts."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from skrei_compute_agent import input_trees
from skrei_compute_agent.input_cache import InputCache
from skrei_compute_agent.input_trees import InputTrees
from skrei_domain.errors import Unavailable
from skrei_plugin_api.pieces import DATA, Listed, Piece
from skrei_plugin_api.storage import StageFailed


class Site:
    """Files that are somewhere else, and how often each was asked for."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.asked: list[str] = []
        self.cut = False

    def pieces(self, *names: str) -> list[Piece]:
        return [Piece(f"in/{name}", f"site/{name}", len(self.files[name])) for name in names or self.files]

    async def bring(self, piece: Piece, folder: Path) -> None:
        name = piece.identity.removeprefix("site/")
        self.asked.append(name)
        await asyncio.sleep(0)
        if name not in self.files:
            raise StageFailed("input-missing", f"{name} is not there")  # type: ignore[arg-type]
        data = self.files[name]
        if self.cut:
            (folder / DATA).write_bytes(data[: len(data) // 2])
            raise Unavailable("the line was cut")
        (folder / DATA).write_bytes(data)


class Node:
    """Cache and trees of one start of an agent."""

    def __init__(self, folder: Path, known: Sequence[str] = (), limit: int = 1_000) -> None:
        self.cache = InputCache(folder / "cache", nothing, limit_bytes=limit, blob_bytes=10)
        self.cache.open()
        self.trees = InputTrees(folder / "inputs", self.cache)
        self.trees.open(known)
        self.counts: list[tuple[int, bool, int]] = []

    async def get(self, site: Site, execution: str, *names: str) -> Path:
        return await self.trees.get(site.pieces(*names), site.bring, execution, lambda *told: self.counts.append(told))

    async def close(self) -> None:
        self.trees.close()
        await self.cache.close()


@asynccontextmanager
async def nothing(digest: str, token: str) -> AsyncIterator[AsyncIterator[bytes]]:
    pytest.fail("no blob is asked for here")
    yield  # type: ignore[unreachable]  # what makes it a generator


@pytest.fixture
def site() -> Site:
    return Site(a=b"A" * 10, b=b"B" * 20, c=b"C" * 30)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_trees, "MOST_IDLE", 1)


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "in").iterdir()}


async def test_twenty_that_ask_at_once_get_one_directory_and_each_file_is_brought_once(
    tmp_path: Path, site: Site
) -> None:
    node = Node(tmp_path)
    found = await asyncio.gather(*(node.get(site, f"e-{number}") for number in range(20)))
    assert len(set(found)) == 1
    assert read(found[0]) == site.files
    assert sorted(site.asked) == ["a", "b", "c"]
    assert sum(size for size, brought, _ in node.counts if brought) == 60
    assert [each for each in node.counts if not each[1]] == 19 * [(60, False, 3)]
    assert not any(path.stat().st_mode & 0o222 for path in (found[0] / "in").iterdir())
    await node.close()


async def test_a_list_with_a_name_is_read_for_the_first_who_asks_alone(tmp_path: Path, site: Site) -> None:
    node, loads = Node(tmp_path), 0

    async def load() -> Sequence[Piece]:
        nonlocal loads
        loads += 1
        return site.pieces()

    listed = Listed("ab" * 32, 3, 60, load)
    counts: list[tuple[int, bool, int]] = []
    for number in range(20):
        found = await node.trees.get(listed, site.bring, f"e-{number}", lambda *told: counts.append(told))
        assert read(found) == site.files
    assert (loads, sorted(site.asked)) == (1, ["a", "b", "c"])
    assert counts[3:] == 19 * [(60, False, 3)]
    await node.close()


async def test_lists_that_overlap_share_what_they_have_in_common(tmp_path: Path, site: Site) -> None:
    node = Node(tmp_path)
    first, second = await node.get(site, "e-1", "a", "b"), await node.get(site, "e-2", "b", "c")
    assert (first / "in/b").samefile(second / "in/b")
    assert sorted(site.asked) == ["a", "b", "c"]
    await node.close()


async def test_what_is_in_use_stays_and_what_is_not_makes_room(tmp_path: Path, site: Site) -> None:
    node = Node(tmp_path, limit=35)
    used = await node.get(site, "e-1", "c")
    idle = await node.get(site, "e-2", "a")
    node.trees.release("e-2")
    assert read(used) == {"c": site.files["c"]}
    assert not idle.exists()
    assert node.cache.size_bytes == 30
    node.trees.release("e-1")
    assert read(await node.get(site, "e-3", "c")) == {"c": site.files["c"]}
    assert site.asked == ["c", "a"]
    await node.close()


@pytest.mark.usefixtures("few")
async def test_only_so_many_stay_without_a_use(tmp_path: Path, site: Site) -> None:
    node = Node(tmp_path)
    for name in "abc":
        await node.get(site, f"e-{name}", name)
        node.trees.release(f"e-{name}")
    await node.get(site, "e-4", "c")
    assert len(site.asked) == 3
    node.trees.close()
    assert len([path for path in (tmp_path / "inputs").iterdir() if path.is_dir()]) == 1
    await node.cache.close()


async def test_a_restart_keeps_what_known_executions_look_into_and_nothing_else(tmp_path: Path, site: Site) -> None:
    node = Node(tmp_path)
    kept, dropped = await node.get(site, "e-1", "a", "b"), await node.get(site, "e-2", "c")
    await node.close()
    again = Node(tmp_path, known=["e-1"], limit=5)
    assert read(kept) == {"a": site.files["a"], "b": site.files["b"]}
    assert await again.get(site, "e-3", "a", "b") == kept
    assert len(site.asked) == 3
    again.trees.release("e-1")
    again.trees.release("e-3")
    await again.close()
    assert not dropped.exists()
    assert not kept.exists()
    assert again.cache.size_bytes == 0
    assert sorted(path.name for path in (tmp_path / "inputs").iterdir()) == []


async def test_what_a_restart_removes_takes_nothing_from_the_next_who_asks_for_the_same(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path)
    await node.get(site, "e-1")
    await node.close()
    swept, remove = threading.Event(), input_trees._remove

    def late(path: Path) -> None:
        assert swept.wait(30)
        remove(path)

    monkeypatch.setattr(input_trees, "_remove", late)
    again = Node(tmp_path)
    folder = await again.get(site, "e-2")
    swept.set()
    await again.close()
    assert read(folder) == site.files
    assert len(list((tmp_path / "inputs").iterdir())) == 3, "the directory, its list, and who uses it"


@pytest.mark.parametrize("by_hand", [False, True])
async def test_a_directory_is_given_up_whatever_lies_around_it_or_is_gone(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    monkeypatch.setattr(input_trees, "MOST_IDLE", 0)
    node = Node(tmp_path)
    folder = await node.get(site, "e-1")
    (tmp_path / "inputs" / f"{folder.name}~gone~1" / "left").mkdir(parents=True)
    if by_hand:
        shutil.rmtree(folder)
    node.trees.release("e-1")
    assert not folder.exists()
    assert node.cache.files.idle_bytes == 60
    await node.close()


async def test_what_a_crash_left_half_laid_out_is_laid_out_again(tmp_path: Path, site: Site) -> None:
    node = Node(tmp_path)
    folder = await node.get(site, "e-1")
    await node.close()
    (tmp_path / "inputs" / f"{folder.name}{input_trees.LIST}").write_text("[")
    shutil.rmtree(folder / "in")
    again = Node(tmp_path, known=["e-1"])
    assert read(await again.get(site, "e-1")) == site.files
    assert len(site.asked) == 3
    await again.close()


async def test_one_that_cannot_be_had_gives_everything_back(tmp_path: Path, site: Site) -> None:
    node = Node(tmp_path, limit=0)
    pieces = [*site.pieces(), Piece("in/x", "site/x", 1)]
    with pytest.raises(StageFailed, match="x is not there"):
        await node.trees.get(pieces, site.bring, "e-1", lambda *_: None)
    assert node.cache.size_bytes == 0
    await node.close()


async def test_what_broke_off_is_there_when_it_is_asked_for_again(tmp_path: Path, site: Site) -> None:
    node = Node(tmp_path)
    site.cut = True
    with pytest.raises(Unavailable):
        await node.get(site, "e-1", "c")
    await node.close()
    again, seen = Node(tmp_path), []

    async def rest(piece: Piece, folder: Path) -> None:
        seen.append((folder / DATA).stat().st_size)
        with (folder / DATA).open("ab") as file:
            file.write(site.files["c"][seen[0] :])

    folder = await again.trees.get(site.pieces("c"), rest, "e-1", lambda *_: None)
    assert (seen, read(folder)) == ([15], {"c": site.files["c"]})
    await again.close()


async def test_more_than_the_disk_holds_is_refused_before_anything_is_brought(tmp_path: Path, site: Site) -> None:
    node = Node(tmp_path)
    huge = [Piece("in/huge", "site/huge", 10**18)]
    with pytest.raises(
        StageFailed, match="1,000,000,000,000,000,000 bytes of the input are not on this node"
    ) as raised:
        await node.trees.get(huge, site.bring, "e-1", lambda *_: None)
    assert raised.value.retryable, "other nodes may have the room, and this one later"
    assert site.asked == []
    await node.close()


async def test_one_who_is_cancelled_leaves_the_work_to_the_next(tmp_path: Path, site: Site) -> None:
    node = Node(tmp_path)
    first = asyncio.create_task(node.get(site, "e-1"))
    await asyncio.sleep(0)
    second = asyncio.create_task(node.get(site, "e-2"))
    await asyncio.sleep(0)
    first.cancel()
    assert read(await second) == site.files
    node.trees.release("e-2")
    assert node.cache.files.idle_bytes == 0  # the directory stays for the next who asks
    await node.close()
