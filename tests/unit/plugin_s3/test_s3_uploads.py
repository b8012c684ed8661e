"""Uploads to S3 that are begun twice at once, and those that nobody goes on with."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skrei_domain.uploads import Parcel
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.publisher import DestinationAway, PublishDenied, PublishError
from skrei_plugin_s3.failures import KeysEnded, KeysRefused
from skrei_plugin_s3.objects import Objects, Part, Stored
from skrei_plugin_s3.publisher import S3Publisher
from skrei_plugin_s3.targets import PART_BYTES, Target

PARCEL = Parcel(execution_id="e-1", digest=f"sha256:{0:064}", size=10, piece_bytes=PART_BYTES, pieces=("x",))
PARAMS = {"Bucket": "data", "Key": "k"}


class Bucket:
    """What a publisher asks of a server of objects; uploads begin once the `gate` is open."""

    trusted = True

    def __init__(self) -> None:
        self.gate, self.began = asyncio.Event(), asyncio.Event()
        self.begun = 0
        self.aborted: list[str] = []
        self.away: set[str] = set()
        self.refuses: Exception | None = None

    async def begin(self, _key: str, _meta: Mapping[str, str]) -> str:
        self.begun += 1
        self.began.set()
        await self.gate.wait()
        return f"upload-{self.begun}"

    async def parts(self, _key: str, _upload: str) -> list[Part]:
        return []

    async def part_address(self, _key: str, upload: str, number: int, _checksum: str, _seconds: int) -> str:
        return f"https://s3/{upload}/{number}"

    async def complete(self, key: str, _upload: str, _parts: object) -> Stored:
        if self.refuses is not None:
            raise self.refuses
        return Stored(etag=key)

    async def abort(self, key: str, _upload: str) -> None:
        if key in self.away:
            raise DestinationAway("nobody answers")
        self.aborted.append(key)


class Uploads(S3Publisher):
    """The publisher over such a bucket."""

    def __init__(self, folder: Path) -> None:
        super().__init__(PluginContext(folder))
        self.bucket = Bucket()

    @asynccontextmanager
    async def _objects(self, target: Target) -> AsyncIterator[Any]:
        yield self.bucket

    def age(self, seconds: float) -> None:
        """Make all that was begun so old."""
        for path in (self.context.state_dir / "uploads").iterdir():
            os.utime(path, (time.time() - seconds,) * 2)


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path)


async def test_a_plan_that_is_asked_for_twice_at_once_begins_one_upload(uploads: Uploads) -> None:
    plans = [asyncio.create_task(uploads.plan(PARCEL, {}, params=PARAMS)) for _ in range(2)]
    await uploads.bucket.began.wait()
    await asyncio.to_thread(uploads._notes.count)
    uploads.bucket.gate.set()
    first, second = await asyncio.gather(*plans)
    assert first == second
    assert [request.url for request in first.requests] == ["https://s3/upload-1/1"]
    assert uploads.bucket.begun == 1


@pytest.mark.parametrize(
    ("options", "key", "wrong"),
    [
        ({"s3managed_bucket": "data", "s3managed_key": "all/"}, "all/j-1/e-1", ["Key"]),
        ({"s3managed_bucket": "data", "s3managed_key": "all"}, "allowed/x", []),
        ({"s3managed_bucket": "data"}, "x", ["Key"]),
        ({"s3managed_bucket": "other"}, "x", []),
        ({"s3managed_buckett": "data"}, "x", []),
        ({}, "x", []),
    ],
)
def test_no_job_writes_among_the_results_of_the_owner_s_bucket(
    tmp_path: Path, options: dict[str, str], key: str, wrong: list[str]
) -> None:
    publisher = S3Publisher(PluginContext(tmp_path, options=options))
    assert [each.path for each in publisher.validate({"Bucket": "data", "Key": key})] == wrong


async def test_a_server_that_is_away_holds_up_no_other_s_uploads_and_is_forgotten_in_the_end(uploads: Uploads) -> None:
    uploads.bucket.gate.set()
    for name in ("e-1", "e-2", "e-3"):
        parcel = PARCEL.model_copy(update={"execution_id": name})
        await uploads.plan(parcel, {}, params={**PARAMS, "Key": name})
    uploads.bucket.away = {"e-1.tar.gz", "e-2.tar.gz"}
    uploads.age(150.0)
    await uploads.tidy(older_than_seconds=100.0)
    assert (uploads.bucket.aborted, uploads._notes.count()) == (["e-3.tar.gz"], 2)
    uploads.age(250.0)
    await uploads.tidy(older_than_seconds=100.0)
    assert uploads._notes.count() == 0


PLACE = '["data","k.tar.gz","","","upload-1",8388608]'


@pytest.mark.parametrize("keys", [KeysEnded("ended"), KeysRefused("unknown")])
async def test_what_was_taken_in_waits_for_other_credentials(uploads: Uploads, keys: PublishError) -> None:
    uploads.bucket.refuses = keys
    with pytest.raises(DestinationAway, match=keys.message):
        await uploads.finalise(PARCEL, PLACE)
    uploads.bucket.refuses = None
    assert (await uploads.finalise(PARCEL, PLACE)) is not None
    uploads.bucket.refuses = PublishDenied("no such bucket")
    with pytest.raises(PublishDenied, match="no such bucket"):
        await uploads.finalise(PARCEL, PLACE)


@pytest.mark.parametrize(
    ("status", "code", "what", "kind", "said"),
    [
        (400, "ExpiredToken", "a part", KeysEnded, "have ended at S3 (400 ExpiredToken"),
        (403, "InvalidAccessKeyId", "a part", KeysRefused, "does not take the credentials of the publisher"),
        (403, "", "the bucket", PublishDenied, "know of it, or it is not there"),
        (403, "", "an object", PublishDenied, "know of it, or it is not there"),
        (403, "AccessDenied", "a part", PublishDenied, "refuses a part of s3://data/k"),
    ],
)
def test_a_refusal_is_final_only_where_nothing_changes_it(
    status: int, code: str, what: str, kind: type[PublishError], said: str
) -> None:
    client: Any = SimpleNamespace(server="", region="eu-west-1")
    response: Any = SimpleNamespace(status=status, headers={})
    error = Objects(client, Target("data", "k"))._refused(response, code, b"", what)
    assert type(error) is kind
    assert said in error.message
