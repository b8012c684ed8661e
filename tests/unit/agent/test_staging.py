"""Which list an execution reads its part of: the one that its job is pinned to, else one that its node shares."""

import itertools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from skrei_compute_agent import patience
from skrei_compute_agent.disk_room import BeyondDisk, NoRoom
from skrei_compute_agent.input_cache import InputCache
from skrei_compute_agent.listings import key_of
from skrei_compute_agent.manifest_client import ManifestClient
from skrei_compute_agent.pinned import Pinned
from skrei_compute_agent.staging import Inputs, Stager
from skrei_domain.job_reading import FieldProblem
from skrei_domain.messages import DataRead, ManifestRef, PinnedInput
from skrei_plugin_api.manifest import Manifest, Slice
from skrei_plugin_api.pieces import DATA, Entry, Piece, PieceStorage
from skrei_plugin_api.plugin import Params, PluginContext, PluginInfo
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits, StageProblem
from tests.support.agent_machine import a_stage, a_task
from tests.support.agent_shelves import shelves

LIMITS = StageLimits()


class Bucket(PieceStorage):
    """Objects that change between two looks, and how often each was asked for."""

    name, version, plugin_api = "bucket", "1", 1

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self.state = 1
        self.looks: list[str] = []
        self.brought: list[str] = []
        self.full = 0
        self.problem: type[NoRoom] = NoRoom

    async def describe(self) -> PluginInfo:
        return PluginInfo(available=True, version="1")

    def validate(self, params: Params) -> list[FieldProblem]:
        return []

    async def pieces(self, source: SourceSpec, limits: StageLimits) -> Sequence[Piece]:
        self.looks.append("pieces")
        return [entry.piece for entry in self._all(source) if entry.partition in (None, source.partition)]

    async def resolve(self, source: SourceSpec, limits: StageLimits) -> AsyncGenerator[Entry, None]:
        self.looks.append("resolve")
        for entry in self._all(source):
            yield entry

    def _all(self, source: SourceSpec) -> list[Entry]:
        numbers = range(6)
        at = source.params["Key"]
        return [Entry(Piece(f"{n}", f"{at}/{n}@{self.state}", 1), n % source.partitions) for n in numbers]

    async def bring(self, source: SourceSpec, limits: StageLimits, piece: Piece, folder: Path) -> None:
        if piece.path == "0" and self.full:
            self.full -= 1
            raise self.problem(StageProblem.TOO_LARGE, "the disk is full")
        self.brought.append(piece.identity)
        (folder / DATA).write_text(piece.identity.rpartition("@")[2])


class Node:
    def __init__(self, folder: Path) -> None:
        cache = InputCache(folder / "cache", lambda *_: pytest.fail("no blob"), limit_bytes=100, blob_bytes=1)
        self.shelves = shelves(folder, cache)
        self.bucket = Bucket(PluginContext(folder / "state"))
        self.folder = folder
        self.stager = Stager({"bucket": self.bucket}, self.shelves, limits=LIMITS, parallel=2)

    async def stage(
        self,
        partition: int,
        of: int = 2,
        tell: Callable[[str], None] = lambda _: None,
        inputs: Sequence[str] = ("k",),
        **order: object,
    ) -> tuple[Inputs, dict[str, str]]:
        sources = [{"Source": {"Type": "bucket", "Params": {"Key": key}}, "Target": f"/in-{key}"} for key in inputs]
        task = a_task(InputSources=sources)
        name = f"e-{partition}"
        wanted = a_stage(name, task, partition=partition, partition_count=of, **order)
        found = await self.stager.stage(wanted, (self.folder / name,) * len(inputs), tell)
        mount = found.mounts[0]
        return found, {path.name: path.read_text() for path in mount.source.iterdir()}

    async def close(self) -> None:
        self.shelves.trees.close()
        await self.shelves.cache.close()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_partitions_and_retries_on_one_node_read_one_state(node: Node) -> None:
    assert (await node.stage(0))[1] == {"0": "1", "2": "1", "4": "1"}
    node.bucket.state = 2
    assert (await node.stage(1))[1] == {"1": "1", "3": "1", "5": "1"}
    again, files = await node.stage(0)
    assert files == {"0": "1", "2": "1", "4": "1"}
    assert again.data == DataRead(local=3, cached=3, hits=3)
    assert node.bucket.looks == ["resolve"]
    await node.close()


async def test_the_next_version_is_listed_anew(node: Node) -> None:
    await node.stage(0)
    node.bucket.state = 2
    assert (await node.stage(0, job_version=2))[1] == {"0": "2", "2": "2", "4": "2"}
    await node.close()


