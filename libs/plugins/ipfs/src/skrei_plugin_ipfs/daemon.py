"""An IPFS daemon that is asked for blocks, and not believed: each is checked against its name."""

import asyncio

import aiohttp

from skrei_domain.errors import Unavailable
from skrei_plugin_api import answers
from skrei_plugin_api.storage import StageFailed, StageProblem
from skrei_plugin_ipfs.cid import Cid
from skrei_plugin_ipfs.endpoint import Endpoint
from skrei_plugin_ipfs.version import told

ANSWER_SECONDS = 5.0
"""What a daemon has beyond the time to look for a block to accept a connection, and to say that it found nothing."""
BLOCK_BYTES = 4 * 1024**2
"""The largest block that is taken: daemons exchange none above 2 MiB."""
TRIES = 3
"""How often a block is asked for where the line to the daemon breaks: one that restarts is back by then."""
PAUSE_SECONDS = 0.5
"""Between them."""

_GONE = ("not found", "could not find", "timed out", "deadline exceeded", "no providers", "not have")
"""What daemons say of a block that nobody has, within texts that differ from one to the next."""


class IpfsAway(Unavailable):
    """The daemon cannot be reached, or says that it is in trouble; another try may succeed."""

    code = "input-unavailable"


class Daemon:
    """Brings blocks."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None

    async def block(self, cid: Cid) -> bytes:
        """Return the block of a name. Raises StageFailed where nobody has it, and IpfsAway."""
        if (inline := cid.inline) is not None:
            return inline
        for left in reversed(range(TRIES)):
            try:
                block = await self._ask(cid)
                break
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
                if not left:
                    cause = str(error) or type(error).__name__
                    raise IpfsAway(
                        f"the IPFS daemon at {self._endpoint.url} does not answer: {cause}",
                        hint="look whether it runs: ipfs id",
                    ) from error
            await asyncio.sleep(PAUSE_SECONDS)
        if not cid.names(block):
            raise StageFailed(
                StageProblem.INVALID,
                f"the IPFS daemon at {self._endpoint.url} sends something else for {cid}",
                hint="its store may be damaged: ipfs repo verify",
            )
        return block

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, cid: Cid) -> bytes:
        base = self._endpoint.url
        if self._endpoint.gateway:
            asking = self._client().get(
                f"{base}/ipfs/{cid}?format=raw", headers={"Accept": "application/vnd.ipld.raw"}, allow_redirects=False
            )
        else:
            asking = self._client().post(f"{base}/api/v0/block/get?arg={cid}&timeout={self._endpoint.find_seconds:g}s")
        async with asking as response:
            body = await _body(response, cid)
            if response.status == 200:
                return body
            raise _refusal(response.status, body, cid, base)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=self._endpoint.find_seconds + ANSWER_SECONDS, sock_connect=ANSWER_SECONDS
            )
            self._session = aiohttp.ClientSession(timeout=timeout)
        return self._session


async def _body(response: aiohttp.ClientResponse, cid: Cid) -> bytes:
    """Return what comes. Raises StageFailed for more than any block has."""
    said = await answers.body(response, BLOCK_BYTES + 1)
    if len(said) > BLOCK_BYTES:
        raise StageFailed(StageProblem.TOO_LARGE, f"the block {cid} has more than {BLOCK_BYTES:,} bytes")
    return said


def _refusal(status: int, body: bytes, cid: Cid, base: str) -> StageFailed | IpfsAway:
    """Return what an answer other than the block means."""
    said = told(body) or f"status {status}"
    if status in (404, 410, 504) or (status != 503 and any(each in said.lower() for each in _GONE)):
        return StageFailed(
            StageProblem.MISSING,
            f"nobody whom the IPFS daemon at {base} knows has {cid}: {said}",
            hint="look whether the CID is right, and whether whoever has it is online",
        )
    if status in (401, 403):
        return StageFailed(StageProblem.DENIED, f"the IPFS daemon at {base} refuses {cid}: {said}")
    return IpfsAway(f"the IPFS daemon at {base} cannot give {cid}: {said}")
