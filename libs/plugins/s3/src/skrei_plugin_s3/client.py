"""The one module that knows aioboto3: credentials, addresses, regions, listings, and how a request is signed.

Requests go out by our own wire: it judges where they lead, and fetching an object by aioboto3 takes three times the
processor time of signing its request and reading the answer (docs/PERFORMANCE.md).
"""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aioboto3
import aiohttp
import botocore
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from botocore.utils import parse_timestamp

from skrei_domain.object_servers import REGION, server
from skrei_plugin_api import answers
from skrei_plugin_api.outbound import Outbound
from skrei_plugin_api.storage import StageFailed, StageProblem
from skrei_plugin_s3.failures import AMAZON, REDIRECTS, Asked, Cut, elsewhere, passes, refused
from skrei_plugin_s3.params import S3Input
from skrei_plugin_s3.wire import Wire, check

MOST_BUCKETS = 256
"""Whose addresses a client keeps: some hundred bytes each."""
PAGE_KEYS = 1000
"""Of one page of a listing: S3 gives no more."""

ANSWER_BYTES = 16 * 1024 * 1024
"""Of one answer: a thousand of the longest keys, each character escaped, have half of it."""
_AMAZON = {"addressing_style": "virtual"}
"""Else the library names the one endpoint of all regions where it is asked for an address, which leads elsewhere."""
NO_TEXTS: Mapping[str, str] = MappingProxyType({})
_PROBE = "k"
"""The key that stands for all where the address of a bucket is asked for."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing, or the head of one. `modified` is in seconds since 1970."""

    key: str
    size: int
    etag: str
    modified: int
    version: str = ""
    checksum: str = ""
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects, and where the next ones begin; None after the last."""

    objects: Sequence[Listed]
    following: str | None


class Client:
    """One server as this node's credentials see it, in one region."""

    def __init__(self, boto: Any, wire: Wire, credentials: Any, region: str, *, trusted: bool = True) -> None:
        self.wire = wire
        self.trusted = trusted
        self.region = region
        self.anonymous = credentials is None
        self.server = _server_of(boto)
        self._boto = boto
        self._credentials = credentials
        self._addresses: OrderedDict[str, tuple[str, str]] = OrderedDict()
        boto.meta.events.register("before-send.s3", self._send)

    def asked(self, wanted: S3Input, key: str = "", *, listing: bool = False) -> Asked:
        """Return what errors say of a request."""
        what = f"s3://{wanted.bucket}" if listing and not key else wanted.at(key)
        where = self.server or AMAZON
        return Asked(what, where, wanted.bucket, self.region, self.anonymous, listing, wanted.version)

    async def head(self, wanted: S3Input) -> Listed:
        """Return what is said of one object. Raises Cut, and StageFailed with the cause."""
        asked = self.asked(wanted, wanted.key)
        version = {"VersionId": wanted.version} if wanted.version else {}
        checksum = {"ChecksumMode": "ENABLED"} if wanted.checksum else {}
        call = self._boto.head_object(Bucket=wanted.bucket, Key=wanted.key, **version, **checksum)
        try:
            said = await self._answer(call, asked)
        except StageFailed:
            await self._cause(wanted, asked)  # the head of an object has no room for the reason
            raise
        return Listed(
            key=wanted.key,
            size=int(said["ContentLength"]),
            etag=said.get("ETag", "").strip('"'),
            modified=int(said["LastModified"].timestamp()) if "LastModified" in said else 0,
            version=_version(said.get("VersionId")),
            checksum=said.get("ChecksumSHA256", ""),
            folder=str(said.get("ContentType", "")).startswith("application/x-directory"),
        )

    async def page(self, wanted: S3Input, prefix: str, after: str | None) -> Page:
        """Return some objects whose keys begin with `prefix`, in the order of their keys. Raises as `head`."""
        more = {"ContinuationToken": after} if after else {}
        call = self._boto.list_objects_v2(Bucket=wanted.bucket, Prefix=prefix, MaxKeys=PAGE_KEYS, **more)
        said = await self._answer(call, self.asked(wanted, prefix, listing=True))
        objects = [
            Listed(
                each["Key"], int(each["Size"]), each.get("ETag", "").strip('"'), int(each["LastModified"].timestamp())
            )
            for each in said.get("Contents", ())
        ]
        return Page(objects, said.get("NextContinuationToken") if said.get("IsTruncated") else None)

    async def signed(
        self, bucket: str, key: str, version: str, headers: Mapping[str, str]
    ) -> tuple[str, Mapping[str, str]]:
        """Return address and headers of a request for the bytes of an object."""
        base, region = await self._address(bucket)
        url = base + quote(key, safe="/-_.~") + (f"?versionId={quote(version, safe='-_.~')}" if version else "")
        if self._credentials is None:
            return url, headers
        request = AWSRequest("GET", url, headers=dict(headers))
        request.context["client_config"] = self._boto.meta.config
        S3SigV4Auth(await self._credentials.get_frozen_credentials(), "s3", region).add_auth(request)
        return url, dict(request.headers)

    async def presigned(
        self,
        method: str,
        bucket: str,
        key: str,
        *,
        query: Mapping[str, str] = NO_TEXTS,
        headers: Mapping[str, str] = NO_TEXTS,
        seconds: int = 300,
    ) -> str:
        """Return an address by which anybody may ask this for a while, with exactly these headers beside it.

        An empty `key` is the bucket itself. The body is not signed: a digest of it may stand among the headers.
        """
        base, region = await self._address(bucket)
        words = "&".join(f"{quote(name, safe='-_.~')}={quote(text, safe='-_.~')}" for name, text in query.items())
        where = base + quote(key, safe="/-_.~") if key else base.removesuffix("/")
        request = AWSRequest(method, where + (f"?{words}" if words else ""), headers=dict(headers))
        frozen = await self._credentials.get_frozen_credentials()
        S3SigV4QueryAuth(frozen, "s3", region, expires=seconds).add_auth(request)
        return str(request.url)

    async def _address(self, bucket: str) -> tuple[str, str]:
        """Return what the addresses of a bucket's objects begin with, and the region that it is in."""
        if bucket not in self._addresses:
            url = await self._boto.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": _PROBE})
            parts = urlsplit(url)
            scope = parse_qs(parts.query).get("X-Amz-Credential", [""])[0].split("/")
            region = scope[-3] if len(scope) > 3 else self.region
            base = parts._replace(query="", fragment="").geturl().removesuffix(_PROBE)
            self._addresses[bucket] = (base, region)
            if len(self._addresses) > MOST_BUCKETS:
                self._addresses.popitem(last=False)
        return self._addresses[bucket]

    async def _cause(self, wanted: S3Input, asked: Asked) -> None:
        """Ask for one byte of what was refused, and raise what is said then."""
        url, headers = await self.signed(wanted.bucket, wanted.key, wanted.version, {"Range": "bytes=0-0"})
        async with self.wire.request("GET", url, headers) as response:
            await check(response, asked)

    async def _answer(self, call: Any, asked: Asked) -> dict[str, Any]:
        try:
            said: dict[str, Any] = await call
            return said
        except ClientError as error:
            told, answer = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
            status, code = int(answer.get("HTTPStatusCode", 0)), str(told.get("Code", ""))
            code = "" if code.isdecimal() else code  # what an answer without a body is called
            if passes(status, code):
                raise Cut(f"the server answers {status} {code}".rstrip()) from error
            region = answer.get("HTTPHeaders", {}).get("x-amz-bucket-region") or told.get("Region") or ""
            raise refused(asked, status, code, region) from error
        except BotoCoreError as error:
            raise _unusable(error) from error

    async def _send(self, request: Any, **_: Any) -> Any:
        """Send what aioboto3 prepared, by our wire."""
        headers = {
            name: each.decode() if isinstance(each, bytes) else str(each) for name, each in request.headers.items()
        }
        async with self.wire.request(request.method, request.url, headers) as response:
            if self.server and response.status in REDIRECTS:
                # Only Amazon knows another place of a bucket; of others the library asks without end.
                raise elsewhere(self.server, response.status)
            body = _Body(await _whole(response, self.server or AMAZON))
        told = {name.lower(): value for name, value in response.headers.items()}
        return AioAWSResponse(request.url, response.status, told, body)


