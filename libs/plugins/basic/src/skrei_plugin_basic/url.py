"""The `urlDownload` storage: one file of a web server, by HTTP or HTTPS, gone on with where the line was cut.

Where it leads to is judged as for programs with a filtered network (`skrei_plugin_api.outbound`): each name is looked
up once, the connection goes to what was judged, and so at every redirect. A job is not to look around in the network
that its node stands in, whatever a name says.
"""

import hashlib
import re
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from skrei_domain.job_reading import FieldProblem, show
from skrei_plugin_api.outbound import Outbound, networks, web_parts
from skrei_plugin_api.pieces import NAME_BYTES, Entry, Piece, PieceStorage
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo, param
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits, StageProblem

if TYPE_CHECKING:
    from skrei_plugin_basic.web import Head, Web

RETRIES = 3
"""How often a transfer goes on after it was cut or refused for now: a server that restarts is back by then."""
MOST_RETRIES = 20
"""What a job may ask for."""

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}", re.IGNORECASE)
_FILENAME = re.compile(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)
_FILENAME_UTF8 = re.compile(r"filename\*\s*=\s*(?:utf-8|iso-8859-1)'[^']*'([^;\s]+)", re.IGNORECASE)


class UrlStorage(PieceStorage):
    """Brings what an address holds, as a file with the name that the server gives it."""

    plugin_api = PLUGIN_API
    name = "urlDownload"
    version = "0.5.0"

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._web: Web | None = None

    async def describe(self) -> PluginInfo:
        """Say that it works everywhere: whether a server can be reached is each job's to find out."""
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name an address that is none of the web, and a checksum that nothing can have."""
        problems = []
        if web_parts(url := param(params, "URL")) is None:
            problems.append(FieldProblem("URL", show(url), "an address that begins with http:// or https://"))
        checksum = param(params, "Checksum")
        if not (checksum is None or (isinstance(checksum, str) and _CHECKSUM.fullmatch(checksum))):
            problems.append(FieldProblem("Checksum", show(checksum), "`sha256:` and 64 hexadecimal digits"))
        retries = param(params, "MaxRetryCount")
        if not (retries is None or (type(retries) is int and 0 <= retries <= MOST_RETRIES)):
            problems.append(FieldProblem("MaxRetryCount", show(retries), f"a number from 0 to {MOST_RETRIES}"))
        return problems

    async def pieces(self, source: SourceSpec, limits: StageLimits) -> Sequence[Piece]:
        """Ask for the head of the address: its name, size and version. Raises StageFailed, and WebAway."""
        if problems := self.validate(source.params):
            raise StageFailed(StageProblem.INVALID, "; ".join(str(problem) for problem in problems))
        url = param(source.params, "URL")
        head = await self._tools().head(url, _retries(source))
        if head.size is not None and head.size > limits.max_bytes:
            raise too_large(head.url, limits)
        checksum = param(source.params, "Checksum")
        return [
            Piece(file_name(head.url, head.headers), checksum.lower() if checksum else identity(url, head), head.size)
        ]

    async def resolve(self, source: SourceSpec, limits: StageLimits) -> AsyncGenerator[Entry, None]:
        """List the one file: a job is pinned to its version, and its size is known before it is placed."""
        for piece in await self.pieces(source, limits):
            yield Entry(piece)

    async def bring(self, source: SourceSpec, limits: StageLimits, piece: Piece, folder: Path) -> None:
        """Download it. Raises StageFailed, and WebAway where another try may bring it."""
        await self._tools().download(param(source.params, "URL"), piece, folder, limits, _retries(source))

    async def close(self) -> None:
        """Close the connections."""
        if self._web is not None:
            await self._web.close()

    def _tools(self) -> "Web":
        """Return a client that is made, and imported with its library, when the first address is asked for."""
        if self._web is None:
            from skrei_plugin_basic.web import Web

            self._web = Web(Outbound(None, networks(self.context.allow_addresses)))
        return self._web


def identity(url: str, head: "Head") -> str:
    """Return what is another whenever the bytes are; where the server tells nothing, what nobody has ever had. Pure but
    for that.

    It goes by the address that was asked for: where that leads may have another signature in it each time.
    """
    versions = [head.headers.get("etag", "").removeprefix("W/"), head.headers.get("last-modified", "")]
    told = [*versions, str(head.size)] if any(versions) else [str(uuid.uuid4())]
    return "url:" + hashlib.sha256("\n".join([url, *told]).encode()).hexdigest()


def file_name(url: str, headers: Mapping[str, str]) -> str:
    """Return what a file is called: as the server says, else the last part of its path, else `download`. Pure."""
    disposition = headers.get("content-disposition", "")
    said = ""
    if found := _FILENAME_UTF8.search(disposition):
        said = unquote(found[1])
    elif found := _FILENAME.search(disposition):
        said = re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
    for name in (said, unquote(urlsplit(url).path, errors="surrogateescape").rstrip("/")):
        plain = "".join(each for each in name.replace("\\", "/").rpartition("/")[2] if each >= " " and each != "\x7f")
        kept = plain.encode("utf-8", "replace")[:NAME_BYTES].decode("utf-8", "ignore").strip()
        if kept and kept not in (".", ".."):
            return kept
    return "download"


def too_large(url: str, limits: StageLimits) -> StageFailed:
    """Return the error of a file beyond the node's limit."""
    return StageFailed(
        StageProblem.TOO_LARGE,
        f"{shown(url)} is larger than the {limits.max_bytes:,} bytes that this node takes",
        hint="the node's owner can raise SKREI_INPUT_BYTES",
    )


def shown(url: str) -> str:
    """Return an address as it may stand in a message: without what may be a secret in it."""
    parts = urlsplit(url)
    return parts._replace(
        netloc=parts.netloc.rpartition("@")[2], query="…" if parts.query else "", fragment=""
    ).geturl()


def _retries(source: SourceSpec) -> int:
    asked = param(source.params, "MaxRetryCount")
    return RETRIES if asked is None else asked
