"""The publishers `s3` and `s3managed` against a real server: the shared suite, and what is told where they cannot."""

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from yarl import URL

from skrei_compute_agent import uploader as uploading
from skrei_compute_agent.upload_errors import PublishFailed
from skrei_compute_agent.uploader import Uploader
from skrei_domain.messages import StagedResult
from skrei_domain.portions import Portion, heard
from skrei_domain.uploads import Parcel, UploadPlan, UploadRequest
from skrei_kit.tokens import Elsewhere, TokenSigner, UploadGrant
from skrei_plugin_api.archives import entries
from skrei_plugin_api.outbound import Outbound, networks
from skrei_plugin_api.packing import pack_result
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.publisher import DigestDiffers, NotReadable, PublishDenied, Published, Publisher, StagedGone
from skrei_plugin_api.testing import PublisherContract, in_pieces, parcel
from skrei_plugin_s3 import again
from skrei_plugin_s3 import upload_parts as module
from skrei_plugin_s3.managed_publisher import S3Managed
from skrei_plugin_s3.publisher import S3Publisher
from skrei_plugin_s3.targets import PART_BYTES
from skrei_publisher.dividing import Divider
from skrei_publisher.done import Done
from skrei_publisher.finaliser import Finaliser, fact_of
from skrei_publisher.store import digest_of
from tests.support.publisher_door import Door, a_door
from tests.support.s3_server import S3Server, s3_server

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

LOOPBACK = ("127.0.0.0/8",)
CONTENT = bytes(range(256)) * 40_000
"""Two parts, the last one shorter."""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as made:
        asyncio.run(made.make_bucket("results"))
        asyncio.run(made.make_bucket("versioned", versions=True))
        yield made


