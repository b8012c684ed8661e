"""What is written to S3, by presigned requests: uploads in parts, single objects, and what a refusal means.

Each is tried again where that may help; what remains is an error of the contract of publishers, in the server's words.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, unescape

import aiohttp

from skrei_domain.job_reading import printable
from skrei_plugin_api import answers
from skrei_plugin_api.publisher import DestinationAway, PublishDenied, PublishError
from skrei_plugin_api.storage import StageFailed
from skrei_plugin_s3.again import again
from skrei_plugin_s3.failures import (
    AMAZON,
    CREDENTIALS,
    REDIRECTS,
    REGIONS,
    RENEWED,
    Cut,
    KeysEnded,
    KeysRefused,
    S3Away,
    code_in,
    passes,
    region_in,
)
from skrei_plugin_s3.targets import Target

if TYPE_CHECKING:
    from skrei_plugin_s3.client import Client

ANSWER_BYTES = 2 * 1024 * 1024
"""Read of an answer: a thousand parts of an upload have half a megabyte."""
MOST_KEYS = 200_000
"""Below the key of one result, those of others among them: twice the files that one may have."""
TOLD_CHARS = 300
"""Of the sentence with which a server refuses."""
META = "x-amz-meta-skrei-"
"""Headers of objects that say whose result they are."""

_MESSAGE = re.compile(rb"<Message>([^<]{1,1000})</Message>")
_PART = re.compile(r"<Part>(.*?)</Part>", re.DOTALL)
_FIELD = re.compile(r"<(PartNumber|ETag|Size|ChecksumSHA256)>([^<]*)</\1>")


class UploadGone(PublishError):
    """There is no such upload (any more): it was completed, or aborted."""

    code = "upload-gone"


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has come. `checksum` is empty where the server keeps none."""

    number: int
    size: int
    etag: str
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a server says of an object."""

    etag: str = ""
    version: str = ""
    checksum: str = ""
    digest: str = ""
    execution: str = ""
    size: int = 0


class Objects:
    """One bucket as the publisher's credentials see it."""

    def __init__(self, client: "Client", target: Target) -> None:
        self._client = client
        self._target = target

    @property
    def trusted(self) -> bool:
        """Whether the control plane's owner named the server."""
        return self._client.trusted

    async def check_bucket(self) -> None:
        """Return where the bucket is there. Raises PublishDenied, DestinationAway."""
        await self._ask("HEAD", "", what="the bucket")

    async def begin(self, key: str, meta: Mapping[str, str]) -> str:
        """Begin an upload in parts; return its id."""
        headers = {META + name: text for name, text in meta.items()} | {"x-amz-checksum-algorithm": "SHA256"}
        _, body = await self._ask("POST", key, query={"uploads": ""}, headers=headers, what="an upload in parts")
        found = re.search(rb"<UploadId>([^<]+)</UploadId>", body)
        if found is None:
            raise PublishDenied(f"{self._where} begins no upload in parts: is it a server of objects?")
        return unescape(found[1].decode())

    async def parts(self, key: str, upload: str) -> list[Part]:
        """Return the parts that have come, in order. Raises UploadGone."""
        found: list[Part] = []
        while True:
            after = {"part-number-marker": str(found[-1].number)} if found else {}
            _, body = await self._ask("GET", key, query={"uploadId": upload, **after}, what="the parts of an upload")
            page = [_part(text) for text in _PART.findall(body.decode("utf-8", "replace"))]
            found += page
            if not page or b"<IsTruncated>true" not in body:
                return found

    async def part_address(self, key: str, upload: str, number: int, checksum: str, seconds: int) -> str:
        """Return an address to which a part (numbered from 1) may be put, with the header of its digest."""
        query = {"partNumber": str(number), "uploadId": upload}
        return await self._client.presigned(
            "PUT", self._target.bucket, key, query=query, headers=checksum_header(checksum), seconds=seconds
        )

    async def put_part(self, key: str, upload: str, number: int, data: bytes, checksum: str) -> None:
        """Put a part."""
        query = {"partNumber": str(number), "uploadId": upload}
        await self._ask("PUT", key, query=query, headers=checksum_header(checksum), data=data, what="a part")

    async def complete(self, key: str, upload: str, parts: Sequence[Part]) -> Stored:
        """Make an upload the object. Raises UploadGone."""
        text = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
            + (f"<ChecksumSHA256>{escape(part.checksum)}</ChecksumSHA256>" if part.checksum else "")
            + "</Part>"
            for part in parts
        )
        data = f"<CompleteMultipartUpload>{text}</CompleteMultipartUpload>".encode()
        headers, body = await self._ask("POST", key, query={"uploadId": upload}, data=data, what="the end of an upload")
        told = dict(re.findall(r"<(ETag|ChecksumSHA256)>([^<]*)</", body.decode("utf-8", "replace")))
        return Stored(
            etag=unescape(told.get("ETag", ""), _QUOTES).strip('"'),
            version=_version(headers),
            checksum=told.get("ChecksumSHA256", ""),
        )

    async def abort(self, key: str, upload: str) -> None:
        """Drop an upload; one that is gone is fine."""
        try:
            await self._ask("DELETE", key, query={"uploadId": upload}, what="an upload")
        except UploadGone:
            return

    async def put(self, key: str, data: bytes, checksum: str, meta: Mapping[str, str]) -> Stored:
        """Put an object in one piece."""
        headers = {META + name: text for name, text in meta.items()} | checksum_header(checksum)
        told, _ = await self._ask("PUT", key, headers=headers, data=data, what=f"the object {printable(key)}")
        return Stored(etag=told.get("etag", "").strip('"'), version=_version(told), checksum=checksum)

    async def head(self, key: str) -> Stored | None:
        """Return what is said of an object; None where there is none."""
        try:
            told, _ = await self._ask("HEAD", key, headers={"x-amz-checksum-mode": "ENABLED"}, what="an object")
        except UploadGone:
            return None
        return Stored(
            etag=told.get("etag", "").strip('"'),
            version=_version(told),
            checksum=told.get("x-amz-checksum-sha256", ""),
            digest=told.get(META + "digest", ""),
            execution=told.get(META + "execution", ""),
            size=int(told.get("content-length", 0)),
        )

    async def address(self, key: str, seconds: int, version: str = "") -> str:
        """Return an address by which whoever has it may read an object for a while."""
        query = {"versionId": version} if version else {}
        return await self._client.presigned("GET", self._target.bucket, key, query=query, seconds=seconds)

    @asynccontextmanager
    async def read(self, key: str, version: str, first: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an object from a byte on. Raises UploadGone where there is none, PublishDenied, DestinationAway."""
        headers = {"Range": f"bytes={first}-"} if first else {}
        url, signed = await self._client.signed(self._target.bucket, key, version, headers)
        try:
            async with self._client.wire.request("GET", url, signed) as response:
                if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                    body = await answers.body(response, ANSWER_BYTES)
                    raise self._refused(response, code_in(body), body, "the object")
                yield response.content.iter_any()
        except Cut as cut:
            raise self._away(cut) from cut
        except StageFailed as error:
            raise PublishDenied(error.message, hint=error.hint) from error

    async def below(self, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix. Raises PublishDenied, also for more than a result has."""
        found: list[str] = []
        after: str | None = None
        try:
            while True:
                page = await again(partial(self._client.page, self._target.server, prefix, after), self._where)
                found += [each.key for each in page.objects]
                if len(found) > MOST_KEYS:
                    raise PublishDenied(f"there are more than {MOST_KEYS:,} objects below {self._target.at}")
                if (after := page.following) is None:
                    return found
        except S3Away as error:
            cut = error.__cause__
            raise self._away(cut if isinstance(cut, Cut) else Cut(error.message)) from error
        except StageFailed as error:
            raise PublishDenied(error.message, hint=error.hint) from error

    @asynccontextmanager
    async def whole(self, key: str) -> AsyncIterator[tuple[Stored | None, AsyncIterator[bytes]]]:
        """Open an object, with what is said of it; None where it has gone. Raises PublishDenied, DestinationAway."""
        url, signed = await self._client.signed(self._target.bucket, key, "", {})
        try:
            async with self._client.wire.request("GET", url, signed) as response:
                told = {name.lower(): text for name, text in response.headers.items()}
                if response.status < HTTPStatus.MULTIPLE_CHOICES:
                    size, execution = int(told.get("content-length", 0)), told.get(META + "execution", "")
                    yield Stored(execution=execution, size=size), response.content.iter_any()
                    return
                body = await answers.body(response, ANSWER_BYTES)
                error = self._refused(response, code_in(body), body, "the object")
                if not isinstance(error, UploadGone):
                    raise error
                yield None, response.content.iter_any()
        except Cut as cut:
            raise self._away(cut) from cut
        except StageFailed as error:
            raise PublishDenied(error.message, hint=error.hint) from error

    # ------------------------------------------------------------ helpers

    @property
    def _where(self) -> str:
        return self._client.server or AMAZON

    async def _ask(
        self,
        method: str,
        key: str,
        *,
        what: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """Return headers and body of an answer that is well. Raises UploadGone, PublishDenied, DestinationAway."""

        async def once() -> tuple[dict[str, str], bytes]:
            url = await self._client.presigned(
                method, self._target.bucket, key, query=query or {}, headers=headers or {}
            )
            async with self._client.wire.request(method, url, headers or {}, data) as response:
                body = await answers.body(response, ANSWER_BYTES)
                code = code_in(body)
                if response.status >= HTTPStatus.MULTIPLE_CHOICES or b"<Error>" in body.lstrip()[:200]:
                    if passes(response.status, code):
                        raise Cut(f"the server answers {response.status} {code}".rstrip())
                    raise self._refused(response, code, body, what)
                return {name.lower(): text for name, text in response.headers.items()}, body

        try:
            return await again(once, self._where)
        except S3Away as error:
            cut = error.__cause__
            raise self._away(cut if isinstance(cut, Cut) else Cut(error.message)) from error
        except StageFailed as error:
            raise PublishDenied(error.message, hint=error.hint) from error

    def _away(self, cut: Cut) -> PublishError:
        """Return the error of a server that was not reached."""
        return DestinationAway(f"{self._where} cannot be reached: {cut}")

    def _refused(self, response: aiohttp.ClientResponse, code: str, body: bytes, what: str) -> PublishError:
        """Return what an answer means that stays as it is."""
        status, where, bucket = response.status, self._where, self._target.bucket
        region = response.headers.get("x-amz-bucket-region", "") or region_in(body)
        message = _MESSAGE.search(body)
        words = printable(unescape(message[1].decode("utf-8", "replace"), _QUOTES))[:TOLD_CHARS] if message else ""
        said = f"{status} {code}".rstrip() + (f": {words}" if words else "")
        if code in ("NoSuchUpload", "NoSuchKey") or (
            status == HTTPStatus.NOT_FOUND and not code and what == "an object"
        ):
            return UploadGone(f"{where} has no {what} {self._target.at} ({said})")
        if code == "NoSuchBucket" or (status == HTTPStatus.NOT_FOUND and not code):
            return PublishDenied(f"there is no bucket {bucket} at {where} ({said})", hint=_LOOK)
        misplaced = code == "AuthorizationQueryParametersError" and self._client.region in words  # its scope names it
        if misplaced or code in REGIONS or status in REDIRECTS or region not in ("", self._client.region):
            told = f" but in {printable(region)}" if region else ""
            return PublishDenied(
                f"the bucket {bucket} is not in the region {self._client.region}{told} ({said})",
                hint="name its Region, and the Endpoint at which it is",
            )
        if code in RENEWED:
            return KeysEnded(f"the credentials of the publisher have ended at {where} ({said})", hint=_KEYS)
        if code in CREDENTIALS:
            return KeysRefused(f"{where} does not take the credentials of the publisher ({said})", hint=_KEYS)
        if status == HTTPStatus.FORBIDDEN and not code and what in ("the bucket", "an object"):
            return PublishDenied(
                f"{where} answers {said} where it is asked for {what} {self._target.at}: the publisher's "
                "credentials may not know of it, or it is not there",
                hint="without s3:ListBucket S3 says so of both: look at Bucket, or allow that too",
            )
        if status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED) or code == "AccessDenied":
            return PublishDenied(
                f"{where} refuses {what} of {self._target.at} with the credentials of the publisher ({said})",
                hint="they need s3:PutObject, s3:GetObject, s3:ListMultipartUploadParts, s3:AbortMultipartUpload",
            )
        return PublishDenied(f"{where} answers {said} where {what} of {self._target.at} was asked for")


_QUOTES = {"&quot;": '"', "&#34;": '"', "&apos;": "'", "&#39;": "'"}
_LOOK = "look at Bucket, Region and Endpoint"
_KEYS = "its owner gives it others: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile (docs/RESULTS.md)"


def checksum_header(checksum: str) -> dict[str, str]:
    """Return the header that has a server check what comes."""
    return {"x-amz-checksum-sha256": checksum}


def _version(headers: Mapping[str, str]) -> str:
    told = headers.get("x-amz-version-id", "")
    return "" if told == "null" else told


def _part(text: str) -> Part:
    told = dict(_FIELD.findall(text))
    etag = unescape(told.get("ETag", ""), _QUOTES)
    return Part(int(told.get("PartNumber", 0)), int(told.get("Size", 0)), etag, told.get("ChecksumSHA256", ""))
