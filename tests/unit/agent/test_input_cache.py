"""The input cache: verified, fetched once, bounded, and never dropped under a user."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from skrei_compute_agent import input_cache
from skrei_compute_agent.cached_files import PART, name_of
from skrei_compute_agent.input_cache import InputCache, InputCorrupt, InputDenied, InputTooLarge
from skrei_domain.errors import Unavailable
from skrei_plugin_api.pieces import DATA


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Source:
    """Hands out bytes by digest, when the gate is open."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.opened: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def add(self, data: bytes) -> str:
        self.blobs[digest(data)] = data
        return digest(data)

    @asynccontextmanager
    async def open(self, wanted: str, token: str) -> AsyncIterator[AsyncIterator[bytes]]:
        self.opened.append((wanted, token))

        async def chunks() -> AsyncIterator[bytes]:
            await self.gate.wait()
            for start in range(0, len(self.blobs[wanted]), 3):
                yield self.blobs[wanted][start : start + 3]

        yield chunks()


@pytest.fixture
def source() -> Source:
    return Source()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def a_cache(folder: Path, source: Source, limit: int = 1000, blob: int = 100) -> InputCache:
    cache = InputCache(folder, source.open, limit_bytes=limit, blob_bytes=blob)
    cache.open()
    return cache


async def test_a_blob_is_fetched_with_the_token_once_and_kept(tmp_path: Path, source: Source) -> None:
    wanted = source.add(b"data set")
    cache = a_cache(tmp_path, source)
    assert (await cache.get(wanted, "token")).read_bytes() == b"data set"
    assert (await cache.get(wanted, "other")).read_bytes() == b"data set"
    assert source.opened == [(wanted, "token")]


async def test_two_that_want_the_same_blob_fetch_it_once(tmp_path: Path, source: Source) -> None:
    wanted = source.add(b"data set")
    source.gate.clear()
    cache = a_cache(tmp_path, source)
    both = asyncio.gather(cache.get(wanted, "t"), cache.get(wanted, "t"))
    await asyncio.sleep(0)
    source.gate.set()
    first, second = await both
    assert first == second
    assert len(source.opened) == 1


async def test_the_one_who_waits_fetches_itself_when_the_first_is_cancelled(tmp_path: Path, source: Source) -> None:
    wanted = source.add(b"data set")
    source.gate.clear()
    cache = a_cache(tmp_path, source)
    first = asyncio.create_task(cache.get(wanted, "t"))
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.get(wanted, "t"))
    await asyncio.sleep(0)
    first.cancel()
    source.gate.set()
    assert (await second).read_bytes() == b"data set"


async def test_what_does_not_match_its_digest_is_not_kept(tmp_path: Path, source: Source) -> None:
    wanted = digest(b"right")
    source.blobs[wanted] = b"wrong"
    cache = a_cache(tmp_path, source)
    with pytest.raises(InputCorrupt, match=f"fetched {wanted}, got {digest(b'wrong')}"):
        await cache.get(wanted, "t")
    assert files(tmp_path) == []


@pytest.mark.row("4.8/disk")
async def test_a_blob_over_the_limit_is_named(tmp_path: Path, source: Source) -> None:
    wanted = source.add(b"x" * 101)
    with pytest.raises(InputTooLarge, match="larger than the 100 bytes"):
        await a_cache(tmp_path, source).get(wanted, "t")
    assert files(tmp_path) == []


async def test_what_is_no_digest_is_denied(tmp_path: Path, source: Source) -> None:
    with pytest.raises(InputDenied, match="is not a digest"):
        await a_cache(tmp_path, source).get("sha256:../../etc/passwd", "t")


async def test_the_least_used_goes_first_and_nothing_goes_under_its_user(tmp_path: Path, source: Source) -> None:
    cache = a_cache(tmp_path, source, limit=50)
    wanted = [source.add(bytes([number]) * 20) for number in range(3)]
    pinned = await cache.get(wanted[0], "t")
    for other in wanted[1:]:
        await cache.get(other, "t")
        cache.release(other)
    assert pinned.exists()
    assert cache.size_bytes <= 50
    cache.release(wanted[0])
    assert cache.ready(wanted[1]) is None


