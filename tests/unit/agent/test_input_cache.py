"""The input cache: verified, fetched once, bounded, and never dropped under a user."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from skrei_compute_agent.input_cache import InputCache, InputCorrupt, InputDenied, InputTooLarge


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
    return list(folder.iterdir())


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
    monkeypatch.setattr("skrei_compute_agent.input_cache.MOST_FILES", 2)
    cache = a_cache(tmp_path, source)
    for text in (b"1", b"2", b"3"):
        cache.release(cache.keep(text)[0])
    assert (len(files(tmp_path)), cache.size_bytes) == (2, 2)
    assert a_cache(tmp_path, source).size_bytes == 2
