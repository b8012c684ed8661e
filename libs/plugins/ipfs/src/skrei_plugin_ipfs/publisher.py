"""The `ipfs` publisher: results added to the operator's own IPFS daemon and pinned there; their CID is where they lie.

The CID is worked out here too, from the same bytes (`dag`): a daemon that answers with another one has either kept
them in another form, which is then read back and compared, or kept something else.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from skrei_domain.job_reading import FieldProblem, show
from skrei_domain.uploads import Parcel
from skrei_plugin_api.aside import aside
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo, param
from skrei_plugin_api.publisher import (
    DestinationAway,
    Forwarder,
    NotReadable,
    PublishDenied,
    Published,
)
from skrei_plugin_ipfs.cid import InvalidCid, parse
from skrei_plugin_ipfs.endpoint import API_OPTION, Endpoint, find

if TYPE_CHECKING:
    from skrei_plugin_ipfs.shelf import Shelf

PROBE_SECONDS = 2.0
"""How long a daemon may take to say its version before a result is sent."""

PIECE_BYTES = 256 * 1024
"""Read at once of an archive that somebody downloads."""


class IpfsPublisher(Forwarder):
    """Brings results to a daemon by its RPC, as the tree of files that they are."""

    plugin_api = PLUGIN_API
    name = "ipfs"
    version = "0.5.0"

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._shelves: dict[Endpoint, Shelf] = {}  # a daemon that was started again may listen elsewhere

    async def describe(self) -> PluginInfo:
        """Say whether its owner names a daemon that can be given something; whether that answers, `reach` finds out."""
        try:
            self._endpoint()
        except (DestinationAway, PublishDenied) as error:
            return PluginInfo(available=False, reason=f"{error.message}; {error.hint}" if error.hint else error.message)
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every parameter: it takes none."""
        expected = "nothing: this publisher has no parameters"
        return [FieldProblem(name, show(value), expected) for name, value in params.items()]

    async def reach(self, params: Params) -> None:
        """Return when the daemon answers. Raises DestinationAway, and PublishDenied where none is named."""
        from skrei_plugin_ipfs.version import version

        del params
        endpoint = self._endpoint()
        try:
            await aside(lambda: version(endpoint, PROBE_SECONDS), name="ipfs-version")
        except OSError as error:
            raise DestinationAway(
                f"the IPFS daemon at {endpoint.url} does not answer: {error}", hint="look whether it runs: ipfs id"
            ) from error

    async def forward(self, parcel: Parcel, content: Path, params: Params) -> Published:
        """Add and pin the files of a result; the same again is the same CID. Raises PublishDenied, DestinationAway."""
        del parcel, params
        return Published({"CID": str(await self._shelf().put(content))})

    def repacks(self, params: Params) -> bool:
        """A daemon has the files."""
        return True

    @asynccontextmanager
    async def read(self, execution_id: str, params: Params, *, first: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a result packed again of what the daemon has, each block checked against its name."""
        try:
            cid = parse(str(param(params, "CID") or ""))
        except InvalidCid as error:
            raise NotReadable(f"{error}", execution_id=execution_id) from error
        path = await self._shelf().archive(cid)
        with await asyncio.to_thread(path.open, "rb") as file:
            file.seek(first)
            yield _pieces(file)

    async def close(self) -> None:
        """Close the connections."""
        for shelf in self._shelves.values():
            await shelf.close()
        self._shelves.clear()

    def _shelf(self) -> "Shelf":
        from skrei_plugin_ipfs.shelf import Shelf

        endpoint = self._endpoint()
        if endpoint not in self._shelves:
            self._shelves[endpoint] = Shelf(endpoint, self.context.state_dir)
        return self._shelves[endpoint]

    def _endpoint(self) -> Endpoint:
        """Return where the daemon is. Raises PublishDenied where the owner names none that takes anything."""
        hint = f"its owner can name one: SKREI_PLUGIN_OPTIONS={API_OPTION}=/ip4/127.0.0.1/tcp/5001"
        try:
            endpoint = find(self.context.options, os.environ)
        except ValueError as error:
            raise PublishDenied(str(error)) from error
        if endpoint is None:
            raise DestinationAway("the publisher's machine has no IPFS daemon", hint=hint)
        if endpoint.gateway:
            raise PublishDenied(f"{endpoint.url} is a gateway, which takes nothing", hint=hint)
        return endpoint


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece
