"""Pieces of output to the publisher's door over HTTP."""

from http import HTTPStatus

import aiohttp

from skrei_compute_agent.shipping import LogDoorAway, LogRefused
from skrei_kit.proxies import through

CONNECT_SECONDS = 5.0
"""How long the publisher may take to accept a connection."""
ANSWER_SECONDS = 30.0
"""How long one piece may take: what is slower comes again from where the publisher has it."""

_NEVER = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.GONE}


class LogPost:
    """A client of `POST <door>/logs/<execution>/<start>/<stream>`."""

    def __init__(self) -> None:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout)

    async def send(self, url: str, token: str, offset: int, data: bytes, *, last: bool) -> tuple[int, bool]:
        """Return how much the publisher has now, and whether it takes no more.

        A piece that does not go on where its log ends is not an error: the answer says where it does. Raises
        LogDoorAway where another try may succeed, LogRefused where none will.
        """
        query = {"offset": str(offset)} | ({"end": "1"} if last else {})
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self._session.post(
                url, params=query, data=data, headers=headers, proxy=through(url)
            ) as response:
                if response.status in _NEVER:
                    raise LogRefused(f"the publisher answered {response.status}")
                if response.status not in (HTTPStatus.OK, HTTPStatus.CONFLICT):
                    raise LogDoorAway(f"the publisher answered {response.status}")
                said = await response.json()
                return int(said["have"]), bool(said.get("cut"))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LogDoorAway(str(error) or type(error).__name__) from error
        except (ValueError, KeyError, TypeError) as error:
            raise LogDoorAway("what answers is not a publisher") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
