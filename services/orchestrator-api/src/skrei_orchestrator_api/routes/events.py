"""What happens to a job, as it happens: server-sent events, resumable, read from the record."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from skrei_domain.errors import Invalid
from skrei_kit.observability import get_logger
from skrei_orchestrator_api import queries, schemas
from skrei_orchestrator_api.deps import Deps, deps_of
from skrei_orchestrator_api.describing import NAMESPACE, Query, described
from skrei_orchestrator_api.views import JobView

log = get_logger()

EVENTS = "/api/v1/events"

PAGE = 200
"""Items read and sent at once: some 50 KB, before others get their turn."""
LOOK_SECONDS = 5.0
"""How often a listener that nobody woke looks by itself: the transport may be away, and nothing is to be missed."""
BEAT_SECONDS = 15.0
"""How often an idle stream says that it lives: proxies close what is silent for half a minute or more."""
RETRY_MILLISECONDS = 2_000
"""How long clients wait before they come back after a cut."""
SEND_SECONDS = 30.0
"""A reader that takes nothing for that long is gone."""
MEDIA = "text/event-stream"


class EventStream(Response):
    """Sends pieces as they come, until they end or the reader goes."""

    media_type = MEDIA

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        piece = await anext(self._pieces)  # what is refused is refused before anything is sent
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            async for piece in self._pieces:
                async with asyncio.timeout(SEND_SECONDS):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            log.debug("event_reader_gone")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@described(
    answer="EventStream",
    media=MEDIA,
    query=(
        Query("job", "A job's name, its id, or the beginning of its id.", example="hello"),
        NAMESPACE,
        Query("last_event_id", "Go on after this one; the header `Last-Event-ID` says the same.", "integer", 0),
        Query("follow", "Stay for what comes; without: what there is, then the end.", "boolean", True),
    ),
    refusals=(404, 409),
)
async def events(request: Request) -> Response:
    """Tell what happens to a job, as it happens: server-sent events.

    Each `history` event is an item of the job's history, and its id is the item's number: a reader that was cut off
    goes on after its `Last-Event-ID` and misses none. `end` says that the job has ended and all of it was told, with
    its state; the stream stays open, because a job may be run once more, until the reader leaves.
    """
    deps = deps_of(request)
    key = queries.text(request, "job")
    if not key:
        raise Invalid("job: missing; allowed: a job's name or id", component="APIServer")
    job = await deps.record.find_job(key, queries.text(request, "namespace"))
    first = _last_event(request) + 1
    if request.method == "HEAD":  # nothing follows: nobody would ever read it
        return Response(media_type=EventStream.media_type)
    return EventStream(_listen(deps, job, first) if _follows(request) else _tell_all(deps, job, first))


def _follows(request: Request) -> bool:
    return "follow" not in request.query_params or queries.flag(request, "follow")


def _last_event(request: Request) -> int:
    given = request.headers.get("last-event-id", "")
    if not given:
        return queries.number(request, "last_event_id", high=2**31 - 1)
    if not (given.isascii() and given.isdigit()) or len(given) > 10:
        raise Invalid(f"Last-Event-ID: {given[:80]!r}; allowed: the id of an event", component="APIServer")
    return int(given)


async def _listen(deps: Deps, job: JobView, first: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    async with deps.listeners.listening(job.id) as woken:
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        beat, ended = loop.time(), -1
        while True:
            woken.clear()  # before the look: what comes during it is looked for again
            # The state is read before the items: once terminal, all that led there is in the history.
            now = await deps.record.find_job(job.id, "")
            async for seq, piece in _history(deps, job.id, first):
                first, beat = seq + 1, loop.time()
                yield piece
            if now.is_terminal and ended != now.history_seq and first > now.history_seq:
                ended, beat = now.history_seq, loop.time()
                yield _end(now)
            if loop.time() - beat >= BEAT_SECONDS:
                beat = loop.time()
                yield b":\n\n"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await woken.wait()


async def _tell_all(deps: Deps, job: JobView, first: int) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    async for _, piece in _history(deps, job.id, first):
        yield piece
    if job.is_terminal:
        yield _end(job)


async def _history(deps: Deps, job_id: str, first: int) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the job's history from number `first` on, as events."""
    while True:
        items = await deps.record.history(job_id, first=first, limit=PAGE)
        for item in items:
            first = int(item["SeqNum"]) + 1
            yield first - 1, f"id: {first - 1}\nevent: history\ndata: {schemas.dump(item)}\n\n".encode()
        if len(items) < PAGE:
            return


def _end(job: JobView) -> bytes:
    told = {"JobID": job.id, "StateType": job.state.value, "Version": job.version}
    return f"event: end\ndata: {schemas.dump(told)}\n\n".encode()


ROUTES: list[BaseRoute] = [Route(EVENTS, events)]
