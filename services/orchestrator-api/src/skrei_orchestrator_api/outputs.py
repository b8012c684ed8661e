"""What a finished execution said, from the archive that it left."""

import asyncio
import io
import tarfile
import urllib.error
import urllib.request
import zlib

from skrei_domain.errors import NotFound, Unavailable

STREAMS = {"stdout": 1, "stderr": 2}
"""Members of a result's archive, and the numbers that log readers know them by."""

MAX_ARCHIVE_BYTES = 16 * 1024 * 1024
"""What is fetched to show logs; the whole result has its own download."""
MAX_OUTPUT_BYTES = 16 * 1024 * 1024
"""What is unpacked to show logs: a small archive may claim to hold much more."""
FETCH_SECONDS = 10


def unpack(archive: bytes) -> list[tuple[int, str]]:
    """Return (stream, text) for stdout and stderr of a result's tar.gz, at most MAX_OUTPUT_BYTES of each.

    Raises Unavailable for an archive that cannot be read.
    """
    found: list[tuple[int, str]] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r|gz") as members:
            for member in members:
                stream = STREAMS.get(member.name.removeprefix("./"))
                if stream is not None and member.isfile() and (file := members.extractfile(member)) is not None:
                    found.append((stream, file.read(MAX_OUTPUT_BYTES).decode("utf-8", "replace")))
                if len(found) == len(STREAMS):
                    break
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise Unavailable("the stored result cannot be read") from error
    return sorted(found)


async def fetch(url: str) -> bytes:
    """Return what the publisher holds at `url`. Raises NotFound or Unavailable."""
    return await asyncio.to_thread(_fetch, url)


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as response:  # the publisher's own, from settings
            data: bytes = response.read(MAX_ARCHIVE_BYTES + 1)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (404, 410):
                raise NotFound("the result is not stored any more") from error
            raise Unavailable(f"the publisher answered {error.code}") from error
    except OSError as error:
        raise Unavailable("the publisher cannot be reached", hint="try again in a moment") from error
    if len(data) > MAX_ARCHIVE_BYTES:
        raise Unavailable("the result is too large to show its logs", hint="fetch it with `skrei job get`")
    return data
