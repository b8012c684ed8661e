"""The door for lists of inputs: the node that listed brings one, executions read their part of it."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus

from aiohttp import web

from skrei_kit.observability import get_logger
from skrei_plugin_api.aside import to_its_end
from skrei_publisher.doorkeeper import Doorkeeper, TokenRefused, bearer_of
from skrei_publisher.manifest_store import ManifestStore
from skrei_publisher.straight_body import pieces

log = get_logger()

MOST_TOKENS = 10_000
"""Tokens of which it is known what they have brought: each is good for half an hour, and has a few hundred bytes."""


class ManifestDoor:
    """The routes of manifests."""

    def __init__(self, store: ManifestStore, doorkeeper: Doorkeeper) -> None:
        self._store = store
        self._doorkeeper = doorkeeper
        self._brought: OrderedDict[str, str] = OrderedDict()  # by token: which list

    def routes(self) -> list[web.RouteDef]:
        """Return what an application serves of it."""
        return [web.put("/manifests/{digest}", self._take), web.get("/manifests/{digest}", self._give)]

    async def _take(self, request: web.Request) -> web.Response:
        """Take one in, whole; one that is here already is taken once more, and is the same."""
        token = bearer_of(request.headers)
        right = self._doorkeeper.listing(token)
        digest = request.match_info["digest"]
        if self._store.find(digest) is None:
            with self._one_of(token, digest), self._store.begin(right.most_bytes) as incoming:
                async for piece in pieces(request.content):
                    await to_its_end(partial(incoming.write, piece))
                await to_its_end(partial(incoming.finish, digest))
            log.info("manifest_stored", job_id=right.job_id, node_id=right.node_id, used_bytes=self._store.used_bytes)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    @contextmanager
    def _one_of(self, token: str, digest: str) -> Iterator[None]:
        """Let a token bring one list; another than that is refused, unless the first did not come whole."""
        if self._brought.setdefault(token, digest) != digest:
            raise TokenRefused("The token has brought its list already.", status=HTTPStatus.FORBIDDEN)
        if len(self._brought) > MOST_TOKENS:
            self._brought.popitem(last=False)
        try:
            yield
        except BaseException:
            self._brought.pop(token, None)
            raise

    async def _give(self, request: web.Request) -> web.StreamResponse:
        """Give one, or a range of it."""
        digest = request.match_info["digest"]
        self._doorkeeper.manifest(bearer_of(request.headers), digest)
        path = self._store.find(digest)
        if path is None:
            raise web.HTTPNotFound(reason="That list of an input is not here (any more)")
        headers = {"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff"}
        return web.FileResponse(path, headers=headers)
