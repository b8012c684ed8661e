"""Results that stay on their nodes, on their way to somebody who fetches one: the node sends, the reader takes.

The reader's request asks the API to ask the node; what the node then brings here is passed on as it comes, and nothing
is kept. The digest that the API told the reader says whether it is what was left.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web
from pydantic import ValidationError

from skrei_domain.errors import Invalid, SkreiError
from skrei_domain.messages import Problem
from skrei_kit.tokens import Elsewhere
from skrei_publisher.doorkeeper import Doorkeeper, bearer_of
from skrei_publisher.source import NodeAway, SourceAway
from skrei_publisher.straight_body import pieces

AT_ONCE = 16
"""Results on their way at once: each is two connections, and as fast as its node's link."""
WAIT_SECONDS = 20.0
"""How long a node may take until it sends its first byte: it packs as it sends."""
READER_SECONDS = 60.0
"""How long a reader may take nothing: a frozen one would keep its place, and one of two of its node, for hours."""
SILENCE_SECONDS = 60.0
"""How long it may bring nothing after that: a frozen node would keep its place, and its reader, for ever."""

Ask = Callable[[str, str, str], Awaitable[None]]
"""Has a node asked for what an execution left: execution, request, the node's own name for it (empty: the execution's).
Raises NodeAway, SourceAway."""


class LeftAway(SkreiError):
    """What stays on its node cannot be had from there; `status` says for how long."""

    code = "left-away"

    def __init__(self, message: str, *, status: HTTPStatus = HTTPStatus.CONFLICT, code: str = "left-away") -> None:
        super().__init__(message, hint="`skrei job results` says where it lies.")
        self.status = status
        self.told = code


@dataclass(slots=True)
class _Waiting:
    """Somebody who fetches: `came` is what a node brings, `over` is set once it is read, or nobody reads any more."""

    execution_id: str
    came: "asyncio.Future[AsyncIterator[bytes]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    over: asyncio.Event = field(default_factory=asyncio.Event)
    whole: bool = False


class Relay:
    """Brings the two requests together. `ask` has the node asked."""

    def __init__(self, ask: Ask, doorkeeper: Doorkeeper) -> None:
        self._ask = ask
        self._doorkeeper = doorkeeper
        self._waiting: dict[str, _Waiting] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return what nodes ask for."""
        return [
            web.put("/left/{execution_id}/{request_id}", self._bring),
            web.post("/left/{execution_id}/{request_id}", self._refuse),
        ]

    @asynccontextmanager
    async def open(self, execution_id: str, at: Elsewhere) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open what an execution left on its node, at most as many bytes as it had. Raises LeftAway, SourceAway."""
        if len(self._waiting) >= AT_ONCE:
            raise LeftAway(
                "many results are fetched from nodes; try again later", status=HTTPStatus.SERVICE_UNAVAILABLE
            )
        request_id = uuid.uuid4().hex
        waiting = self._waiting[request_id] = _Waiting(execution_id)
        try:
            try:
                await self._ask(execution_id, request_id, str(at.params.get("Left", "")))
            except NodeAway as error:
                raise LeftAway(error.message) from error
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    came = await waiting.came
            except TimeoutError as error:
                raise LeftAway(f"its node has not answered within {WAIT_SECONDS:g} s") from error
            yield _bounded(came, at.size, waiting)
        finally:
            del self._waiting[request_id]
            waiting.came.cancel()
            waiting.over.set()

    async def _bring(self, request: web.Request) -> web.Response:
        """Hand what a node brings to who waits for it, as fast as that one takes it."""
        waiting = self._of(request)
        waiting.came.set_result(pieces(request.content))
        await waiting.over.wait()
        return web.Response(status=HTTPStatus.NO_CONTENT if waiting.whole else HTTPStatus.GONE)

    async def _refuse(self, request: web.Request) -> web.Response:
        waiting = self._of(request)
        try:
            problem = Problem.model_validate_json(await request.content.read(4_096))
        except ValidationError as error:
            raise Invalid("That is no reason.") from error
        waiting.came.set_exception(LeftAway(problem.message[:1_000], code=problem.code[:100]))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    def _of(self, request: web.Request) -> _Waiting:
        """Return who waits. Raises TokenRefused, LeftAway."""
        execution_id, request_id = request.match_info["execution_id"], request.match_info["request_id"]
        self._doorkeeper.left(bearer_of(request.headers), execution_id, request_id)
        waiting = self._waiting.get(request_id)
        if waiting is None or waiting.execution_id != execution_id or waiting.came.done():
            raise LeftAway("nobody waits for that", status=HTTPStatus.GONE)
        return waiting


async def _bounded(came: AsyncIterator[bytes], size: int, waiting: _Waiting) -> AsyncIterator[bytes]:
    while piece := await _next(came):
        size -= len(piece)
        if size < 0:
            raise SourceAway("The node brings more than was left there.")
        yield piece
    waiting.whole = True


async def _next(came: AsyncIterator[bytes]) -> bytes:
    """Return what comes next; empty at the end. Raises SourceAway where nothing comes any more."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return await anext(came, b"")
    except TimeoutError as error:
        raise SourceAway("The node brings nothing any more.") from error
