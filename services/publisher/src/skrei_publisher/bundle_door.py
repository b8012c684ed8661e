"""Many small results in one answer, a tar of their archives: for whoever fetches a job of thousands of partitions.

It opens nothing by itself: each result is asked for with the token of its own address. What is not small, lies
elsewhere, or does not fit into this answer is left out, and can be asked for again, or at its address.
"""

import asyncio
import tarfile
from collections.abc import Sequence
from typing import ClassVar

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from skrei_domain.errors import Invalid, SkreiError
from skrei_publisher.bodies import body_of
from skrei_publisher.doorkeeper import Doorkeeper
from skrei_publisher.figures import PublisherFigures
from skrei_publisher.store import SUFFIX, ResultStore

MOST_RESULTS = 256
"""Asked for at once: a question costs next to nothing by then, and the answer's memory is bounded."""
QUESTION_BYTES = 512 * 1024
"""The longest question: so many tokens, of which each has some 300 bytes, several times over."""
ANSWER_BYTES = 4 * 1024 * 1024
"""Of results in one answer, which is held in memory: a few hundred of those that programs mostly leave."""
AT_ONCE = 16
"""Questions that are read and answered at once: their memory lasts as long as their readers take."""
TURN_SECONDS = 10.0
"""How long a question waits for its turn before it is refused: each result has its address all the same."""
SECONDS = 60.0
"""For a question and its answer: a line of one megabit takes half of it. What came by then is good, and a reader who is
slower asks again for the rest."""


class Busy(SkreiError):
    """There is no turn for this question now."""

    code: ClassVar[str] = "busy"
    retryable: ClassVar[bool] = True


class Wanted(BaseModel):
    """A result, and the token of its address."""

    execution_id: str
    token: str


_WANTED: TypeAdapter[list[Wanted]] = TypeAdapter(list[Wanted])


class BundleDoor:
    """The route of bundles."""

    def __init__(self, store: ResultStore, doorkeeper: Doorkeeper, figures: PublisherFigures) -> None:
        self._store = store
        self._doorkeeper = doorkeeper
        self._figures = figures
        self._turns = asyncio.Semaphore(AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        """Return what an application serves of it."""
        return [web.post("/results", self._bundle)]

    async def _bundle(self, request: web.Request) -> web.StreamResponse:
        """Answer with those of the results that are here and small, as `<execution>.tar.gz` each.

        Raises Invalid, TokenRefused where one of the tokens does not open its result (then none is sent), and Busy.
        """
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Busy("Too many ask for several results at once.", hint="Fetch each at its address.") from error
        try:
            return await self._answer(request)
        finally:
            self._turns.release()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = web.Response(
            headers={
                "Content-Type": "application/x-tar",
                "Content-Disposition": 'attachment; filename="results.tar"',
                "Cache-Control": "private, max-age=0",
                "X-Content-Type-Options": "nosniff",
            }
        )
        try:
            async with asyncio.timeout(SECONDS):
                wanted = _wanted(await body_of(request, QUESTION_BYTES, "A question"))
                count, response.body = await asyncio.to_thread(self._pack, wanted)
                self._figures.downloads.add(count, "store")
                await response.prepare(request)
                await response.write_eof()  # returns once the reader has most of it
        except TimeoutError as error:
            if not response.prepared:
                raise Invalid(f"The question did not come within {SECONDS:g} s.") from error
            if request.transport is not None:
                request.transport.abort()
        return response

    def _pack(self, wanted: Sequence[Wanted]) -> tuple[int, bytes]:
        """Return how many there are, and the tar. Blocks: a signature is verified for each."""
        parts: dict[str, bytes] = {}
        left = ANSWER_BYTES
        own = [each.execution_id for each in wanted if self._doorkeeper.check(each.token, each.execution_id) is None]
        for execution_id in own:
            content = self._store.find(execution_id)
            if isinstance(content, bytes) and (not parts or len(content) <= left):
                left -= len(content)
                parts[execution_id] = _entry(f"{execution_id}{SUFFIX}", content)
        return len(parts), b"".join([*parts.values(), bytes(2 * tarfile.BLOCKSIZE)])


def _entry(name: str, content: bytes) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    return b"".join([entry.tobuf(tarfile.GNU_FORMAT), content, bytes(-len(content) % tarfile.BLOCKSIZE)])


def _wanted(question: bytes) -> list[Wanted]:
    """Raises Invalid."""
    try:
        wanted = _WANTED.validate_json(question)
    except ValidationError as error:
        raise Invalid("That is no list of results.", hint='[{"execution_id": …, "token": …}, …]') from error
    if len(wanted) > MOST_RESULTS:
        raise Invalid(f"At most {MOST_RESULTS} results are asked for at once.")
    return wanted
