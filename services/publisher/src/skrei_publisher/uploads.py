"""The upload door: a run token gets a plan, parts are taken, and what has come whole gets a signed receipt."""

from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel, ValidationError

from skrei_domain.errors import Invalid, SkreiError
from skrei_domain.uploads import Parcel, UploadAnswer
from skrei_kit.tokens import Receipt, TokenSigner, UploadRight
from skrei_plugin_api.publisher import Publisher, PublishError
from skrei_publisher.destinations import Destinations, discreet
from skrei_publisher.doorkeeper import Doorkeeper, bearer_of
from skrei_publisher.figures import PublisherFigures
from skrei_publisher.straight_body import StraightBody, pieces

PARCEL_BYTES = 1024 * 1024
"""A parcel's JSON has two hundred bytes, and fifty more for each of its pieces, of which there are 10,000 at most."""


class ResultTooLarge(PublishError):
    """The result is larger than its token allows."""

    code = "result-too-large"


STATUS: dict[str, HTTPStatus] = {
    "store-full": HTTPStatus.INSUFFICIENT_STORAGE,
    "destination-away": HTTPStatus.SERVICE_UNAVAILABLE,
    "no-such-publisher": HTTPStatus.FORBIDDEN,
    "not-readable": HTTPStatus.NOT_FOUND,
    "staged-gone": HTTPStatus.NOT_FOUND,
    "too-many-uploads": HTTPStatus.TOO_MANY_REQUESTS,
    "publish-denied": HTTPStatus.FORBIDDEN,
    "upload-unknown": HTTPStatus.NOT_FOUND,
    "upload-incomplete": HTTPStatus.CONFLICT,
    "digest-differs": HTTPStatus.UNPROCESSABLE_ENTITY,
    "result-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}
"""How the errors of an upload are answered; their codes stand in the body."""


class UploadDoor:
    """The routes of uploads, to wherever their tokens say."""

    def __init__(
        self,
        destinations: Destinations,
        doorkeeper: Doorkeeper,
        signer: TokenSigner,
        figures: PublisherFigures | None = None,
    ) -> None:
        self._destinations = destinations
        self._doorkeeper = doorkeeper
        self._signer = signer
        self._figures = figures or PublisherFigures()

    def routes(self) -> list[web.RouteDef]:
        """Return what an application serves of it."""
        return [
            web.post("/uploads/{execution_id}", self._plan),
            web.put(r"/uploads/{execution_id}/parts/{number:\d{1,6}}", self._part),
            web.post("/uploads/{execution_id}/receipt", self._receipt),
            web.delete("/uploads/{execution_id}", self._abort),
        ]

    async def _plan(self, request: web.Request) -> web.Response:
        """Answer a parcel with what is still to be sent of it; asked again after a cut, the rest."""
        right = self._right(request)
        parcel = await _parcel(request, right)
        headers = {"Authorization": request.headers["Authorization"]}
        destination = await self._destinations.of(right, counts=parcel.counts)
        plan = await destination.plan(parcel, headers, right.node_id)
        return _json(UploadAnswer(plan=plan))

    async def _part(self, request: web.Request) -> web.Response:
        right = self._right(request)
        if request.content_length is None:
            raise Invalid("A part says how long it is.", hint="Send Content-Length.")
        number = int(request.match_info["number"])
        taker: Publisher = self._destinations.store
        if not self._destinations.store.takes(right.execution_id):
            taker = (await self._destinations.of(right)).taker
        with discreet("" if taker is self._destinations.store else right.publisher):
            await taker.receive(right.execution_id, number, request.content_length, StraightBody(request))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _receipt(self, request: web.Request) -> web.Response:
        right = self._right(request)
        parcel = await _parcel(request, right)
        destination = await self._destinations.of(right, counts=parcel.counts)
        place = await destination.stage(parcel)
        self._figures.uploaded(parcel.size)
        receipt = Receipt(
            parcel.execution_id, parcel.digest, parcel.size, destination.name, place, destination=destination.at
        )
        return _json(UploadAnswer(receipt=self._signer.receipt(receipt)))

    async def _abort(self, request: web.Request) -> web.Response:
        right = self._right(request)
        await self._destinations.store.abort(right.execution_id)
        if (taker := (await self._destinations.of(right)).taker) is not self._destinations.store:
            with discreet(right.publisher):
                await taker.abort(right.execution_id)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    def _right(self, request: web.Request) -> UploadRight:
        return self._doorkeeper.upload(bearer_of(request.headers), request.match_info["execution_id"])


async def _parcel(request: web.Request, right: UploadRight) -> Parcel:
    body = bytearray()
    try:
        async for piece in pieces(request.content):
            body += piece  # in as many pieces as the network makes of it
            if len(body) > PARCEL_BYTES:
                raise Invalid("That is no parcel.")
        parcel = Parcel.model_validate_json(bytes(body))
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise Invalid(f"The parcel cannot be read: {fields}.") from error
    if parcel.execution_id != right.execution_id:
        raise Invalid("The parcel is another execution's.")
    if parcel.size > right.most_bytes:
        raise ResultTooLarge(
            f"The result has {parcel.size} bytes; at most {right.most_bytes} are taken.",
            hint="Leave less in the result paths, or raise SKREI_MOST_UPLOAD_BYTES of the scheduler.",
        )
    return parcel


def status_of(error: SkreiError) -> HTTPStatus:
    """Return how an error of an upload is answered."""
    return STATUS.get(str(error.code), HTTPStatus.INTERNAL_SERVER_ERROR)


def _json(answer: BaseModel) -> web.Response:
    return web.Response(body=answer.model_dump_json().encode(), content_type="application/json")
