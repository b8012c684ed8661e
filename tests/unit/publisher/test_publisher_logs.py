import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.errors import Invalid
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import TokenSigner, TokenVerifier, UploadGrant
from skrei_publisher import log_door
from skrei_publisher.app import build
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.log_door import LogDoor
from skrei_publisher.logbook import Appended, LogBook, LogGap, LogOver, LogsFull
from skrei_publisher.shelf import Item
from skrei_publisher.store import ResultStore, digest_of

PRIVATE, PUBLIC = new_key()


def a_book(folder: Path, *, stream_bytes: int = 100, quota_bytes: int = 10_000, share: int = 100) -> LogBook:
    limits = {"stream_bytes": stream_bytes, "quota_bytes": quota_bytes, "node_share_percent": share}
    book = LogBook(folder / "logs", **limits)
    book.open()
    return book


def kept(book: LogBook, stream: str = "stdout") -> bytes:
    found = book.find("e-1", stream)
    return b"" if found is None else found.path.read_bytes()


def test_pieces_are_appended_once_whatever_is_repeated(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    assert book.append("e-1", 1, "stdout", 0, b"hello ") == Appended(6, cut=False)
    assert book.append("e-1", 1, "stdout", 0, b"hello ") == Appended(6, cut=False)
    assert book.append("e-1", 1, "stdout", 3, b"lo world") == Appended(11, cut=False)
    assert book.append("e-1", 1, "stderr", 0, b"!") == Appended(1, cut=False)
    assert (kept(book), kept(book, "stderr"), book.used_bytes) == (b"hello world", b"!", 12)
    assert a_book(tmp_path).used_bytes == 12, "counted again at the next start"


def test_a_gap_is_refused_with_how_much_is_here(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    book.append("e-1", 1, "stdout", 0, b"hello")
    with pytest.raises(LogGap) as refused:
        book.append("e-1", 1, "stdout", 6, b"x")
    assert refused.value.have == 5


def test_a_stream_that_was_cut_says_so_and_one_just_as_long_does_not(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    assert book.append("e-1", 1, "stdout", 0, b"x" * 100) == Appended(100, cut=False)
    assert book.append("e-1", 1, "stdout", 100, b"yz") == Appended(101, cut=True)
    assert book.append("e-1", 1, "stdout", 101, b"z" * 50) == Appended(101, cut=True)
    found = book.find("e-1", "stdout")
    assert found is not None
    assert (found.cut, found.complete, len(kept(book))) == (True, False, 101)


def test_the_end_of_a_stream_is_remembered_only_when_all_of_it_is_here(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    book.append("e-1", 1, "stdout", 0, b"abc", end=True)
    book.append("e-1", 1, "stderr", 0, b"", end=True)
    book.append("e-2", 1, "stdout", 0, b"x" * 200, end=True)
    assert [book.find("e-1", name).complete for name in ("stdout", "stderr")] == [True, True]  # type: ignore[union-attr]
    assert not book.find("e-2", "stdout").complete  # type: ignore[union-attr]


def test_a_later_start_takes_the_place_of_an_earlier_one_once_it_speaks(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    book.append("e-1", 1, "stdout", 0, b"first")
    book.append("e-1", 2, "stdout", 0, b"")
    assert kept(book) == b"first"
    book.append("e-1", 2, "stdout", 0, b"second")
    with pytest.raises(LogOver):
        book.append("e-1", 1, "stdout", 5, b"late")
    assert (kept(book), book.used_bytes) == (b"second", 6)


def test_above_the_quota_nothing_is_taken_and_what_is_dropped_makes_room(tmp_path: Path) -> None:
    book = a_book(tmp_path, quota_bytes=150)
    book.append("e-1", 1, "stdout", 0, b"x" * 100)
    with pytest.raises(LogsFull):
        book.append("e-2", 1, "stdout", 0, b"x" * 51)
    book.drop(["e-1", "e-3"])
    assert book.used_bytes == 0
    book.append("e-2", 1, "stdout", 0, b"x" * 51)


def test_a_node_that_floods_leaves_room_for_the_logs_of_others_also_after_a_restart(tmp_path: Path) -> None:
    book = a_book(tmp_path, quota_bytes=400, share=50)
    for number in (1, 2):
        book.append(f"e-{number}", 1, "stdout", 0, b"x" * 100, node_id="n-1")
    for again in (book, a_book(tmp_path, quota_bytes=400, share=50)):
        with pytest.raises(LogsFull, match="node n-1"):
            again.append("e-3", 1, "stdout", 0, b"x", node_id="n-1")
        assert again.used_bytes == 200
    book.append("e-4", 1, "stdout", 0, b"x" * 100, node_id="n-2")
    with pytest.raises(LogsFull, match="node n-2"):
        book.append("e-4", 1, "stdout", 100, b"x", node_id="n-2")
    book.drop(["e-2"])
    book.append("e-1", 2, "stdout", 0, b"y" * 10, node_id="n-1")
    assert book.append("e-3", 1, "stdout", 0, b"x" * 100, node_id="n-1") == Appended(100, cut=False)


def test_what_says_nothing_for_long_is_over(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    book.append("e-1", 1, "stdout", 0, b"x")
    assert book.expired(60) == []
    assert book.expired(60, now=time.time() + 61) == ["e-1"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "x" * 200])
def test_what_is_no_id_names_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        a_book(tmp_path).append(name, 1, "stdout", 0, b"x")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), max_size=30))
def test_whatever_pieces_come_the_log_is_a_beginning_of_what_was_said(pieces: list[tuple[int, int]]) -> None:
    import tempfile

    said = bytes(range(100))
    with tempfile.TemporaryDirectory() as folder:
        book = a_book(Path(folder), stream_bytes=70)
        have = 0
        for offset, length in pieces:
            piece = said[offset : offset + length]
            if offset > have:
                with pytest.raises(LogGap):
                    book.append("e-1", 1, "stdout", offset, piece)
            else:
                have = max(have, min(offset + length, 71))
                assert book.append("e-1", 1, "stdout", offset, piece).have == have
            assert kept(book) == said[:have]
            assert book.used_bytes == have


# ---------------------------------------------------------------- over HTTP


@pytest.fixture
def book(tmp_path: Path) -> LogBook:
    return a_book(tmp_path)


@pytest.fixture
async def door(tmp_path: Path, book: LogBook) -> AsyncIterator[TestClient]:
    keeper = SignedDoor(TokenVerifier(PUBLIC))
    with ResultStore(tmp_path / "results") as store:
        app = build(store, None, keeper, logs=LogDoor(book, keeper))  # type: ignore[arg-type]
        async with TestClient(TestServer(app)) as client:
            yield client


def run_token(execution_id: str = "e-1", seconds: float = 60, upload_seconds: float | None = None) -> dict[str, str]:
    grant = None if upload_seconds is None else UploadGrant("store", 1, upload_seconds)
    token = TokenSigner(PRIVATE).run(execution_id, "n-1", (), seconds=seconds, upload=grant)
    return {"Authorization": f"Bearer {token}"}


async def test_a_run_token_appends_and_a_download_token_reads(door: TestClient) -> None:
    answer = await door.post("/logs/e-1/1/stdout?offset=0", data=b"hello", headers=run_token())
    assert (answer.status, await answer.json()) == (200, {"have": 5, "cut": False, "message": ""})
    gap = await door.post("/logs/e-1/1/stdout?offset=9", data=b"x", headers=run_token())
    assert (gap.status, (await gap.json())["have"]) == (409, 5)
    token = TokenSigner(PRIVATE).download("e-1", seconds=60)
    read = await door.get(f"/logs/e-1/stdout?token={token}")
    assert (read.status, await read.read()) == (200, b"hello")
    assert (read.headers["X-Skrei-Log-Start"], read.headers["X-Skrei-Log-Complete"]) == ("1", "0")
    assert (await door.get(f"/logs/e-1/stderr?token={token}")).status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (run_token("e-2"), 403),
        (run_token(seconds=-60), 401),
        (run_token(seconds=-60, upload_seconds=3_600), 200),
        ({"Authorization": f"Bearer {TokenSigner(PRIVATE).download('e-1', seconds=3_600)}"}, 403),
        ({"Authorization": "Bearer x.y.z"}, 403),
    ],
    ids=["none", "another execution", "expired", "upload right lives", "download", "nonsense"],
)
async def test_only_a_living_run_token_of_the_execution_appends(
    door: TestClient, headers: dict[str, str], status: int
) -> None:
    assert (await door.post("/logs/e-1/1/stdout?offset=0", data=b"x", headers=headers)).status == status


