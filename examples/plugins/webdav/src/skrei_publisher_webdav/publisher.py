"""The `webdav` publisher: each result as a tar.gz on the WebDAV server that its owner names.

The owner says where the server is and who we are there (`SKREI_PLUGIN_OPTIONS` of the publisher's process); a job says
only which path below it. What is sent has a hidden name until all of it has come; then one MOVE gives it its own, so
that whoever looks sees the whole result or none.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlsplit

import aiohttp

from skrei_domain.job_reading import FieldProblem, show
from skrei_domain.uploads import Parcel
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginInfo, param
from skrei_plugin_api.publisher import DestinationAway, Forwarder, NotReadable, PublishDenied, Published

URL_OPTION = "webdav_url"
LOGIN_OPTION = "webdav_login_file"
SUFFIX = ".tar.gz"
PATH_CHARACTERS = 1_000
"""Of a path: servers and file systems take little more."""
CONNECT_SECONDS = 5.0
"""How long the server may take to accept a connection."""
ANSWER_SECONDS = 120.0
"""How long it may take for an answer: one that syncs to slow disks takes its time."""


class WebdavPublisher(Forwarder):
    """Brings archives, and gives them to whoever may not read at the server."""

    plugin_api = PLUGIN_API
    name = "webdav"
    version = "0.5.0"

    async def describe(self) -> PluginInfo:
        """Say whether its owner names a server, and a login that can be read."""
        try:
            self._base()
            await asyncio.to_thread(self._login)
        except PublishDenied as error:
            return PluginInfo(available=False, reason=error.message)
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name a path that is none, or would lead out of the server's folder. Pure."""
        path = param(params, "Path")
        if path is None or (isinstance(path, str) and len(path) <= PATH_CHARACTERS and _is_below(path)):
            return []
        return [FieldProblem("Path", show(path), "a path below the server's folder, such as `weekly/{jobID}`")]

    def at(self, params: Params) -> str:
        """Name the server: its results wait for it together. Pure."""
        return f"webdav at {urlsplit(self.context.options.get(URL_OPTION, '')).hostname or 'no server'}"

    async def reach(self, params: Params) -> None:
        """Ask the server whether its folder is there and ours. Raises PublishDenied and DestinationAway."""
        async with self._session() as session:
            await _ask(session, "PROPFIND", self._base(), {"Depth": "0"})

    async def forward(self, parcel: Parcel, content: Path, params: Params) -> Published:
        """Send the archive, then give it its name. Twice is once. Raises PublishDenied and DestinationAway."""
        folders, name = _place(param(params, "Path") or parcel.execution_id)
        folder = self._base()
        async with self._session() as session:
            for each in folders:
                folder = f"{folder}/{quote(each, safe='')}"
                await _ask(session, "MKCOL", folder, there=HTTPStatus.METHOD_NOT_ALLOWED)
            hidden = f"{folder}/.{quote(parcel.execution_id, safe='')}.part"
            url = f"{folder}/{quote(name, safe='')}"
            with await asyncio.to_thread(content.open, "rb") as file:
                await _ask(session, "PUT", hidden, {"Content-Length": str(parcel.size)}, file)
            await _ask(session, "MOVE", hidden, {"Destination": url, "Overwrite": "T"})
        return Published({"URL": url})

    @asynccontextmanager
    async def read(self, execution_id: str, params: Params, *, first: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an archive from a byte on, for `skrei job get`. Raises what publishers raise."""
        url = str(param(params, "URL"))
        if not url.startswith(f"{self._base()}/"):
            raise NotReadable(f"it lies at another server: {url}", execution_id=execution_id)
        async with self._session() as session, _asked(session, "GET", url, {"Range": f"bytes={first}-"}) as response:
            if first and response.status != HTTPStatus.PARTIAL_CONTENT:
                raise DestinationAway("the WebDAV server gives no part of a file")
            yield response.content.iter_any()

    def _base(self) -> str:
        url = self.context.options.get(URL_OPTION, "")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise PublishDenied(f"its owner names no WebDAV server ({URL_OPTION}=https://host/folder)")
        return url.rstrip("/")

    def _login(self) -> dict[str, str]:
        """Return the headers that say who we are at the server. Blocks."""
        if not (path := self.context.options.get(LOGIN_OPTION, "")):
            return {}
        try:
            login = Path(path).read_bytes().strip()
        except OSError as error:
            raise PublishDenied(f"{path} ({LOGIN_OPTION}) cannot be read: {error}") from error
        return {"Authorization": f"Basic {base64.b64encode(login).decode()}"}

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)
        login = await asyncio.to_thread(self._login)
        async with aiohttp.ClientSession(headers=login, timeout=limits) as session:
            yield session


async def _ask(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: dict[str, str] | None = None,
    data: object = None,
    *,
    there: HTTPStatus | None = None,
) -> None:
    """Ask for something, and return once it is done. `there`: what says that it has been done before."""
    async with _asked(session, method, url, headers, data, there=there):
        return


@asynccontextmanager
async def _asked(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: dict[str, str] | None = None,
    data: object = None,
    *,
    there: HTTPStatus | None = None,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Ask for something, and give its answer. Raises PublishDenied and DestinationAway."""
    try:
        async with session.request(method, url, headers=headers, data=data, allow_redirects=False) as response:
            if response.status != there:
                _check(method, url, response.status)
            yield response
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
        cause = str(error) or "no answer"
        raise DestinationAway(f"the WebDAV server cannot be reached: {cause}") from error


def _check(method: str, url: str, status: int) -> None:
    """Raise what an answer that is not 2xx means."""
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return
    said = f"the WebDAV server answers {method} {urlsplit(url).path} with {status}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise PublishDenied(said, hint=f"look at the login ({LOGIN_OPTION}), and at who may write there")
    if status == HTTPStatus.NOT_FOUND:
        raise PublishDenied(said, hint=f"the folder of {URL_OPTION} has to be there")
    if status == HTTPStatus.INSUFFICIENT_STORAGE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise DestinationAway(said)
    raise PublishDenied(said)


def _is_below(path: str) -> bool:
    parts = path.split("/")
    return all(part and part.strip(".") and part.isprintable() for part in parts)


def _place(path: str) -> tuple[list[str], str]:
    """Return the folders of a path, and the name of the archive in the last of them."""
    *folders, name = path.split("/")
    return folders, name if name.endswith(SUFFIX) else f"{name}{SUFFIX}"