async def _whole(response: aiohttp.ClientResponse, where: str) -> bytes:
    """Return all of an answer that the library reads. Raises StageFailed for one without end."""
    data = await answers.body(response, ANSWER_BYTES + 1)
    if len(data) > ANSWER_BYTES:
        raise StageFailed(StageProblem.INVALID, f"{where} answers with more than a listing can have")
    return data


class _Body:
    """An answer that has come, as aioboto3 reads one."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        return self._data


@dataclass(frozen=True, slots=True)
class Account:
    """What AWS's own settings say of one profile: `core` has credentials and settings, `boto` makes clients of it;
    `named` are the servers that the owner of the node named in them."""

    core: AioSession
    boto: Any
    named: frozenset[str]

    async def client(
        self, wanted: S3Input, rules: Outbound | None, stack: AsyncExitStack, *, anonymous: bool
    ) -> Client:
        """Return a client that lives until `stack` ends. `rules` hold for servers that only the job names; None: no
        job names any.

        Raises StageFailed, also for a node without credentials unless that may be `anonymous`.
        """
        try:
            return await self._client(wanted, rules, stack, anonymous)
        except BotoCoreError as error:
            raise _unusable(error) from error

    async def _client(self, wanted: S3Input, rules: Outbound | None, stack: AsyncExitStack, anonymous: bool) -> Client:
        credentials = await self.core.get_credentials()
        if credentials is None and not anonymous:
            raise StageFailed(
                StageProblem.DENIED,
                "this node has no credentials for S3",
                hint="its owner sets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or s3_anonymous=true",
            )
        region = wanted.region or self.core.get_config_variable("region") or REGION
        trusted = not wanted.endpoint or server(wanted.endpoint) in self.named
        wire = Wire(None if trusted else rules, self.core.get_config_variable("ca_bundle") or "")
        stack.push_async_callback(wire.close)
        own_ways = wanted.endpoint or self.named or self.core.get_scoped_config().get("s3")
        config = AioConfig(
            signature_version=botocore.UNSIGNED if credentials is None else "s3v4",
            retries={"total_max_attempts": 1},  # tried again by our own rules
            proxies={},  # the wire knows
            s3=None if own_ways else _AMAZON,
        )
        boto = await stack.enter_async_context(
            self.boto.client("s3", endpoint_url=wanted.endpoint or None, region_name=region, config=config)
        )
        return Client(boto, wire, credentials, region, trusted=trusted or rules is None)


def load(profile: str, instance_role: bool) -> Account:
    """Return the account of a profile, of the node's own for an empty one. Blocks: much is read. Raises StageFailed."""
    try:
        return _load(profile, instance_role)
    except BotoCoreError as error:
        raise _unusable(error) from error


