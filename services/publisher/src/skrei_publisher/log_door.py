"""The door for logs: a run token appends what its execution says, a download token reads it back."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from http import HTTPStatus

import structlog
from aiohttp import web

from skrei_domain.errors import Invalid
from skrei_publisher.bodies import body_of
from skrei_publisher.doorkeeper import Doorkeeper, bearer_of
from skrei_publisher.logbook import LogBook, LogGap, LogOver, LogsFull
from skrei_publisher.store import ResultStore

log = structlog.get_logger()

PIECE_BYTES = 512 * 1024
"""The largest piece that is taken: twice what agents send."""
FULL_SECONDS = 60
"""When to come again while there is no room."""
START_HEADER = "X-Skrei-Log-Start"
CUT_HEADER = "X-Skrei-Log-Cut"
COMPLETE_HEADER = "X-Skrei-Log-Complete"


class LogDoor:
    """The routes of logs, and what goes with time."""

    def __init__(self, book: LogBook, doorkeeper: Doorkeeper) -> None:
        self._book = book
        self._doorkeeper = doorkeeper
        self._writing = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """Return what an application serves of it."""
        return [
            web.post(r"/logs/{execution_id}/{start:\d{1,9}}/{stream:stdout|stderr}", self._append),
            web.get("/logs/{execution_id}/{stream:stdout|stderr}", self._read),
        ]

    async def tidy(self, store: ResultStore, keep: timedelta) -> int:
        """Drop logs that are over their time, or lie in a stored result as well; returns how many executions' logs."""
        gone = await asyncio.to_thread(self._over, store, keep)
        async with self._writing:
            await asyncio.to_thread(self._book.drop, gone)
        if gone:
            log.info("logs_dropped", count=len(gone), used_bytes=self._book.used_bytes)
        return len(gone)

    async def drop(self, execution_ids: Sequence[str]) -> None:
        """Drop the logs of executions; those that are not there are gone already."""
        async with self._writing:
            await asyncio.to_thread(self._book.drop, execution_ids)

    def _over(self, store: ResultStore, keep: timedelta) -> list[str]:
        old = self._book.expired(keep.total_seconds())
        stored = [execution_id for execution_id, _, _ in self._book.entries() if store.has(execution_id)]
        return [*old, *stored]

    async def _append(self, request: web.Request) -> web.Response:
        """Append a piece at `offset` (with `end=1` the last); answer how much is here, also where it does not fit."""
        execution_id = request.match_info["execution_id"]
        node_id = self._doorkeeper.logs(bearer_of(request.headers), execution_id)
        start, stream = int(request.match_info["start"]), request.match_info["stream"]
        offset = _offset(request)
        data = await body_of(request, PIECE_BYTES, "A piece of a log")
        try:
            async with self._writing:
                end = request.query.get("end") == "1"
                append = partial(self._book.append, execution_id, start, stream, offset, data, end=end, node_id=node_id)
                done = await asyncio.to_thread(append)
        except LogGap as error:
            return _answer(HTTPStatus.CONFLICT, error.have, error.message)
        except LogOver as error:
            return _answer(HTTPStatus.GONE, 0, error.message)
        except (LogsFull, OSError) as error:
            log.warning("log_not_kept", reason=str(error), node_id=node_id, used_bytes=self._book.used_bytes)
            response = _answer(HTTPStatus.INSUFFICIENT_STORAGE, 0, "There is no room for more logs now.")
            response.headers["Retry-After"] = str(FULL_SECONDS)
            return response
        return _answer(HTTPStatus.OK, done.have, cut=done.cut)

    async def _read(self, request: web.Request) -> web.StreamResponse:
        execution_id = request.match_info["execution_id"]
        self._doorkeeper.check(request.query.get("token") or bearer_of(request.headers), execution_id)
        kept = await asyncio.to_thread(self._book.find, execution_id, request.match_info["stream"])
        if kept is None:
            raise web.HTTPNotFound(reason="Nothing that it said was sent here")
        headers = {
            "Content-Type": "application/octet-stream",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            START_HEADER: str(kept.start),
            CUT_HEADER: str(int(kept.cut)),
            COMPLETE_HEADER: str(int(kept.complete)),
        }
        return web.FileResponse(kept.path, headers=headers)


def _offset(request: web.Request) -> int:
    text = request.query.get("offset", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Invalid("A piece of a log says where it begins: ?offset=BYTES.")
    return int(text)


def _answer(status: HTTPStatus, have: int, message: str = "", *, cut: bool = False) -> web.Response:
    return web.json_response({"have": have, "cut": cut, "message": message}, status=status)