async def test_a_run_token_reads_nothing(door: TestClient) -> None:
    assert (await door.get("/logs/e-1/stdout", headers=run_token())).status == 403


@pytest.mark.parametrize("query", ["", "?offset=", "?offset=-1", "?offset=x", "?offset=" + "9" * 30])
async def test_a_piece_says_where_it_begins(door: TestClient, query: str) -> None:
    assert (await door.post(f"/logs/e-1/1/stdout{query}", data=b"x", headers=run_token())).status == 400


async def test_a_piece_has_a_largest_size(door: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_door, "PIECE_BYTES", 10)
    assert (await door.post("/logs/e-1/1/stdout?offset=0", data=b"x" * 11, headers=run_token())).status == 400


async def test_without_room_nodes_are_told_to_come_again(door: TestClient, book: LogBook) -> None:
    book.used_bytes = 10_000
    answer = await door.post("/logs/e-1/1/stdout?offset=0", data=b"x", headers=run_token())
    assert (answer.status, answer.headers["Retry-After"]) == (507, "60")


async def test_pieces_of_one_stream_that_come_at_once_do_not_mix(door: TestClient, book: LogBook) -> None:
    answers = await asyncio.gather(
        *(door.post("/logs/e-1/1/stdout?offset=0", data=os.urandom(50), headers=run_token()) for _ in range(8))
    )
    assert {answer.status for answer in answers} == {200}
    assert len(kept(book)) == 50


async def test_logs_go_with_time_and_once_the_result_is_stored(tmp_path: Path, book: LogBook) -> None:
    doors = LogDoor(book, SignedDoor(TokenVerifier(PUBLIC)))
    for number in (1, 2, 3):
        book.append(f"e-{number}", 1, "stdout", 0, b"x")
    old = book.find("e-3", "stdout")
    assert old is not None
    os.utime(old.path, (0, 0))
    with ResultStore(tmp_path / "results") as store:
        store.put([Item("e-2", digest_of(b"r"), b"r")])
        assert await doors.tidy(store, timedelta(days=7)) == 2
    assert [one for one, _, _ in book.entries()] == ["e-1"]
