"""Many small results at once: a publisher's door sends them as one tar, where it knows how.

What does not come that way, whatever the reason, is fetched by itself, as where nobody knows bundles: only then is it
told what is wrong.
"""

import hashlib
import tarfile
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import httpx2

from skrei.client import AsyncClient
from skrei.job_parts import Result

MOST_RESULTS = 256
"""Of one bundle, as the door has it."""
SMALL_BYTES = 64 * 1024
"""Of a result that a node tells with its end: the door has others as files, and sends each by itself."""
MOST_ANSWER_BYTES = 16 * 1024 * 1024
"""Of one answer, which is held in memory: the door's own bound several times over."""
STORED = "urlDownload"
"""The type of a result that lies in Skrei's own store."""
_SUFFIX = ".tar.gz"


def bundled(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """Return which results may come together, from which door: those of which two or more could."""
    doors: dict[str, list[Result]] = {}
    for result in results:
        if door := _door_of(result):
            doors.setdefault(door, []).append(result)
    found = [
        (door, some[at : at + MOST_RESULTS]) for door, some in doors.items() for at in range(0, len(some), MOST_RESULTS)
    ]
    return [(door, some) for door, some in found if len(some) > 1]


async def bring(client: AsyncClient, door: str, wanted: Sequence[Result]) -> dict[str, bytes] | None:
    """Return those archives that came whole, by their execution; None where the door sends no bundle of these."""
    asked = [{"execution_id": each.execution_id, "token": _token_of(each.url)} for each in wanted]
    body = bytearray()
    try:
        async with client.download(door, {}, asked=asked) as response:
            if response.status_code != HTTPStatus.OK:
                return None
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > MOST_ANSWER_BYTES:
                    return None
    except httpx2.TransportError:
        if not body:  # as where something on the way lets such questions go unanswered: none is asked again
            return None
        # Else what came until then is good, and the rest is asked for again while any comes.
    return read(bytes(body), wanted)


def read(body: bytes, wanted: Sequence[Result]) -> dict[str, bytes]:
    """Return those archives of a bundle that are whole, and what the API said of them; it may end anywhere.

    Each lies in it as it is. Whatever else a tar may hold (links, holes, headers of their own) is passed by: nothing is
    made of it that is larger than what came.
    """
    digests = {f"{each.execution_id}{_SUFFIX}": each.digest for each in wanted}
    found: dict[str, bytes] = {}
    at = 0
    while True:
        try:
            entry = tarfile.TarInfo.frombuf(body[at : at + tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        except tarfile.TarError:
            return found  # its end, or where it was cut off
        if entry.size < 0:
            return found
        at += tarfile.BLOCKSIZE
        data = body[at : at + entry.size]
        if f"sha256:{hashlib.sha256(data).hexdigest()}" == digests.get(entry.name):
            found[entry.name.removesuffix(_SUFFIX)] = data
        at += -(-entry.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _door_of(result: Result) -> str:
    """Return where a result can be asked for beside others; empty where it comes by itself."""
    small = result.size is not None and result.size <= SMALL_BYTES
    if result.kind != STORED or result.whole is not None or not (small and result.digest and _token_of(result.url)):
        return ""
    door, _, name = result.url.partition("?")[0].rpartition("/")
    return door if door.endswith("/results") and name == f"{result.execution_id}{_SUFFIX}" else ""


def _token_of(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("token", [""])[0]
