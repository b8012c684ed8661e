import os
from pathlib import Path

import httpx2
import pytest

from skrei.client import AsyncClient
from skrei.download import TRIES, Download, Gone, Result
from skrei.errors import ApiError, DownloadFailed
from tests.support.door import Door, digest_of

CONTENT = os.urandom(10_000)
URL = "http://door.example/results/e-1.tar.gz?token=old"


class Meter:
    def __init__(self) -> None:
        self.total = 0

    def add(self, count: int) -> None:
        self.total += count


class Pauses:
    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


async def fetched(
    door: Door, path: Path, *, size: int | None = len(CONTENT), digest: str = digest_of(CONTENT), kind: str = ""
) -> tuple[Meter, Pauses]:
    meter, pauses = Meter(), Pauses()
    await downloaded(door, path, size=size, digest=digest, kind=kind, meter=meter, pauses=pauses)
    assert content_of(path) == CONTENT
    assert meter.total == len(CONTENT)
    return meter, pauses


async def downloaded(
    door: Door,
    path: Path,
    *,
    size: int | None = len(CONTENT),
    digest: str = digest_of(CONTENT),
    kind: str = "",
    meter: Meter | None = None,
    pauses: Pauses | None = None,
) -> Download:
    async def renew() -> str:
        return URL.replace("old", "new")

    async with AsyncClient("http://127.0.0.1:9", transport=httpx2.MockTransport(door)) as client:
        result = Result(URL, "e-1", 0, size, digest, kind=kind)
        pause = pauses or Pauses()
        made = Download(client, result, path, renew=renew, meter=meter or Meter(), pause=pause)
        await made.run()
    return made


async def test_a_download_that_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    door = Door({"e-1": CONTENT}, [{"breaks": 3000}, {"breaks": 2000}, {"raises": httpx2.ConnectError("away")}])
    _, pauses = await fetched(door, tmp_path / "a")
    assert door.ranges == ["", "bytes=3000-", "bytes=5000-", "bytes=5000-"]
    assert pauses.taken == [0.5, 0.5, 1.0]


async def test_a_body_shorter_than_it_should_be_counts_as_broken_off(tmp_path: Path) -> None:
    door = Door({"e-1": CONTENT}, [{"content": CONTENT[:4000]}])
    await fetched(door, tmp_path / "a")
    assert door.ranges == ["", "bytes=4000-"]


async def test_a_result_that_became_another_is_fetched_from_its_start(tmp_path: Path) -> None:
    other = os.urandom(10_000)
    door = Door({"e-1": CONTENT}, [{"content": other, "etag": '"zero"', "breaks": 3000}])
    await fetched(door, tmp_path / "a")
    assert door.ranges == ["", "bytes=3000-"]


@pytest.mark.parametrize("second", [{"ranges": False}, {"first": 0}, {"content": b"", "status": 416}])
async def test_a_door_that_does_not_go_on_there_is_asked_for_the_whole(
    tmp_path: Path, second: dict[str, object]
) -> None:
    await fetched(Door({"e-1": CONTENT}, [{"breaks": 3000}, second]), tmp_path / "a")


async def test_an_expired_address_is_renewed_once_by_itself_also_in_the_middle(tmp_path: Path) -> None:
    door = Door({"e-1": CONTENT}, [{"breaks": 3000}, {"status": 401}])
    _, pauses = await fetched(door, tmp_path / "a")
    assert door.tokens == ["old", "old", "new"]
    assert door.ranges[-1] == "bytes=3000-"
    assert pauses.taken == [0.5], "a fresh address is used at once"
    with pytest.raises(ApiError, match="expired"):
        await fetched(Door({}, [{"status": 401}, {"status": 401, "said": "The address has expired."}]), tmp_path / "a")


async def test_single_files_of_s3_that_are_packed_otherwise_are_had_and_doubted(tmp_path: Path) -> None:
    again = {"headers": {"X-Skrei-Path": ""}}
    other = digest_of(b"the same files, packed by another zlib")
    assert (await downloaded(Door({"e-1": CONTENT}, [again]), tmp_path / "a", digest=other, kind="s3")).doubtful
    door = Door({"e-1": CONTENT}, [again | {"breaks": 3000}, again, again])
    assert (await downloaded(door, tmp_path / "a", digest=other, kind="s3")).doubtful
    assert door.ranges == ["", "bytes=3000-", ""], "pieces of two would differ too"
    assert content_of(tmp_path / "a") == CONTENT
    assert not (await downloaded(Door({"e-1": CONTENT}, [again]), tmp_path / "a", kind="s3")).doubtful


async def test_what_ipfs_gave_is_packed_by_who_knows_what(tmp_path: Path) -> None:
    await fetched(
        Door({"e-1": CONTENT}, [{"headers": {"X-Skrei-Path": ""}}]), tmp_path / "a", size=3, digest="sha256:other"
    )


async def test_pieces_of_two_results_are_noticed_by_the_digest_and_fetched_anew(tmp_path: Path) -> None:
    mixed = CONTENT[:3000] + os.urandom(7000)
    door = Door({"e-1": CONTENT}, [{"breaks": 3000}, {"content": mixed}])
    await fetched(door, tmp_path / "a")
    assert door.ranges == ["", "bytes=3000-", ""]


async def test_what_stays_damaged_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="digest differs") as failed:
        await fetched(Door({"e-1": os.urandom(10_000)}), tmp_path / "a")
    assert "run the job again" in failed.value.hint


async def test_more_bytes_than_there_should_be_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="more than the 10,000 bytes"):
        await fetched(Door({"e-1": CONTENT + b"!"}), tmp_path / "a")


async def test_without_size_and_digest_the_door_s_word_counts(tmp_path: Path) -> None:
    await fetched(Door({"e-1": CONTENT}, [{"breaks": 3000}]), tmp_path / "a", size=None, digest="")


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ([{"raises": httpx2.ConnectError("refused")}], "Nobody answers at http://door.example/results/e-1.tar.gz: ref"),
        ([{"breaks": 0}], "Nobody answers"),
        ([{"status": 503, "said": "The result cannot be read right now."}], "cannot be read right now"),
    ],
)
async def test_after_so_many_tries_that_bring_nothing_it_says_so(
    tmp_path: Path, plan: list[dict[str, object]], said: str
) -> None:
    door = Door({"e-1": CONTENT}, plan * TRIES)
    with pytest.raises((DownloadFailed, ApiError), match=said) as failed:
        await fetched(door, tmp_path / "a")
    assert len(door.ranges) == TRIES
    assert "token" not in str(failed.value)


async def test_bytes_that_come_now_and_then_are_reason_to_go_on(tmp_path: Path) -> None:
    door = Door({"e-1": CONTENT}, [{"breaks": 1000}, {"raises": httpx2.ReadTimeout("slow")}] * 8)
    await fetched(door, tmp_path / "a")


@pytest.mark.parametrize("status", [404, 410])
async def test_a_result_that_is_not_there_is_gone(tmp_path: Path, status: int) -> None:
    with pytest.raises(Gone):
        await fetched(Door({}, [{"status": status}]), tmp_path / "a")


async def test_another_refusal_is_told_at_once_in_the_door_s_words(tmp_path: Path) -> None:
    door = Door({}, [{"status": 400, "said": "That is not the id of an execution."}])
    with pytest.raises(ApiError, match="not the id"):
        await fetched(door, tmp_path / "a")
    assert len(door.ranges) == 1
