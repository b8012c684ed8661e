"""What the API asks of the publisher: whether a job's destination is one, and where readers are sent to.

Opened by the stack's internal token alone: nobody else is told what is wrong with a destination, or an address.
"""

import hmac
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from skrei_domain.errors import Invalid, SkreiError
from skrei_kit.observability import get_logger
from skrei_plugin_api.publisher import Publisher, PublishError
from skrei_publisher.destinations import Destinations
from skrei_publisher.doorkeeper import TokenRefused, bearer_of

log = get_logger()

MOST_ADDRESSES = 10_000
"""In one answer: as many as a task may have partitions."""
ASKED_BYTES = 64 * 1024 * 1024
"""The longest question: so many places of 4 KiB, and somewhat more."""


class Asked(BaseModel):
    """A destination as a job names it."""

    type: str
    params: dict[str, Any] = Field(default_factory=dict)
    of_path: bool = False


class Wanted(BaseModel):
    """A final result, and where its publisher said that it lies."""

    execution_id: str
    publisher: str
    params: dict[str, Any] = Field(default_factory=dict)


_WANTED: TypeAdapter[list[Wanted]] = TypeAdapter(list[Wanted])


class ControlDoor:
    """The routes of the API."""

    def __init__(self, destinations: Destinations, token: str) -> None:
        self._destinations = destinations
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Return what an application serves of it."""
        return [web.post("/internal/destination", self._check), web.post("/internal/addresses", self._addresses)]

    async def _check(self, request: web.Request) -> web.Response:
        self._let_in(request.headers)
        try:
            asked = Asked.model_validate_json(await request.read())
        except ValidationError as error:
            raise Invalid("That is no destination.") from error
        problems = await self._destinations.check(asked.type, asked.params, of_path=asked.of_path)
        return web.json_response({"problems": [list(each) for each in problems]})

    async def _addresses(self, request: web.Request) -> web.Response:
        """Answer with an address for each, empty where there is none to send readers to."""
        self._let_in(request.headers)
        try:
            wanted = _WANTED.validate_json(await request.read())
        except ValidationError as error:
            raise Invalid("These are no results.") from error
        if len(wanted) > MOST_ADDRESSES:
            raise Invalid(f"At most {MOST_ADDRESSES} results are asked for at once.")
        return web.json_response({"addresses": await self.addresses(wanted)})

    async def addresses(self, wanted: Sequence[Wanted]) -> list[str]:
        """Return an address for each result, empty where there is none; a publisher is looked for once for all."""
        publishers = {name: await self._publisher(name) for name in dict.fromkeys(each.publisher for each in wanted)}
        return [await self._address(each, publishers[each.publisher]) for each in wanted]

    async def _publisher(self, name: str) -> Publisher | None:
        """Return a publisher, None where it does not work here."""
        try:
            return await self._destinations.find(name)
        except PublishError as error:
            log.warning("results_without_addresses", publisher=name, reason=error.message)
            return None

    async def _address(self, wanted: Wanted, publisher: Publisher | None) -> str:
        if publisher is None:
            return ""
        try:
            opened = await publisher.open(wanted.execution_id, wanted.params)
        except (SkreiError, OSError) as error:
            log.warning("result_without_address", execution_id=wanted.execution_id, reason=str(error))
            return ""
        return "" if opened is None else opened.url

    def _let_in(self, headers: Mapping[str, str]) -> None:
        if not hmac.compare_digest(bearer_of(headers).encode(), self._token.encode()):
            raise TokenRefused("This is between the API and the publisher.", status=HTTPStatus.FORBIDDEN)
