"""Where inline results are before they are stored: the API's internal route, which reads them from the record."""

from http import HTTPStatus
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import aiohttp

from skrei_domain.errors import SkreiError


class SourceAway(SkreiError):
    """The API cannot be asked right now."""

    code: ClassVar[str] = "source-away"
    retryable: ClassVar[bool] = True


class ApiSource:
    """Fetches results from the API with the stack's internal token."""

    def __init__(self, session: aiohttp.ClientSession, *, api_url: str, token: str, most_bytes: int) -> None:
        self._session = session
        self._base = f"{api_url.rstrip('/')}/internal/results"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._most_bytes = most_bytes

    async def fetch(self, execution_id: str) -> bytes | None:
        """Return the result, or None when the record holds none. Raises SourceAway when that cannot be known."""
        url = f"{self._base}/{quote(execution_id, safe='')}"
        try:
            async with self._session.get(url, headers=self._headers) as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    return None
                if response.status != HTTPStatus.OK:
                    raise SourceAway(f"The API answered {response.status} for the result of {execution_id}.")
                content = await response.content.read(self._most_bytes + 1)
                while len(content) <= self._most_bytes and (more := await response.content.read(self._most_bytes)):
                    content += more
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceAway(f"The API does not answer: {error}", execution_id=execution_id) from error
        if len(content) > self._most_bytes:
            raise SourceAway(f"The API sent more than {self._most_bytes} bytes for {execution_id}.")
        return content


def read_token(path: Path) -> str:
    """Return the token in a file, without its line end."""
    return path.read_text(encoding="ascii").strip()