@pytest.fixture(autouse=True)
def surroundings(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher's process with the keys of the server, that waits for nothing."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(again, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(uploading, "AGAIN_SECONDS", 0.01)


async def put(request: UploadRequest, data: bytes) -> None:
    """Carry a request of a plan out as an agent does."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            request.method, URL(request.url, encoded=True), data=io.BytesIO(data), headers=request.headers
        ) as response,
    ):
        said = await response.text()
    if "BadDigest" in said or "Checksum" in said:
        raise DigestDiffers(said)
    assert response.status < 300, said


async def fetched(publisher: Publisher, published: Published | None) -> bytes | None:
    """What a reader gets by the address that is handed out."""
    opened = await publisher.open("e-1", {} if published is None else published.params)
    if opened is None:
        return None
    async with aiohttp.ClientSession() as session, session.get(URL(opened.url, encoded=True)) as response:
        return await response.read() if response.status == 200 else None


class S3Suite(PublisherContract):
    content = CONTENT

    async def send(self, publisher: Publisher, request: UploadRequest, data: bytes) -> None:
        await put(request, data)

    async def read(self, publisher: Publisher, execution_id: str, published: Published | None) -> bytes | None:
        return await fetched(publisher, published)


class TestS3(S3Suite):
    invalid: ClassVar[Mapping[str, Params]] = {
        "Bucket": {"Key": "k"},
        "Key": {"Bucket": "results", "Key": "a/../b"},
        "Encoding": {"Bucket": "results", "Key": "k", "Encoding": "zip"},
        "Buckett": {"Bucket": "results", "Key": "k", "Buckett": "x"},
        "Endpoint": {"Bucket": "results", "Key": "k", "Endpoint": "http://user:word@host"},
    }

    @pytest.fixture
    async def publisher(self, server: S3Server, tmp_path: Path) -> AsyncIterator[Publisher]:
        type(self).params = {"Bucket": "results", "Key": f"suite/{tmp_path.name}", "Endpoint": server.url}
        made = a_publisher(tmp_path)
        yield made
        await made.close()


@pytest.mark.row("6.2/s3managed")
async def test_a_managed_bucket_is_the_owner_s_and_the_job_s_params_say_nothing_of_it(
    server: S3Server, tmp_path: Path
) -> None:
    options = {"s3managed_bucket": "results", "s3managed_key": "all/", "s3managed_endpoint": server.url}
    managed = S3Managed(PluginContext(tmp_path / "state", options=options))
    assert (await managed.describe()).available
    assert managed.validate({}) == []
    assert [problem.path for problem in managed.validate({"Bucket": "x", "_place": "../x"})] == ["Bucket", "_place"]
    place = await staged(managed, {"_place": "j-1/e-1"})
    for _ in range(2):
        published = await managed.finalise(parcel(CONTENT), place)
        assert published == Published({"JobID": "j-1", "ExecutionID": "e-1"})
    assert await fetched(managed, published) == CONTENT
    assert (server.folder / "data/results/all/j-1/e-1.tar.gz").is_file()
    async with managed.read("e-1", published.params, first=1_000_000) as found:
        assert b"".join([piece async for piece in found]) == CONTENT[1_000_000:]
    await managed.close()
    assert not (await S3Managed(PluginContext(tmp_path)).describe()).available


def a_publisher(folder: Path, allow: tuple[str, ...] = LOOPBACK, name: str = "state") -> S3Publisher:
    return S3Publisher(PluginContext(folder / name, allow_addresses=allow))


def to(server: S3Server, key: str, **more: str) -> dict[str, str]:
    return {"Bucket": "results", "Key": key, "Endpoint": server.url} | more


async def staged(publisher: S3Publisher, params: Params, content: bytes = CONTENT, execution_id: str = "e-1") -> str:
    wanted = in_pieces(parcel(content, execution_id), content, PART_BYTES)
    for request in (await publisher.plan(wanted, {}, params=params)).requests:
        await put(request, content[request.first : request.first + request.size])
    return await publisher.stage(wanted.plain)


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[S3Publisher]:
    made = a_publisher(tmp_path)
    yield made
    await made.close()


@pytest.mark.row("6.2/s3", "6.2/s3-checksum")
async def test_of_two_attempts_at_one_key_the_committed_one_is_there_whatever_comes_late(
    publisher: S3Publisher, server: S3Server
) -> None:
    params, late = to(server, "one/key"), CONTENT[::-1]
    first = await staged(publisher, params)
    second = await staged(publisher, params, late, "e-2")
    published = await publisher.finalise(parcel(CONTENT), first)
    await publisher.abort("e-2")
    with pytest.raises(StagedGone):
        await publisher.finalise(parcel(late, "e-2"), second)
    assert published is not None
    assert {name: published.params[name] for name in ("Bucket", "Key")} == {
        "Bucket": "results",
        "Key": "one/key.tar.gz",
    }
    assert published.params["ChecksumSHA256"].endswith("-2")
    assert await fetched(publisher, published) == CONTENT
    assert [key for key in await server.uploads("results") if key.startswith("one/")] == []


async def test_another_process_goes_on_where_the_last_one_ended_and_completes_once(
    publisher: S3Publisher, server: S3Server, tmp_path: Path
) -> None:
    params = to(server, "again")
    wanted = in_pieces(parcel(CONTENT), CONTENT, PART_BYTES)
    plan = await publisher.plan(wanted, {}, params=params)
    await put(plan.requests[1], CONTENT[plan.requests[1].first :][: plan.requests[1].size])
    successor = a_publisher(tmp_path)
    rest = await successor.plan(wanted, {}, params=params)
    assert [each.first for each in rest.requests] == [0]
    place = await staged(successor, params)
    published = await successor.finalise(parcel(CONTENT), place)
    stranger = a_publisher(tmp_path, name="lost")  # its notes are gone with its disk
    told = await stranger.finalise(parcel(CONTENT), place)
    assert published is not None
    assert told is not None
    assert {**told.params, "ChecksumSHA256": ""} == {**published.params, "ChecksumSHA256": ""}
    for each in (successor, stranger):
        await each.close()


async def test_what_nobody_goes_on_with_is_aborted_after_a_while(publisher: S3Publisher, server: S3Server) -> None:
    await staged(publisher, to(server, "forgotten"))
    assert "forgotten.tar.gz" in await server.uploads("results")
    await publisher.tidy(older_than_seconds=3_600)
    assert "forgotten.tar.gz" in await server.uploads("results")
    await publisher.tidy(older_than_seconds=-1)
    assert "forgotten.tar.gz" not in await server.uploads("results")


@pytest.mark.row("6.2/s3-plain")
async def test_single_files_lie_below_the_key_as_they_lie_in_the_result(
    publisher: S3Publisher, server: S3Server, tmp_path: Path
) -> None:
    files = {"stdout": b"said", "outputs/a é.txt": b"A", "outputs/deep/large": CONTENT, "exitCode": b"0"}
    params = to(server, "plain", Encoding="plain", Region="us-east-1")
    assert publisher.forwards(params)
    await publisher.reach(params)
    for _ in range(2):  # an earlier try brought all of it
        published = await publisher.forward(parcel(CONTENT), archive(tmp_path, files), params)
    assert published.params == {"Bucket": "results", "Key": "plain/", "Region": "us-east-1", "Endpoint": server.url}
    found = {str(p.relative_to(server.folder / "data/results/plain")): p.read_bytes() for p in objects(server, "plain")}
    assert found == files
    assert await publisher.open("e-1", published.params) is None
    assert [key for key in await server.uploads("results") if key.startswith("plain/")] == []


async def test_single_files_are_read_as_the_archive_that_they_were_and_one_by_one(
    publisher: S3Publisher, server: S3Server, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    left = {"a/b/large": CONTENT, "a/b.txt": b"before a/b/ in S3, and after it in a result", "z/x": b"", "ü/é": b"ue"}
    for name, content in left.items():
        (work / "outputs" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "outputs" / name).write_bytes(content)
    (work / "outputs/z/empty/deep").mkdir(parents=True)
    (work / "stdout").write_bytes(b"said")
    packed = pack_result(work, ("a", "z", "ü", "nothing"), 0, inline_limit=0)
    assert packed.path is not None
    content, params = packed.path.read_bytes(), to(server, "single", Encoding="plain")
    other = archive(tmp_path, {"a/of another": b"stays there", "stdout": b"another"})
    await publisher.forward(parcel(content, "e-2"), other, params)
    published = await publisher.forward(parcel(content), packed.path, params)
    async with publisher.read("e-1", published.params) as pieces:
        assert digest_of(b"".join([piece async for piece in pieces])) == packed.digest
    async with publisher.read("e-1", published.params, first=5_000) as pieces:
        assert b"".join([piece async for piece in pieces]) == content[5_000:]
    for path, held in (("a/b.txt", {"a/b.txt"}), ("a", {"a/b.txt", "a/b/large"}), ("b", set()), ("stdou", set())):
        opening = publisher.read_part("e-1", published.params, path)
        assert opening is not None
        async with opening as pieces:
            (tmp_path / "part").write_bytes(b"".join([piece async for piece in pieces]))
        assert {each.path for each in entries(tmp_path / "part") if each.content is not None} == held
    with pytest.raises(NotReadable, match="not there any more"):
        async with publisher.read("e-9", published.params) as pieces:
            assert [piece async for piece in pieces]
    async with a_door(tmp_path / "store", s3=publisher) as door, aiohttp.ClientSession() as session:
        at = Elsewhere("s3", published.params, packed.size)
        query = {"token": TokenSigner(door.keys[0]).download("e-1", seconds=60, at=at)}
        async with session.get(f"{door.url}/results/e-1.tar.gz", params=query) as response:
            assert await response.read() == content
        async with session.get(f"{door.url}/results/e-1.tar.gz", params=query | {"path": "z/x"}) as response:
            assert (response.status, response.headers["X-Skrei-Path"]) == (200, "z/x")
        gone = Elsewhere("s3", published.params | {"Key": "none/"}, 1)
        query = {"token": TokenSigner(door.keys[0]).download("e-1", seconds=60, at=gone)}
        async with session.get(f"{door.url}/results/e-1.tar.gz", params=query) as response:
            assert (response.status, (await response.json())["Code"]) == (404, "not-readable")


@pytest.mark.parametrize("name", ["../up", "/root", "a/../../b"])
async def test_a_result_whose_files_lead_elsewhere_is_refused(
    publisher: S3Publisher, server: S3Server, tmp_path: Path, name: str
) -> None:
    with pytest.raises(PublishDenied, match="which no key may have"):
        await publisher.forward(parcel(CONTENT), archive(tmp_path, {name: b"x"}), to(server, "evil", Encoding="plain"))


NO_BUCKET = "there is no bucket absent at http://127.0.0.1:"


@pytest.mark.row("6.2/s3-refusals")
@pytest.mark.parametrize(
    ("params", "environment", "said", "hint"),
    [
        ({"Bucket": "absent"}, {}, NO_BUCKET, "look at Bucket, Region and Endpoint"),
        (
            {},
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "does not take the credentials of the publisher (403 Sign",
            "gives it",
        ),
        ({}, {"AWS_ACCESS_KEY_ID": "nobody"}, "does not take the credentials of the publisher (404 XAdmin", "gives it"),
        ({"Region": "eu-west-1"}, {}, "the bucket results is not in the region eu-west-1", "name its Region"),
        ({"Endpoint": "http://no-such-host.invalid"}, {}, "its name is not known", "or at `Endpoint`"),
    ],
)
async def test_what_cannot_be_published_says_why_before_anything_is_sent(  # noqa: PLR0917 - fixtures, and what is told
    server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    params: Mapping[str, str],
    environment: Mapping[str, str],
    said: str,
    hint: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    publisher = a_publisher(tmp_path)
    wanted = in_pieces(parcel(CONTENT), CONTENT, PART_BYTES)
    try:
        with pytest.raises(PublishDenied) as raised:
            await publisher.plan(wanted, {}, params=to(server, "k", **params))
    finally:
        await publisher.close()
    assert said in raised.value.message
    assert hint in raised.value.hint


async def test_a_server_that_a_job_names_is_judged_unless_the_owner_allows_it(server: S3Server, tmp_path: Path) -> None:
    publisher = a_publisher(tmp_path, allow=())
    wanted = in_pieces(parcel(CONTENT), CONTENT, PART_BYTES)
    with pytest.raises(PublishDenied, match=r"may not be asked.*SKREI_ALLOW_ADDRESSES"):
        await publisher.plan(wanted, {}, params=to(server, "k"))
    await publisher.close()


class Hurried(S3Publisher):
    """Its first addresses have expired as they are handed out."""

    plans = 0

    async def plan(self, *given: Any, **named: Any) -> UploadPlan:
        plan = await super().plan(*given, **named)
        if plan.requests:
            self.plans += 1
            module.ADDRESS_SECONDS = 3_600
        return plan


async def test_a_node_uploads_to_s3_directly_and_gets_new_addresses_for_those_that_have_expired(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ADDRESS_SECONDS", -1)
    path = tmp_path / "result.tar.gz"
    path.write_bytes(CONTENT)
    publisher = Hurried(PluginContext(tmp_path / "s3", allow_addresses=LOOPBACK))
    async with a_door(tmp_path / "store", s3=publisher) as door:
        uploader = Uploader(rules=Outbound(private=networks(LOOPBACK)))
        uploader.door(door.url)
        token = door.token(to="s3", params=to(server, "direct"))
        receipt = door.read(await uploader.upload(path, parcel(CONTENT), token))
        assert (receipt.publisher, door.parts(), publisher.plans >= 2) == ("s3", 0, True)
        wanted = StagedResult(
            execution_id="e-1", digest=receipt.digest, size=receipt.size, publisher="s3", place=receipt.place
        )
        fact = fact_of([await Finaliser(door.destinations).one(wanted, counts=True)])
        assert [(at.type, at.params["Key"]) for at in fact.published] == [("s3", "direct.tar.gz")]
        assert (server.folder / "data/results/direct.tar.gz").read_bytes() == CONTENT
        stranger = Uploader()
        stranger.door(door.url)
        with pytest.raises(PublishFailed, match="this node may not send it there"):
            await stranger.upload(path, parcel(CONTENT, "e-2"), door.token("e-2", to="s3", params=to(server, "other")))
        await publisher.abort("e-2")
        await publisher.close()


@pytest.mark.row("6.2/s3-checksum")
async def test_versions_are_told(publisher: S3Publisher, server: S3Server) -> None:
    params = to(server, "v", Bucket="versioned")
    first = await publisher.finalise(parcel(CONTENT), await staged(publisher, params))
    other = CONTENT[::-1]
    second = await publisher.finalise(parcel(other, "e-2"), await staged(publisher, params, other, "e-2"))
    assert first is not None
    assert second is not None
    assert first.params["VersionID"] != second.params["VersionID"]
    assert await fetched(publisher, first) == CONTENT


class Killed(S3Publisher):
    """Its process ends as it would show the second of two."""

    shown = 0

    async def finalise(self, parcel: Parcel, place: str) -> Published | None:
        self.shown += 1
        if self.shown == 2:
            raise asyncio.CancelledError
        return await super().finalise(parcel, place)


def paths_to(server: S3Server, key: str, second: str = "versioned") -> tuple[Portion, ...]:
    return (
        Portion((), "store", {}),
        Portion(("a",), "s3", to(server, f"{key}/a")),
        Portion(("b",), "s3", to(server, f"{key}/b", Bucket=second)),
        Portion(("c",), "s3", to(server, f"{key}/c", Encoding="plain")),
    )


async def brought(folder: Path, door: Door, portions: tuple[Portion, ...], execution_id: str = "e-1") -> StagedResult:
    """A result of three paths, uploaded as an agent does."""
    work = folder / f"work-{execution_id}"
    for name, content in {"a/large": CONTENT, "b/small": b"B", "c/deep/x": b"C"}.items():
        (work / "outputs" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "outputs" / name).write_bytes(content)
    (work / "stdout").write_bytes(b"said")
    packed = pack_result(work, ("a", "b", "c"), 0, inline_limit=0)
    assert packed.path is not None
    wanted = Parcel(execution_id=execution_id, digest=packed.digest, size=packed.size)
    grant = UploadGrant("store", 1 << 40, 600.0, portions=portions)
    uploader = Uploader()
    uploader.door(door.url)
    token = TokenSigner(door.keys[0]).run(execution_id, "n-1", (), seconds=60, upload=grant)
    receipt = door.read(await uploader.upload(packed.path, wanted, token))
    return StagedResult(
        execution_id=execution_id,
        digest=receipt.digest,
        size=receipt.size,
        publisher=receipt.publisher,
        place=receipt.place,
    )


def a_finaliser(door: Door) -> Finaliser:
    return Finaliser(door.destinations, None, Divider(door.destinations, Done(door.root / "divided")))


async def test_paths_go_to_two_buckets_and_the_store_though_the_process_ends_between_them(
    server: S3Server, tmp_path: Path
) -> None:
    killed = Killed(PluginContext(tmp_path / "s3", allow_addresses=LOOPBACK))
    async with a_door(tmp_path / "store", s3=killed) as door:
        staged = await brought(tmp_path, door, paths_to(server, "two"))
        assert objects(server, "two") == [], "nothing of it is seen before it has won"
        with pytest.raises(asyncio.CancelledError):
            await a_finaliser(door).one(staged, counts=True)
        await killed.close()
    successor = a_publisher(tmp_path, name="s3")
    async with a_door(tmp_path / "store", s3=successor) as door:
        fact = fact_of([await a_finaliser(door).one(staged, counts=True)])
        (at,) = fact.published
        rest, a, b, c = heard(at.params)
        kept = door.publisher.store.path("e-1").read_bytes()
        assert (rest.publisher, rest.digest) == ("store", digest_of(kept))
        for part, bucket in ((a, "results"), (b, "versioned")):
            content = await fetched(successor, Published(part.params))
            assert content is not None
            assert (part.params["Bucket"], digest_of(content), len(content)) == (bucket, part.digest, part.size)
        assert b.params["VersionID"]
        assert c.params["Key"] == "two/c/"
        found = [path.relative_to(server.folder / "data/results").as_posix() for path in objects(server, "two")]
        assert sorted(found) == ["two/a.tar.gz", "two/c/c/deep/x"]
        for bucket in ("results", "versioned"):
            assert [key for key in await server.uploads(bucket) if key.startswith("two/")] == []
        assert fact == fact_of([await a_finaliser(door).one(staged, counts=True)])
        await successor.close()


async def test_of_paths_a_loser_and_one_whose_bucket_went_leave_nothing(
    server: S3Server, publisher: S3Publisher, tmp_path: Path
) -> None:
    async with a_door(tmp_path / "store", s3=publisher) as door:
        beaten = await brought(tmp_path, door, paths_to(server, "lost"), "e-2")
        assert await a_finaliser(door).one(beaten, counts=False) is not None
        with pytest.raises(PublishFailed, match="b: there is no bucket absent"):
            await brought(tmp_path, door, paths_to(server, "lost", "absent"), "e-3")
        await server.make_bucket("passing")
        staged = await brought(tmp_path, door, paths_to(server, "lost", "passing"), "e-4")
        (server.folder / "data/passing").rmdir()
        fact = fact_of([await a_finaliser(door).one(staged, counts=True)])
        (refused,) = fact.refused
        assert refused.problem.message.startswith("b: there is no bucket passing")
        assert objects(server, "lost") == []
        assert [key for key in await server.uploads("results") if key.startswith("lost/")] == []


def archive(folder: Path, files: Mapping[str, bytes]) -> Path:
    path = folder / "result.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def objects(server: S3Server, prefix: str) -> list[Path]:
    return [path for path in (server.folder / "data/results" / prefix).rglob("*") if path.is_file()]
