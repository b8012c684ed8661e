"""A door in memory that serves results as the publisher's does, and every way in which one can go wrong."""

import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.support.fake_api import error


def archive(**members: str) -> bytes:
    """A result's tar.gz; a name with `__` in it is a path (`out__words`)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in members.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Body(httpx2.AsyncByteStream):
    """Bytes that come in pieces, and may break off."""

    def __init__(self, content: bytes, breaks: bool) -> None:
        self._content = content
        self._breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), 1000):
            yield self._content[start : start + 1000]
        if self._breaks:
            raise httpx2.ReadError("the link is gone")


@dataclass
class Door:
    """Serves `contents` by execution; `plan` says what is special about each answer, in order."""

    contents: dict[str, bytes]
    plan: list[dict[str, Any]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        step = self.plan.pop(0) if self.plan else {}
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        self.tokens.append(request.url.params.get("token", ""))
        assert "Authorization" not in request.headers
        if "raises" in step:
            raise step["raises"]
        if "status" in step:
            return error(step["status"], step.get("said", "no"))
        content = step.get("content", self.contents[request.url.path.rsplit("/", 1)[-1].removesuffix(".tar.gz")])
        etag = step.get("etag", '"one"')
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        ranged = asked and step.get("ranges", True) and request.headers.get("If-Range", etag) == etag
        if ranged and start >= len(content):
            return httpx2.Response(416, headers={"Content-Range": f"bytes */{len(content)}"})
        body = content[start:] if ranged else content
        headers = {"ETag": etag, "Content-Length": str(len(body))} | step.get("headers", {})
        if ranged:
            first = step.get("first", start)
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        sent = step.get("breaks")
        stream = Body(body if sent is None else body[:sent], sent is not None)
        return httpx2.Response(206 if ranged else 200, stream=stream, headers=headers)


def names_below(folder: Path) -> list[str]:
    """Return the files in a folder, however deep, by their paths in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
