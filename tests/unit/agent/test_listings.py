"""Listings: made once for all executions of a job's version, whoever asks when, and whatever restarts."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from skrei_compute_agent import listings
from skrei_compute_agent.listings import Listing, Listings, key_of
from skrei_domain.errors import Unavailable
from skrei_plugin_api.manifest import ManifestDamaged
from skrei_plugin_api.pieces import Entry, Piece
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits
from skrei_plugin_api.testing import eventually

LIMITS = StageLimits()
SOURCE = SourceSpec("s3", {"Bucket": "b", "Key": "k/*"}, "/in", partitions=2)
KEY = key_of("j-1", 1, SOURCE)


class Bucket:
    """Objects whose listing can be held up, and how often it was begun."""

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self.begun = 0
        self.ended = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.broken = False

    async def entries(self) -> AsyncGenerator[Entry, None]:
        self.begun += 1
        try:
            for number in range(self.count):
                yield Entry(Piece(f"k/{number:05}", f"b/{number}@1", 1), number % 2)
                await self.go_on.wait()
            if self.broken:
                raise Unavailable("the server went away")
        finally:
            self.ended += 1


def opened(folder: Path) -> Listings:
    made = Listings(folder / "listings")
    made.open()
    return made


async def get(all_: Listings, bucket: Bucket, key: str = KEY, told: listings.Told = lambda _: None) -> Listing:
    return await all_.get(key, bucket.entries, 2, LIMITS, told)


async def names(listing: Listing, partition: int) -> list[str]:
    part = listing.part(SourceSpec("s3", SOURCE.params, "/in", partition=partition, partitions=2), LIMITS)
    return [piece.path for piece in await part.load()]


async def test_all_who_ask_share_one_listing_and_each_reads_its_own_part(tmp_path: Path) -> None:
    made, bucket = opened(tmp_path), Bucket()
    found = await asyncio.gather(*(get(made, bucket) for _ in range(20)), get(made, bucket))
    assert {each.manifest.digest for each in found} == {found[0].manifest.digest}
    bucket.count = 99  # what comes later is not seen: they all read one state
    later = await get(made, bucket)
    assert bucket.begun == 1
    assert await names(later, 0) == ["k/00000", "k/00002"]
    assert await names(later, 1) == ["k/00001", "k/00003"]


async def test_another_process_finds_it_and_removes_what_was_half_made(tmp_path: Path) -> None:
    bucket = Bucket()
    await get(opened(tmp_path), bucket)
    (tmp_path / "listings/left.7.part").write_bytes(b"half")
    assert await names(await get(opened(tmp_path), bucket), 0) == ["k/00000", "k/00002"]
    assert bucket.begun == 1
    assert [path.suffix for path in (tmp_path / "listings").iterdir()] == [".manifest"]


async def test_a_listing_goes_on_while_anybody_waits_for_it_and_ends_with_the_last(tmp_path: Path) -> None:
    made, bucket = opened(tmp_path), Bucket()
    bucket.go_on.clear()
    first, second = [asyncio.ensure_future(get(made, bucket)) for _ in range(2)]
    await eventually(lambda: bucket.begun == 1)
    first.cancel()
    await asyncio.wait([first])
    assert (bucket.begun, bucket.ended) == (1, 0)
    second.cancel()
    await asyncio.wait([second])
    bucket.go_on.set()
    assert len(await names(await get(made, bucket), 0)) == 2
    assert (bucket.begun, bucket.ended) == (2, 2)
    assert len(list((tmp_path / "listings").iterdir())) == 1


async def test_an_agent_that_ends_waits_for_listings_that_were_given_up(tmp_path: Path) -> None:
    made, bucket = opened(tmp_path), Bucket()
    bucket.go_on.clear()
    first, second = asyncio.ensure_future(get(made, bucket)), asyncio.ensure_future(get(made, bucket, "other"))
    await eventually(lambda: bucket.begun == 2)
    first.cancel()
    await asyncio.wait([first])
    await made.close()
    assert bucket.ended == 2
    await asyncio.wait([second])
    assert list((tmp_path / "listings").iterdir()) == []


async def test_what_cannot_be_listed_is_told_to_all_who_wait_and_tried_by_the_next(tmp_path: Path) -> None:
    made, bucket = opened(tmp_path), Bucket()
    bucket.broken = True
    told = await asyncio.gather(get(made, bucket), get(made, bucket), return_exceptions=True)
    assert [type(each) for each in told] == [Unavailable, Unavailable]
    bucket.broken = False
    assert len(await names(await get(made, bucket), 1)) == 2
    assert bucket.begun == 2


async def test_how_far_it_is_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "TELL_EVERY", 2)
    said: list[int] = []
    await get(opened(tmp_path), Bucket(5), told=said.append)
    assert said == [2, 4, 5]


@pytest.mark.parametrize("content", [b"", b"no manifest", None])
async def test_one_that_a_power_cut_or_a_person_took_is_made_anew(tmp_path: Path, content: bytes | None) -> None:
    made, bucket = opened(tmp_path), Bucket()
    path = (await get(made, bucket)).path
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        made = opened(tmp_path)
    assert len(await names(await get(made, bucket), 0)) == 2
    assert bucket.begun == 2


async def test_a_damaged_part_fails_this_try_and_the_next_lists_anew(tmp_path: Path) -> None:
    made, bucket = opened(tmp_path), Bucket()
    listing = await get(made, bucket)
    content = bytearray(listing.path.read_bytes())
    content[listing.manifest.slice(0).offset + 2] ^= 1
    listing.path.write_bytes(content)
    with pytest.raises(ManifestDamaged) as raised:
        await names(listing, 0)
    assert raised.value.retryable
    assert len(await names(await get(made, bucket), 0)) == 2


async def test_the_least_used_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "MOST_KEPT", 2)
    made, bucket = opened(tmp_path), Bucket()
    for key in ("a", "b", "a", "c", "a"):
        await get(made, bucket, key)
    assert bucket.begun == 3
    await get(made, bucket, "b")
    assert bucket.begun == 4


async def test_a_part_larger_than_this_node_takes_is_refused(tmp_path: Path) -> None:
    listing = await get(opened(tmp_path), Bucket())
    part = listing.part(SOURCE, StageLimits(max_bytes=1))
    with pytest.raises(StageFailed, match="2 bytes; this node takes 1"):
        await part.load()


def test_whoever_asks_for_the_same_of_one_version_has_one_name_for_it() -> None:
    params = dict(reversed(SOURCE.params.items()))
    other = SourceSpec("S3", params, "/elsewhere", alias="x", partition=1, partitions=2)
    assert key_of("j-1", 1, other) == KEY
    assert len({KEY, key_of("j-2", 1, SOURCE), key_of("j-1", 2, SOURCE)}) == 3
    assert key_of("j-1", 1, SourceSpec("s3", SOURCE.params, "/in", partitions=3)) != KEY
