"""Uploads to servers that are not the publisher: the digests that they check, and what their noes mean."""

import base64
import hashlib
import re
from http import HTTPStatus
from pathlib import Path

import aiohttp

from skrei_compute_agent.upload_errors import Away, Differs, ResultDamaged
from skrei_domain.job_reading import printable
from skrei_domain.uploads import Parcel
from skrei_plugin_api import answers
from skrei_plugin_api.outbound import Forbidden

ERROR_BYTES = 4 * 1024
"""Read of an answer that is an error: its code and its sentence stand at its beginning."""
READ_BYTES = 1024 * 1024
"""Read at once where digests are computed."""
_DIGESTS = {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
"""What servers of objects call bytes that are not those that were announced."""
_CODE = re.compile(rb"<Code>([A-Za-z0-9._-]{1,100})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,500})</Message>")


class Stale(Away):
    """A server does not take what its plan says: the address may have expired, so that the next plan has another."""


def pieces_of(path: Path, parcel: Parcel, piece_bytes: int) -> Parcel:
    """Return a parcel with the digests of its pieces. Blocks. Raises ResultDamaged where the file is another one."""
    whole, found, left = hashlib.sha256(), [], parcel.size
    with path.open("rb") as file:
        while left:
            piece, size = hashlib.sha256(), min(piece_bytes, left)
            while size and (data := file.read(min(size, READ_BYTES))):
                whole.update(data)
                piece.update(data)
                size -= len(data)
                left -= len(data)
            if size:
                break
            found.append(base64.b64encode(piece.digest()).decode())
    if f"sha256:{whole.hexdigest()}" != parcel.digest:
        raise ResultDamaged("the packed result was damaged on this node's disk")
    return parcel.model_copy(update={"piece_bytes": piece_bytes, "pieces": tuple(found)})


async def check(response: aiohttp.ClientResponse) -> None:
    """Raise what an answer that is not 2xx means: Differs, or Away where another plan, or just time, may help."""
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    body = await answers.body(response, ERROR_BYTES)
    code, message = _found(_CODE, body), _found(_MESSAGE, body)
    words = ": ".join(filter(None, (code, message))) or response.reason or ""
    said = f"{response.url.host} answers {response.status} {words}".rstrip()
    if code in _DIGESTS:
        raise Differs(said)
    passing = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status in passing:
        raise Away(said)
    raise Stale(said)


def forbidden(error: Forbidden) -> Stale:
    """Return the error of a server that this node may not ask."""
    return Stale(f"this node may not send it there: {error}")


def _found(pattern: re.Pattern[bytes], body: bytes) -> str:
    found = pattern.search(body)
    return printable(found[1].decode("utf-8", "replace")) if found else ""
