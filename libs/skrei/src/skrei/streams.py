"""What the API tells as it comes: output over a WebSocket, and what happens to a job as server-sent events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal

import httpx2

from skrei.answers import (
    CONNECT_SECONDS,
    LOG_FRAME_BYTES,
    log_line_of,
    pause_seconds,
    problem_of,
    said_of,
)
from skrei.endpoint import is_loopback
from skrei.errors import EventsFailed, LogsFailed
from skrei.log_query import LogQuery
from skrei.progress import PATIENCE_SECONDS
from skrei.sse import Reader, Sent
from skrei.trust import context_for, unreachable
from skrei.views import Event, HistoryItem, LogLine

if TYPE_CHECKING:
    from skrei.client import AsyncClient


async def logs(client: "AsyncClient", query: LogQuery) -> AsyncIterator[LogLine]:
    """Yield a job's output until its end (`follow` waits for more). Raises LogsFailed on an error frame."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosedError, InvalidHandshake

    proxy: Literal[True] | None = None if is_loopback(client.endpoint) else True
    try:
        async with connect(
            query.url(client.endpoint),
            max_size=LOG_FRAME_BYTES,
            proxy=proxy,
            ssl=context_for(client.endpoint),
            open_timeout=CONNECT_SECONDS,
            additional_headers=client.headers(),
        ) as stream:
            async for frame in stream:
                yield log_line_of(frame)
    except ConnectionClosedError as error:
        raise LogsFailed("The log stream broke off.", hint="Ask again; the output is kept.") from error
    except InvalidHandshake as error:
        raise LogsFailed(f"The API did not open a log stream: {error}.") from error
    except OSError as error:
        raise unreachable(client.endpoint, error) from error


async def events(client: "AsyncClient", job_id: str, *, after: int, stay: bool) -> AsyncIterator[Event]:
    """Yield what happens to a job, from the item after number `after` on, until it has ended (`stay`: for ever).

    A stream that breaks off is taken up where it was. Raises ApiError for a job that is none, and Unreachable or
    EventsFailed where the API stays away for PATIENCE_SECONDS.
    """
    last = str(after) if after else ""
    heard, attempt = time.monotonic(), 0
    while True:
        problem: Exception = EventsFailed("The feed of events ended.", hint="Ask again; what happened is kept.")
        try:
            async for sent in _stream(client, job_id, last):
                last, heard, attempt = sent.id, time.monotonic(), 0
                if event := _event(sent):
                    yield event
                    if event.ended and not stay:
                        return
        except _Busy as busy:
            problem = busy.problem
        except httpx2.TransportError as error:
            problem = unreachable(client.endpoint, error)
        except ValueError as error:
            raise EventsFailed("The API sent an event that is none.") from error
        # Who never answered may not be there at all: that is told at once.
        if not client.answered or time.monotonic() - heard > PATIENCE_SECONDS:
            raise problem
        attempt += 1
        await asyncio.sleep(pause_seconds("", attempt))


class _Busy(Exception):
    """The API cannot take a reader now."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(str(problem))
        self.problem = problem


async def _stream(client: "AsyncClient", job_id: str, last: str) -> AsyncIterator[Sent]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    reader = Reader(last)
    async with client.stream("/events", {"job": job_id}, headers) as response:
        client.answered = True
        if response.status_code != httpx2.codes.OK:
            said = said_of(response.status_code, response.reason_phrase, response.headers)
            refused = problem_of(response.status_code, await response.aread(), client.endpoint, said)
            raise _Busy(refused) if refused.may_pass else refused
        async for piece in response.aiter_raw():
            for sent in reader.take(piece):
                yield sent


def _event(sent: Sent) -> Event | None:
    """Return what an event tells; None for kinds that this client does not know. Raises ValueError."""
    if sent.kind not in ("history", "end"):
        return None
    document = json.loads(sent.data)
    if not isinstance(document, dict):
        raise ValueError("an event is an object")
    if sent.kind == "end":
        return Event(item=None, state=str(document.get("StateType") or ""), version=int(document.get("Version") or 0))
    item = HistoryItem.parse(document)
    return Event(item=item, state="", version=int(document.get("JobVersion") or 0))
