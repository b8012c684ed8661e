"""The door for lists of inputs: what one node brings another reads its part of, and nobody else anything."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from skrei_compute_agent.listings import Listings, key_of
from skrei_compute_agent.manifest_client import ManifestClient, ManifestGone, ManifestRefused, StoreAway
from skrei_compute_agent.pinned import Pinned
from skrei_domain.errors import SkreiError
from skrei_domain.messages import ManifestRef
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import TokenSigner, TokenVerifier
from skrei_plugin_api import manifest as manifests
from skrei_plugin_api.manifest import Manifest, ManifestDamaged, verify
from skrei_plugin_api.manifest_writer import ManifestWriter
from skrei_plugin_api.pieces import Entry, Piece
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import SourceSpec, StageLimits
from skrei_plugin_api.upload_staging import StagingLimits
from skrei_publisher.app import build
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.manifest_door import ManifestDoor
from skrei_publisher.manifest_store import ManifestsFull, ManifestStore
from skrei_publisher.store_publisher import StorePublisher

PRIVATE, PUBLIC = new_key()
SIGNER = TokenSigner(PRIVATE)
LIMITS = StageLimits()
PARTS = 3
WEEK = 7 * 86_400


class Nothing:
    async def fetch(self, _: str) -> bytes | None:
        return None


def written(path: Path, count: int = 10) -> Manifest:
    with ManifestWriter(path.parent, PARTS, LIMITS) as writer:
        for number in range(count):
            writer.add(Entry(Piece(f"k/{number}", f"b/{number}@1", number), number % PARTS))
        return writer.finish(path)


def bring_token(most: int = 1 << 20, seconds: float = 60) -> str:
    return SIGNER.listing("j-1", "n-1", most_bytes=most, seconds=seconds)


def run_token(*digests: str) -> str:
    return SIGNER.run("e-1", "n-1", (), seconds=60, manifests=digests)


def ref(manifest: Manifest) -> ManifestRef:
    return ManifestRef(digest=manifest.digest, parts=manifest.slices, files=manifest.files, size_bytes=1)


@pytest.fixture
def store(tmp_path: Path) -> ManifestStore:
    made = ManifestStore(tmp_path / "lists", quota_bytes=100_000, keep_seconds=WEEK)
    made.open()
    return made


@pytest.fixture
async def door(store: ManifestStore, tmp_path: Path) -> AsyncIterator[TestClient]:
    keeper = SignedDoor(TokenVerifier(PUBLIC))
    results = StorePublisher(PluginContext(tmp_path / "results"), StagingLimits(1, 1, 1.0, 1.0))
    await results.start()
    app = build(results.store, Nothing(), keeper, manifests=ManifestDoor(store, keeper))
    async with TestClient(TestServer(app)) as client:
        yield client
    await results.close()


@pytest.fixture
async def client(door: TestClient) -> AsyncIterator[ManifestClient]:
    made = ManifestClient(lambda: str(door.make_url("/")).rstrip("/"), pauses_seconds=())
    yield made
    await made.close()


async def test_a_part_is_read_elsewhere_without_the_rest(client: ManifestClient, tmp_path: Path) -> None:
    manifest = written(tmp_path / "one")
    await client.bring(tmp_path / "one", manifest.digest, bring_token())
    token = run_token(manifest.digest)
    assert await client.index(manifest.digest, PARTS, token) == manifest
    own = Listings(tmp_path / "listings")
    own.open()
    asked: list[str] = []

    def store() -> ManifestClient:
        asked.append("store")
        return client

    pinned = Pinned(own, store)
    for partition in range(PARTS):
        source = SourceSpec("s3", {}, "/in", partition=partition, partitions=PARTS)
        listed = await pinned.part("key", ref(manifest), source, LIMITS, token)
        assert [piece.path for piece in await listed.load()] == [f"k/{n}" for n in range(10) if n % PARTS == partition]
        assert listed.key == manifest.slice(partition).digest
    assert len(asked) == 1 + PARTS, "the index once, and each part"


async def test_the_node_that_listed_asks_nobody(tmp_path: Path) -> None:
    own = Listings(tmp_path / "listings")
    own.open()
    source = SourceSpec("s3", {"Key": "k"}, "/in", partition=1, partitions=PARTS)

    async def entries() -> AsyncGenerator[Entry, None]:
        yield Entry(Piece("k/1", "b/1@1", 1), 1)

    key = key_of("j-1", 1, source)
    listing = await own.get(key, entries, PARTS, LIMITS, lambda _: None)
    pinned = Pinned(own, lambda: pytest.fail("it has the list"))
    listed = await pinned.part(key, ref(listing.manifest), source, LIMITS, "")
    assert [piece.path for piece in await listed.load()] == ["k/1"]


async def test_a_token_brings_one_list_and_no_other(client: ManifestClient, tmp_path: Path) -> None:
    token = bring_token()
    one, other = written(tmp_path / "one"), written(tmp_path / "other", 30)
    damaged = tmp_path / "damaged"
    damaged.write_bytes((tmp_path / "one").read_bytes()[:-1])
    with pytest.raises(SkreiError):
        await client.bring(damaged, one.digest, token)
    for _ in range(2):
        await client.bring(tmp_path / "one", one.digest, token)
    with pytest.raises(SkreiError, match="has brought its list already"):
        await client.bring(tmp_path / "other", other.digest, token)
    await client.bring(tmp_path / "other", other.digest, bring_token(seconds=90))


async def test_a_list_that_would_be_read_for_hours_is_refused_by_its_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "one")
    monkeypatch.setattr(manifests, "MOST_PLAIN_BYTES", 10)
    with pytest.raises(ManifestDamaged, match="its lines have more than 10 bytes"):
        verify(tmp_path / "one")


async def test_bringing_it_twice_at_once_too_is_bringing_it_once(
    client: ManifestClient, store: ManifestStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = written(tmp_path / "one")
    together, replace = threading.Barrier(2), Path.replace

    def once_another_is_here(path: Path, target: Path) -> Path:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.2)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", once_another_is_here)
    brought = [client.bring(tmp_path / "one", manifest.digest, bring_token()) for _ in range(3)]
    await asyncio.gather(*brought)
    assert store.used_bytes == (tmp_path / "one").stat().st_size
    assert len(list((tmp_path / "lists").iterdir())) == 1


async def test_what_is_no_list_or_another_one_is_refused_and_leaves_nothing(
    client: ManifestClient, store: ManifestStore, tmp_path: Path
) -> None:
    manifest = written(tmp_path / "one")
    other = written(tmp_path / "other", 11)
    (tmp_path / "none").write_bytes(b"rubbish" * 100)
    damaged = bytearray((tmp_path / "one").read_bytes())
    damaged[manifest.slice(1).offset] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    for name, digest in (("none", manifest.digest), ("damaged", manifest.digest), ("other", manifest.digest)):
        with pytest.raises(ManifestRefused, match="answers 422"):
            await client.bring(tmp_path / name, digest, bring_token())
    with pytest.raises(ManifestRefused, match=r"answers 413.*more than 10 bytes"):
        await client.bring(tmp_path / "other", other.digest, bring_token(most=10))
    assert store.used_bytes == 0
    assert list((tmp_path / "lists").iterdir()) == []


async def test_without_room_nothing_is_taken(client: ManifestClient, store: ManifestStore, tmp_path: Path) -> None:
    manifest = written(tmp_path / "one")
    store.used_bytes = 99_999
    with pytest.raises(ManifestRefused, match="no room for more lists"):
        await client.bring(tmp_path / "one", manifest.digest, bring_token())
    assert store.used_bytes == 99_999


async def test_each_token_opens_its_own_door_alone(client: ManifestClient, tmp_path: Path) -> None:
    manifest = written(tmp_path / "one")
    for token in ("", "rubbish", run_token(manifest.digest), bring_token(seconds=-60)):
        with pytest.raises(ManifestRefused, match=r"answers 40[13]"):
            await client.bring(tmp_path / "one", manifest.digest, token)
    await client.bring(tmp_path / "one", manifest.digest, bring_token())
    for token in ("", bring_token(), run_token(), run_token("sha256:" + "00" * 32)):
        with pytest.raises(ManifestRefused, match=r"answers 40[13]"):
            await client.index(manifest.digest, PARTS, token)


async def test_one_that_is_gone_says_what_to_do(client: ManifestClient, tmp_path: Path) -> None:
    digest = written(tmp_path / "one").digest
    with pytest.raises(ManifestGone) as raised:
        await client.index(digest, PARTS, run_token(digest))
    assert not raised.value.retryable
    assert "skrei job rerun" in raised.value.hint


async def test_a_digest_that_is_none_is_no_way_out_of_the_folder(door: TestClient) -> None:
    headers = {"Authorization": f"Bearer {bring_token()}"}
    response = await door.put("/manifests/..%2F..%2Fetc", data=b"x", headers=headers)
    assert response.status == 400


async def test_an_index_of_other_parts_than_was_said_is_damaged(client: ManifestClient, tmp_path: Path) -> None:
    manifest = written(tmp_path / "one")
    await client.bring(tmp_path / "one", manifest.digest, bring_token())
    with pytest.raises(ManifestDamaged):
        await client.index(manifest.digest, PARTS - 1, run_token(manifest.digest))


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9"])
async def test_a_store_that_nobody_has_named_or_that_is_away_may_be_back(url: str) -> None:
    client = ManifestClient(lambda: url, pauses_seconds=(0.0,))
    with pytest.raises(StoreAway) as raised:
        await client.index("sha256:" + "00" * 32, 1, "")
    assert raised.value.retryable
    await client.close()


def test_what_nobody_reads_stays_until_its_room_is_needed_and_what_is_read_even_then(tmp_path: Path) -> None:
    lists = tmp_path / "lists"

    def put(store: ManifestStore, count: int) -> str:
        digest = written(tmp_path / "one", count).digest
        with store.begin(1 << 20) as incoming:
            incoming.write((tmp_path / "one").read_bytes())
            incoming.finish(digest)
        return digest

    store = ManifestStore(lists, quota_bytes=1 << 20, keep_seconds=WEEK)
    store.open()
    digests = [put(store, count) for count in (10, 40, 12)]
    for age, digest in enumerate(digests):
        os.utime(lists / f"{digest.removeprefix('sha256:')}.manifest", (age, age))
    assert store.find(digests[0]) is not None, "its job waited for weeks"
    tight = ManifestStore(lists, quota_bytes=store.used_bytes + 1, keep_seconds=WEEK)
    tight.open()
    digests.append(put(tight, 13))
    assert [tight.find(digest) is not None for digest in digests] == [True, False, True, True]
    with pytest.raises(ManifestsFull, match="no room"):
        put(tight, 200)
    for digest in digests:
        if tight.find(digest) is not None:
            os.utime(lists / f"{digest.removeprefix('sha256:')}.manifest", (9, 9))
    waits = ManifestStore(
        lists, quota_bytes=tight.used_bytes, keep_seconds=WEEK, needed=lambda asked: {*asked} - {digests[2]}
    )
    waits.open()
    digests.append(put(waits, 5))
    assert [waits.find(digest) is not None for digest in digests] == [True, False, False, True, True]
    again = ManifestStore(lists, quota_bytes=1, keep_seconds=WEEK)
    again.open()
    assert again.used_bytes == waits.used_bytes > 0