async def test_a_restart_finds_what_was_kept_and_drops_what_was_half_fetched(tmp_path: Path, source: Source) -> None:
    wanted = source.add(b"data set")
    await a_cache(tmp_path, source).get(wanted, "t")
    (tmp_path / "sha256-half.part").write_bytes(b"da")
    again = a_cache(tmp_path, source)
    assert (await again.get(wanted, "t")).read_bytes() == b"data set"
    assert len(source.opened) == 1
    assert len(files(tmp_path)) == 1


async def test_what_is_at_hand_is_one_file_for_all_and_written_anew_where_it_is_not_itself(
    tmp_path: Path, source: Source
) -> None:
    cache = a_cache(tmp_path, source)
    (first, path), (again, same) = cache.keep(b"small"), cache.keep(b"small")
    assert (first, path, path.read_bytes()) == (again, same, b"small")
    assert first == digest(b"small")
    path.write_bytes(b"")  # what a power cut may leave of it
    assert cache.keep(b"small")[1].read_bytes() == b"small"
    assert (cache.size_bytes, len(files(tmp_path))) == (5, 1)
    assert source.opened == []


async def test_many_small_files_are_bounded_by_their_number(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skrei_compute_agent.cached_files.MOST_FILES", 2)
    cache = a_cache(tmp_path, source)
    for text in (b"1", b"2", b"3"):
        cache.release(cache.keep(text)[0])
    assert (len(files(tmp_path)), cache.size_bytes) == (2, 2)
    assert a_cache(tmp_path, source).size_bytes == 2


# ---------------------------------------------------------------- pieces, and what a crash leaves of them


async def bring(cache: InputCache, identity: str, data: bytes) -> tuple[Path, bool]:
    async def write(folder: Path) -> None:
        (folder / DATA).write_bytes(data)

    return await cache.bring(identity, write)


async def test_a_piece_is_brought_once_and_found_after_a_restart(tmp_path: Path, source: Source) -> None:
    cache = a_cache(tmp_path, source)
    path, brought = await bring(cache, "s3/bucket/key@v1", b"rows")
    assert (path.read_bytes(), brought) == (b"rows", True)
    assert (await bring(cache, "s3/bucket/key@v1", b"other"))[1] is False
    assert (await bring(cache, "s3/bucket/key@v2", b"newer"))[0].read_bytes() == b"newer"
    await cache.close()
    assert (await bring(a_cache(tmp_path, source), "s3/bucket/key@v1", b"other"))[0].read_bytes() == b"rows"


async def test_a_piece_that_is_not_what_its_digest_says_is_dropped(tmp_path: Path, source: Source) -> None:
    cache = a_cache(tmp_path, source)
    with pytest.raises(InputCorrupt, match="what came has the digest"):
        await bring(cache, digest(b"right"), b"wrong")
    assert files(tmp_path) == []
    assert (await bring(cache, digest(b"right"), b"right"))[1]


async def settled(cache: InputCache) -> None:
    """Wait until the digest of every piece is noted."""
    while cache._noting is not None and not cache._noting.done():
        await asyncio.wait([cache._noting])


@pytest.mark.parametrize(("lost", "believed"), [(b"rows", True), (b"ro", False), (b"\0\0\0\0", False)])
async def test_after_a_power_cut_a_piece_is_believed_when_it_reads_as_it_did(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, lost: bytes, believed: bool
) -> None:
    cache = a_cache(tmp_path, source)
    path, _ = await bring(cache, "s3/bucket/key@v1", b"rows")
    blob, _ = await bring(cache, digest(b"blob"), b"blob")
    await settled(cache)
    for each, left in ((path, lost), (blob, b"blob" if believed else b"")):
        each.chmod(0o644)
        each.write_bytes(left)
    monkeypatch.setattr("skrei_compute_agent.cached_files._boot", lambda: "another run of the machine")
    again = a_cache(tmp_path, source)
    assert again.ready("s3/bucket/key@v1") is None
    assert (await bring(again, "s3/bucket/key@v1", b"rows"))[1] is not believed
    assert (await bring(again, digest(b"blob"), b"blob"))[1] is not believed
    assert again.size_bytes == 8


async def test_a_piece_nobody_had_time_to_note_is_not_believed_after_a_power_cut(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = a_cache(tmp_path, source)
    await bring(cache, "s3/bucket/key@v1", b"rows")
    await settled(cache)
    (tmp_path / ".state/digests").write_text('["at-1", "sha2')
    monkeypatch.setattr("skrei_compute_agent.cached_files._boot", lambda: "another run of the machine")
    assert (await bring(a_cache(tmp_path, source), "s3/bucket/key@v1", b"rows"))[1]


async def test_what_is_noted_for_the_next_start_takes_no_memory_of_this_one(tmp_path: Path, source: Source) -> None:
    cache = a_cache(tmp_path, source)
    await bring(cache, "s3/bucket/key@v1", b"rows")
    await settled(cache)
    assert (tmp_path / ".state/digests").read_text().count("\n") == 1
    assert cache.files._noted == {}


async def test_an_agent_that_was_killed_believes_what_it_had(tmp_path: Path, source: Source) -> None:
    await bring(a_cache(tmp_path, source), "s3/bucket/key@v1", b"rows")  # never closed
    assert not (await bring(a_cache(tmp_path, source), "s3/bucket/key@v1", b"rows"))[1]


async def test_of_what_broke_off_only_the_newest_stay(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skrei_compute_agent.cached_files.HALF_BROUGHT", 2)
    for number in range(4):
        folder = tmp_path / f"at-{number:064x}.part"
        folder.mkdir()
        os.utime(folder, (number, number))
    a_cache(tmp_path, source)
    assert sorted(path.name[66] for path in files(tmp_path)) == ["2", "3"]


async def test_what_breaks_off_again_and_again_does_not_fill_the_disk(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_cache, "HALF_BROUGHT", 2)
    cache, begun, seen = a_cache(tmp_path, source), asyncio.Event(), []

    async def cut(folder: Path) -> None:
        (folder / DATA).write_bytes(b"ro")
        raise Unavailable("the line was cut")

    async def hangs(folder: Path) -> None:
        (folder / DATA).write_bytes(b"row")
        begun.set()
        await asyncio.Event().wait()

    async def rest(folder: Path) -> None:
        seen.append((folder / DATA).read_bytes())
        (folder / DATA).write_bytes(b"rows")

    under_way = asyncio.create_task(cache.bring("at/0", hangs))
    await begun.wait()
    for number in range(1, 6):
        with pytest.raises(Unavailable):
            await cache.bring(f"at/{number}", cut)
    left = {cache.files.path(name_of(f"at/{number}") + PART) for number in (0, 4, 5)}
    assert set(files(tmp_path)) == left, "the newest two, and the one that is being brought"
    under_way.cancel()
    await asyncio.wait([under_way])
    assert len(files(tmp_path)) == 2
    again = a_cache(tmp_path, source)
    assert (await again.bring("at/0", rest))[0].read_bytes() == b"rows"
    with pytest.raises(Unavailable):
        await again.bring("at/6", cut)
    assert seen == [b"row"], "one that was cancelled is gone on with, also by another process"
    assert {path.suffix for path in files(tmp_path)} == {"", PART}
    assert len(files(tmp_path)) == 3


async def test_one_who_is_cancelled_at_the_very_end_disturbs_nobody(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(folder: Path, final: Path) -> int:
        begun.set()
        assert go_on.wait(10)
        return adopt(folder, final)

    adopt = input_cache._adopt
    monkeypatch.setattr(input_cache, "_adopt", slow)
    monkeypatch.setattr(input_cache, "SMALL_BYTES", 0)  # a large one, which is taken in beside the loop
    cache = a_cache(tmp_path, source)
    first = asyncio.create_task(bring(cache, "s3/bucket/key@v1", b"rows"))
    await asyncio.to_thread(begun.wait, 10)
    second = asyncio.create_task(bring(cache, "s3/bucket/key@v1", b"rows"))
    first.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert (await second)[0].read_bytes() == b"rows"
    assert cache.size_bytes == 4
    with pytest.raises(asyncio.CancelledError):
        await first
