"""The door: signed addresses of results, served from the store or from the record, and what uploads bring."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote

import aiohttp
from aiohttp import web

from skrei_domain.destinations import ON_NODES
from skrei_domain.errors import Invalid, SkreiError
from skrei_kit.health import Health
from skrei_kit.observability import get_logger
from skrei_kit.tokens import Elsewhere
from skrei_plugin_api.publisher import PublishError
from skrei_publisher.bundle_door import BundleDoor, Busy
from skrei_publisher.control_door import ASKED_BYTES, ControlDoor
from skrei_publisher.destinations import Destinations
from skrei_publisher.doorkeeper import Doorkeeper, TokenRefused, bearer_of
from skrei_publisher.figures import PublisherFigures
from skrei_publisher.log_door import LogDoor
from skrei_publisher.manifest_door import ManifestDoor
from skrei_publisher.relay import READER_SECONDS, LeftAway, Relay
from skrei_publisher.source import SourceAway
from skrei_publisher.store import SUFFIX, ResultStore, digest_of
from skrei_publisher.uploads import UploadDoor, status_of

log = get_logger()

RETRY_AFTER_SECONDS = 2
"""The API is a process beside us; its restart takes about that long."""

PART = "X-Skrei-Path"
"""The path of a result that an answer has alone; empty where it is all of it, packed again. Its size and digest are not
those that the API told."""
_FROM = re.compile(r"bytes=(\d{1,18})-")
"""How a download goes on that was cut."""


class Source(Protocol):
    """Where a result is before it is stored."""

    async def fetch(self, execution_id: str) -> bytes | None:
        """Return the result, None when there is none. Raises SourceAway."""


def build(
    store: ResultStore,
    source: Source,
    doorkeeper: Doorkeeper,
    *,
    uploads: UploadDoor | None = None,
    logs: LogDoor | None = None,
    destinations: Destinations | None = None,
    manifests: ManifestDoor | None = None,
    control: ControlDoor | None = None,
    relay: Relay | None = None,
    health: Health | None = None,
    figures: PublisherFigures | None = None,
) -> web.Application:
    """Return the door. GET also answers HEAD; Range works on what is a file. Without `uploads` it only gives.

    What lies elsewhere is read through it, whoever may not go there.
    """

    async def download(request: web.Request) -> web.StreamResponse:
        execution_id = request.match_info["execution_id"]
        at = doorkeeper.check(_token(request), execution_id)
        headers = {
            "Content-Type": "application/gzip",
            "Content-Disposition": f'attachment; filename="{execution_id}{SUFFIX}"',
            "Cache-Control": "private, max-age=0",
            "X-Content-Type-Options": "nosniff",
        }
        if at is not None and at.publisher in ON_NODES and relay is not None:
            response = web.StreamResponse(headers=headers)
            if request.method == "HEAD":  # no node packs anything for that: how much there is was signed
                response.content_length = at.size
                await response.prepare(request)
                return response
            return await _send(request, relay.open(execution_id, at), response, patience=READER_SECONDS)
        found = None if at is not None and at.apart else store.find(execution_id)
        if found is None and at is not None and destinations is not None:
            counted.downloads.add(1, "elsewhere")
            return await _through(request, destinations, execution_id, at, headers)
        # It may be taken over between two looks, so the store has the last.
        found = found or await source.fetch(execution_id) or store.find(execution_id)
        if found is None:
            return problem(
                HTTPStatus.NOT_FOUND,
                f"There is no result of execution {execution_id}.",
                "It was not published, or its time is over: `skrei job describe` tells which.",
            )
        counted.downloads.add(1, "store")
        if isinstance(found, bytes):
            return web.Response(body=found, headers=headers | {"ETag": f'"{digest_of(found)}"'})
        return web.FileResponse(found, headers=headers)

    well = health or Health()
    counted = figures or PublisherFigures()

    async def tell(request: web.Request) -> web.Response:
        told = await well.answer(request.path)
        assert told is not None, "both paths are its own"
        return web.Response(body=told.body, status=told.status, headers={"Content-Type": told.media})

    # Uploads read what comes piece by piece: the size is that of questions.
    app = web.Application(middlewares=[_problems], client_max_size=ASKED_BYTES)
    app.router.add_get("/results/{execution_id:[^/]+?}.tar.gz", download)
    app.router.add_get("/healthz", tell)
    app.router.add_get("/readyz", tell)
    app.add_routes(BundleDoor(store, doorkeeper, counted).routes())
    if uploads is not None:
        app.add_routes(uploads.routes())
    if logs is not None:
        app.add_routes(logs.routes())
    if manifests is not None:
        app.add_routes(manifests.routes())
    if control is not None:
        app.add_routes(control.routes())
    if relay is not None:
        app.add_routes(relay.routes())
    return app


async def _through(
    request: web.Request, destinations: Destinations, execution_id: str, at: Elsewhere, headers: dict[str, str]
) -> web.StreamResponse:
    """Send on what lies elsewhere, from where the reader has it."""
    publisher = await destinations.find(at.publisher)
    path = request.query.get("path", "").strip("/")
    if path and (part := publisher.read_part(execution_id, at.params, path)) is not None:
        return await _send(request, part, web.StreamResponse(headers=headers | {PART: quote(path)}))
    wanted = _FROM.fullmatch(request.headers.get("Range", ""))
    first = int(wanted[1]) if wanted and int(wanted[1]) < at.size else 0
    response = web.StreamResponse(status=HTTPStatus.PARTIAL_CONTENT if first else HTTPStatus.OK, headers=headers)
    response.headers["Accept-Ranges"] = "bytes"
    if repacked := publisher.repacks(at.params):
        response.headers[PART] = ""
    else:
        response.content_length = at.size - first
    if first:
        response.headers["Content-Range"] = f"bytes {first}-{at.size - 1}/{'*' if repacked else at.size}"
    return await _send(request, publisher.read(execution_id, at.params, first=first), response)


async def _send(
    request: web.Request,
    opening: AbstractAsyncContextManager[AsyncIterator[bytes]],
    response: web.StreamResponse,
    *,
    patience: float | None = None,
) -> web.StreamResponse:
    """Send on what is opened; `patience`: how long the reader may take nothing, where others want its place."""

    async def more(piece: bytes) -> None:
        async with asyncio.timeout(patience):
            await response.write(piece)

    async with opening as pieces:
        began = await anext(aiter(pieces), b"")  # what cannot be read at all is said before anything is
        await response.prepare(request)
        if request.method != "HEAD":
            try:
                await more(began)
                async for piece in pieces:
                    await more(piece)
            except (SkreiError, aiohttp.ClientError, TimeoutError) as error:  # no answer is left to say it with
                log.warning("result_cut_off", path=request.path, reason=str(error))
                if request.transport is not None:
                    request.transport.abort()
                return response
    await response.write_eof()
    return response


def problem(
    status: HTTPStatus, message: str, hint: str = "", headers: dict[str, str] | None = None, *, code: str = ""
) -> web.Response:
    """Return an error in the body that the API's clients read."""
    body: dict[str, object] = {
        "Status": status.value,
        "Message": message,
        "RequestID": "",
        "Code": code or _CODES.get(status, "InternalError"),
        "Component": "Publisher",
    }
    return web.json_response(body | ({"Hint": hint} if hint else {}), status=status, headers=headers)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in one shape, and never name a token in a log."""
    try:
        return await handler(request)
    except TokenRefused as error:
        challenge = {"WWW-Authenticate": "Bearer"} if error.status is HTTPStatus.UNAUTHORIZED else None
        return problem(error.status, error.message, error.hint, challenge)
    except Invalid as error:
        return problem(HTTPStatus.BAD_REQUEST, error.message, error.hint)
    except Busy as error:
        later = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, error.message, error.hint, later)
    except LeftAway as error:
        said = f"What stays on its node cannot be had: {error.message}."
        away = error.status is HTTPStatus.SERVICE_UNAVAILABLE
        again = {"Retry-After": str(RETRY_AFTER_SECONDS)} if away else None
        return problem(error.status, said, error.hint, again, code=error.told)
    except PublishError as error:
        again = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.retryable else None
        return problem(status_of(error), error.message, error.hint, again, code=str(error.code))
    except SourceAway as error:
        log.warning("result_not_served", path=request.path, reason=error.message)
        return problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The result cannot be read right now.",
            "Try again in a moment.",
            {"Retry-After": str(RETRY_AFTER_SECONDS)},
        )
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        elsewhere = error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
        hint = "Results are at /results/<execution id>.tar.gz?token=…" if elsewhere else ""
        allowed = {name: value for name, value in error.headers.items() if name == "Allow"}
        return problem(HTTPStatus(error.status), error.reason, hint, allowed)


def _token(request: web.Request) -> str:
    """Return the token of the address, else of the header; the address is what the API hands out."""
    return request.query.get("token") or bearer_of(request.headers)


_CODES = {
    HTTPStatus.BAD_REQUEST: "BadRequest",
    HTTPStatus.METHOD_NOT_ALLOWED: "BadRequest",
    HTTPStatus.UNAUTHORIZED: "Unauthorized",
    HTTPStatus.FORBIDDEN: "Forbidden",
    HTTPStatus.NOT_FOUND: "NotFound",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailable",
}