@pytest.mark.parametrize(("of", "kind"), [(1, "batch"), (2, "service"), (0, "daemon")])
async def test_what_is_alone_or_never_ends_sees_what_is_there_at_each_start(node: Node, of: int, kind: str) -> None:
    await node.stage(0, of, job_type=kind)
    node.bucket.state = 2
    _, files = await node.stage(0, of, job_type=kind)
    assert set(files.values()) == {"2"}
    assert node.bucket.looks == ["pieces", "pieces"]
    await node.close()


async def test_what_a_job_is_pinned_to_comes_before_what_is_there(node: Node) -> None:
    source = SourceSpec("bucket", {"Key": "k"}, "/in", partitions=1)
    told: list[int] = []
    key = key_of("j-1", 1, source)
    listing = await node.shelves.listings.get(key, lambda: node.bucket.resolve(source, LIMITS), 1, LIMITS, told.append)
    node.bucket.state = 2
    ref = ManifestRef(digest=listing.manifest.digest, parts=1, files=6, size_bytes=6)
    _, files = await node.stage(0, 1, manifests=(PinnedInput(input=0, manifest=ref),))
    assert set(files.values()) == {"1"}
    assert node.bucket.looks == ["resolve"]
    await node.close()


async def test_a_list_of_more_files_than_the_node_takes_is_not_even_fetched(node: Node) -> None:
    source = SourceSpec("bucket", {"Key": "k"}, "/in", partitions=1)
    listing = await node.shelves.listings.get(
        "elsewhere", lambda: node.bucket.resolve(source, LIMITS), 1, LIMITS, lambda _: None
    )

    class Store:
        async def index(self, _digest: str, _parts: int, _token: str) -> Manifest:
            return listing.manifest

        async def part(self, _digest: str, _wanted: Slice, _token: str) -> bytes:
            pytest.fail("it may unpack to anything")

    pinned = Pinned(node.shelves.listings, lambda: cast("ManifestClient", Store()))
    ref = ManifestRef(digest=listing.manifest.digest, parts=1, files=6, size_bytes=6)
    limits = StageLimits(max_files=5)
    part = await pinned.part(key_of("j-1", 1, source), ref, source, limits, "a token")
    with pytest.raises(StageFailed, match=r"has 6 files; this node takes 5"):
        await part.load()
    await node.close()


async def test_what_comes_back_for_lack_of_room_waits_until_there_is_some(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.0)
    node.bucket.full = patience.REFUSED_FIRST + 3
    for _ in range(patience.REFUSED_FIRST):  # others may have room
        with pytest.raises(NoRoom):
            await node.stage(0)
    said: list[str] = []
    _, files = await node.stage(0, tell=said.append)
    assert files == {"0": "1", "2": "1", "4": "1"}
    assert said.count("waits for room on the disk: the disk is full") == 3
    await node.close()


async def test_what_a_disk_will_never_have_room_for_is_not_waited_for(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "REFUSED_FIRST", 0)
    node.bucket.full, node.bucket.problem = 1, BeyondDisk
    with pytest.raises(BeyondDisk):
        await node.stage(0)
    await node.close()


async def test_a_wait_for_room_has_an_end(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "REFUSED_FIRST", 0)
    monkeypatch.setattr(patience, "ROOM_SECONDS", 0.0)
    node.bucket.full = 1
    with pytest.raises(NoRoom):
        await node.stage(0)
    await node.close()


async def test_who_waits_for_room_asks_for_nothing_until_there_may_be_some(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(patience, "REFUSED_FIRST", 0)
    node.bucket.full = 1
    looks: list[set[int]] = []

    def fits(sizes: Mapping[str, int]) -> bool:
        looks.append(set(sizes.values()))
        return len(looks) == 3

    monkeypatch.setattr(node.shelves.cache.room, "fits", fits)
    _, files = await node.stage(0, 1)
    assert set(files.values()) == {"1"}
    assert node.bucket.looks == ["pieces", "pieces"]
    assert looks == [{1}, {1}, {1}]
    await node.close()


async def test_inputs_of_one_execution_that_never_fit_together_are_not_waited_for(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = node.shelves.cache.room
    monkeypatch.setattr(patience, "REFUSED_FIRST", 0)
    monkeypatch.setattr(type(room), "free", property(lambda _: 5 - node.shelves.cache.size_bytes))
    with pytest.raises(BeyondDisk, match="6 bytes together"):
        await node.stage(0, inputs=("k", "l"))  # three of a byte each for each
    await node.close()


def test_looks_for_room_become_rarer() -> None:
    assert list(itertools.islice(patience.pauses(), 6)) == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
