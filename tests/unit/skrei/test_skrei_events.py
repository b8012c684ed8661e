"""Events of a job: read from pieces, taken up where they broke off."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei import AsyncClient, NotFound, Unreachable, streams
from skrei.errors import EventsFailed
from skrei.sse import MOST_BYTES, Reader, Sent, TooMuch
from skrei.views import Event
from tests.support.fake_api import FakeApi, error, event

PATH = "GET /api/v1/events"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "pause_seconds", lambda retry_after, attempt: 0.0)


def history(number: int, message: str = "one") -> bytes:
    return f"id: {number}\nevent: history\ndata: {json.dumps(event(number, message))}\n\n".encode()


END = b'event: end\ndata: {"JobID":"j-1","StateType":"Completed","Version":1}\n\n'


class Pieces(httpx2.AsyncByteStream):
    """A body that comes in pieces, and may break off."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def told(*pieces: bytes | Exception) -> httpx2.Response:
    return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Pieces(*pieces))


async def all_of(api: FakeApi, **options: Any) -> list[Event]:
    async with AsyncClient("http://127.0.0.1:9", transport=api.transport) as client, asyncio.timeout(10):
        return [each async for each in client.events("x", **options)]


async def test_events_come_until_the_job_has_ended() -> None:
    api = FakeApi({PATH: told(b"retry: 2000\n\n", history(1), b":\n\n", history(2, "two") + END)})
    first, second, last = await all_of(api)
    assert [one.item.message for one in (first, second) if one.item] == ["one", "two"]
    assert (last.ended, last.state, first.ended) == (True, "Completed", False)
    assert api.requests[0].url.params["job"] == "x"


async def test_a_stream_that_breaks_off_is_taken_up_after_the_last_event() -> None:
    api = FakeApi({PATH: [told(history(1), httpx2.ReadError("cut")), httpx2.ConnectError("down"), told(END)]})
    assert [one.ended for one in await all_of(api)] == [False, True]
    assert [one.headers.get("Last-Event-ID") for one in api.requests] == [None, "1", "1"]


async def test_a_reader_begins_after_the_item_that_it_names_and_stays_if_it_wants() -> None:
    api = FakeApi({PATH: [told(END, history(4)), error(404, "job not found: x")]})
    async with AsyncClient("http://127.0.0.1:9", transport=api.transport) as client:
        found = client.events("x", after=3, stay=True)
        assert [(await anext(found)).ended, (await anext(found)).ended] == [True, False]
        with pytest.raises(NotFound):
            await anext(found)
    assert [one.headers["Last-Event-ID"] for one in api.requests] == ["3", "4"]


async def test_an_api_that_was_never_there_and_one_that_stays_away_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable):
        await all_of(FakeApi({PATH: httpx2.ConnectError("down")}))
    monkeypatch.setattr(streams, "PATIENCE_SECONDS", -1.0)
    with pytest.raises(EventsFailed, match="ended"):
        await all_of(FakeApi({PATH: told(history(1))}))


async def test_a_busy_api_is_asked_again_and_rubbish_is_not() -> None:
    busy = error(503, "busy")
    assert len(await all_of(FakeApi({PATH: [busy, told(END)]}))) == 1
    for rubbish in (b"event: history\ndata: {\n\n", b"event: end\ndata: []\n\n"):
        with pytest.raises(EventsFailed, match="none"):
            await all_of(FakeApi({PATH: told(rubbish)}))


async def test_an_event_without_end_is_cut() -> None:
    with pytest.raises(EventsFailed):
        await all_of(FakeApi({PATH: told(b"data: " + b"x" * MOST_BYTES, b"x")}))
    with pytest.raises(TooMuch):
        Reader().take(b"data: x\n" * (MOST_BYTES // 6))


LINES = st.sampled_from([b"data: a", b"data:b", b"id: 7", b"event: end", b": beat", b"", b"", b"odd"])


@given(lines=st.lists(LINES, max_size=30), cuts=st.lists(st.integers(0, 400), max_size=8), crlf=st.booleans())
def test_how_the_bytes_are_cut_changes_nothing(lines: list[bytes], cuts: list[int], *, crlf: bool) -> None:
    text = b"".join(line + (b"\r\n" if crlf else b"\n") for line in lines)
    whole = Reader().take(text)
    reader, at, found = Reader(), 0, list[Sent]()
    for cut in sorted({min(cut, len(text)) for cut in cuts} | {len(text)}):
        found += reader.take(text[at:cut])
        at = cut
    assert found == whole