def _load(profile: str, instance_role: bool) -> Account:
    session = AioSession(profile=profile or None)
    chain = session.get_component("credential_provider")
    if not instance_role:
        for name in ("container-role", "iam-role"):
            chain.remove(name)
    session.register_component("data_loader", _data())
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    named = _endpoints(session, own=not profile)
    return Account(session, aioboto3.Session(botocore_session=session), named)


def _moment(said: Any) -> datetime:
    """Read a time; those of listings are half of what reading a listing costs, where the library reads them."""
    try:
        return datetime.fromisoformat(said)
    except (TypeError, ValueError):
        read: datetime = parse_timestamp(said)
        return read


@cache
def _data() -> Loader:
    """Return the library's descriptions of S3, read once: some megabytes of JSON."""
    loader = Loader()
    for kind in ("service-2", "endpoint-rule-set-1", "paginators-1"):
        loader.load_service_model("s3", kind)
    for name in ("endpoints", "partitions", "sdk-default-configuration"):
        loader.load_data(name)
    return loader


def _endpoints(session: AioSession, *, own: bool) -> frozenset[str]:
    """Return the servers that the owner of the node named for a profile; the variables are those of its `own`."""
    whole = session.full_config
    profile = whole.get("profiles", {}).get(session.profile or "default", {})
    services = whole.get("services", {}).get(profile.get("services", ""), {})
    named = [profile.get("endpoint_url"), services.get("s3", {}).get("endpoint_url")]
    if own:
        named += [os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")]
    return frozenset(server(each) for each in named if each)


def _server_of(boto: Any) -> str:
    """Return the server that a client speaks to; empty for Amazon's."""
    url = str(boto.meta.endpoint_url)
    host = urlsplit(url).hostname or ""
    return "" if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else server(url)


def _version(said: object) -> str:
    """Return a version that can be asked for; objects from before a bucket had versions are called `null`."""
    return said if isinstance(said, str) and said != "null" else ""


def _unusable(error: BotoCoreError) -> StageFailed:
    """Return what the library says of its settings or of a request that it does not send."""
    return StageFailed(
        StageProblem.INVALID,
        f"this node cannot ask for it: {str(error)[:500]}",
        hint="look at Bucket, Region and Endpoint; the node's owner at AWS_PROFILE and the files in ~/.aws",
    )
