"""Inputs from a real IPFS node and results to it: by the contracts, in every shape of files, and in a whole stack."""

import hashlib
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from skrei_plugin_api.archives import entries
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.publisher import DestinationAway, PublishDenied, Published, Publisher
from skrei_plugin_api.registry import storages
from skrei_plugin_api.storage import SourceSpec, StageLimits, StageProblem, Storage
from skrei_plugin_api.testing import Behaviour, ForwarderContract, NoBlobs, StorageContract, archive
from skrei_plugin_ipfs import adding
from skrei_plugin_ipfs.dag import SETTINGS
from skrei_plugin_ipfs.publisher import IpfsPublisher
from skrei_plugin_ipfs.storage import IpfsStorage
from tests.support.ipfs_node import IpfsNode, node
from tests.support.live_stack import LiveStack, live_stack, module_job, noise_job
from tests.support.wat import ROOT_FD, behaving

__all__ = ["node"]
NOBODY_HAS = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
LARGE = b"".join(hashlib.sha256(each.to_bytes(4, "big")).digest() for each in range(40_000))
"""1.28 MB that no two blocks have in common: five of them."""


def plugin_options(node: IpfsNode) -> dict[str, str]:
    return {"ipfs_api": node.url, "ipfs_find_seconds": "1"}  # one without a network waits as long as it may


@pytest.fixture
async def storage(node: IpfsNode, tmp_path: Path) -> AsyncIterator[Storage]:
    made = storages().load("IPFS")(PluginContext(tmp_path / "state", options=plugin_options(node)))
    yield made
    await made.close()


class TestIpfs(StorageContract):
    invalid: ClassVar[Mapping[str, Params]] = {"CID": {"CID": "hello"}}

    @pytest.fixture(autouse=True)
    def named(self, node: IpfsNode) -> None:
        self.node = node

    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        return SourceSpec("ipfs", {"CID": self.node.add(files)}, "/in")

    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        return SourceSpec("ipfs", {"CID": NOBODY_HAS}, "/in"), StageProblem.MISSING


@pytest.mark.parametrize(
    "options",
    [
        {"raw-leaves": "true"},
        {"raw-leaves": "false"},
        {"cid-version": "0", "cid-base": "base58btc"},
        {"trickle": "true"},
        {"chunker": "size-20000"},
        {"hash": "sha2-512"},
        {"shard-split-threshold": "2"},
    ],
    ids=str,
)
async def test_files_come_as_they_were_added_however_they_are_kept(
    storage: Storage, node: IpfsNode, tmp_path: Path, options: dict[str, str]
) -> None:
    files = {"large": LARGE, "deep/er/small": b"s", "deep/empty": b"", "ünicode name": b"u"}
    source = SourceSpec("ipfs", {"CID": node.add(files, **options)}, "/in")
    mount = await storage.stage(source, tmp_path / "in", StageLimits(), NoBlobs(tmp_path))
    found = [path for path in mount.source.rglob("*") if path.is_file()]
    assert {str(path.relative_to(mount.source)): path.read_bytes() for path in found} == files


@pytest.fixture
async def publisher(node: IpfsNode, tmp_path: Path) -> AsyncIterator[Publisher]:
    made = IpfsPublisher(PluginContext(tmp_path / "state", options=plugin_options(node)))
    await made.start()
    yield made
    await made.close()


class TestPublisher(ForwarderContract):
    invalid: ClassVar[Mapping[str, Params]] = {"Bucket": {"Bucket": "b"}}

    @pytest.fixture(autouse=True)
    def named(self, node: IpfsNode, tmp_path: Path) -> None:
        self.node = node
        self.folder = tmp_path

    def read(self, published: Published) -> Mapping[str, bytes]:
        cid = str(published.params["CID"])
        return {name: self.node.cat(f"{cid}/{name}") for name in self.node.files(cid)}

    async def test_its_name_is_pinned_and_can_be_an_input(self, publisher: Publisher) -> None:
        cid = str((await self.bring(publisher, self.files)).params["CID"])
        assert self.node.pinned(cid)
        storage = IpfsStorage(publisher.context)
        source = SourceSpec("ipfs", {"CID": f"{cid}/out"}, "/in")
        mount = await storage.stage(source, self.folder / "in", StageLimits(), NoBlobs(self.folder))
        assert (mount.source / "table.csv").read_bytes() == self.files["out/table.csv"]
        await storage.close()

    async def test_it_is_packed_again_as_it_was(self, publisher: Publisher) -> None:
        published = await self.bring(publisher, self.files)
        with archive(self.files) as (path, _):
            for first in (0, 10_000):
                async with publisher.read("e-1", published.params, first=first) as pieces:
                    assert b"".join([piece async for piece in pieces]) == path.read_bytes()[first:]

    async def test_what_a_daemon_keeps_in_another_form_is_compared(
        self, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = await self.bring(publisher, self.files)
        monkeypatch.setattr(adding, "SETTINGS", {**SETTINGS, "chunker": "size-10000"})
        published = await self.bring(publisher, self.files)
        assert published != usual
        assert self.read(published) == self.files

    async def test_a_daemon_that_names_something_else_is_not_believed(self, publisher: Publisher) -> None:
        other = self.node.add(dict.fromkeys(self.files, b"other"))
        async with lying(self.node, other) as url:
            liar = IpfsPublisher(PluginContext(self.folder, options={"ipfs_api": url}))
            with pytest.raises(PublishDenied, match="which is not the result that it got"):
                await self.bring(liar, self.files)
            await liar.close()


@asynccontextmanager
async def lying(node: IpfsNode, cid: str) -> AsyncIterator[str]:
    """Serve what a node does, but for the name of what is added."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        if request.path == "/api/v0/add":
            return web.json_response({"Name": "", "Hash": cid})
        url = f"{node.url}{request.path_qs}"
        async with aiohttp.ClientSession() as session, session.post(url) as there:
            return web.Response(status=there.status, body=await there.read())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_a_daemon_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    away = IpfsPublisher(PluginContext(tmp_path, options={"ipfs_api": "http://127.0.0.1:1"}))
    with pytest.raises(DestinationAway, match="does not answer"):
        await away.reach({})
    with pytest.raises(DestinationAway) as raised:
        await TestPublisher().bring(away, TestPublisher.files)
    assert "ipfs id" in raised.value.hint
    await away.close()


async def test_a_gateway_is_told_to_take_nothing(tmp_path: Path) -> None:
    gateway = IpfsPublisher(PluginContext(tmp_path, options={"ipfs_gateway": "http://127.0.0.1:1"}))
    with pytest.raises(PublishDenied, match="a gateway, which takes nothing"):
        await gateway.reach({})


@pytest.fixture(scope="module")
def allowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that jobs may write to."""
    return tmp_path_factory.mktemp("allowed")


@pytest.fixture(scope="module")
def stack(node: IpfsNode, allowed: Path) -> Iterator[LiveStack]:
    options = ",".join(f"{name}={value}" for name, value in plugin_options(node).items())
    with live_stack(
        "--allow-local", f"{allowed}/**:rw", env={"SKREI_PLUGIN_OPTIONS": options, "SKREI_SEND_LEFT": "true"}
    ) as started:
        yield started


def reading(cid: str, name: str) -> dict[str, Any]:
    module = behaving(Behaviour(print_file=f"/{name}"), file_fd=ROOT_FD + 1)  # an input that is a folder is open
    job = module_job(module)
    source = {"Source": {"Type": "ipfs", "Params": {"CID": cid}}, "Target": "/in"}
    job["Job"]["Tasks"][0]["InputSources"].append(source)
    return job


@pytest.mark.row("6.1/ipfs")
def test_a_job_reads_what_its_cid_names_and_one_of_what_nobody_has_fails_with_that_cause(
    stack: LiveStack, node: IpfsNode
) -> None:
    cid = node.add({"rows.txt": b"from ipfs\n", "large": LARGE})
    there, again, gone = (stack.submit(reading(each, "rows.txt")) for each in (cid, cid, NOBODY_HAS))
    assert stack.wait_for([there, again, gone], 60) == {there: "Completed", again: "Completed", gone: "Failed"}
    for job_id in (there, again):
        (execution,) = stack.call("GET", f"/jobs/{job_id}/executions")["Items"]
        assert execution["RunOutput"]["Stdout"] == "from ipfs\n"
    executions = stack.call("GET", f"/jobs/{gone}/executions")["Items"]
    assert len(executions) == 1, "another try would not find it either"
    told = executions[0]["ComputeState"]["Message"]
    assert told.startswith(f"nobody whom the IPFS daemon at {node.url} knows has {NOBODY_HAS}"), told


@pytest.mark.row("6.2/ipfs")
def test_a_job_publishes_to_the_daemon_and_the_next_one_reads_it_there(stack: LiveStack, node: IpfsNode) -> None:
    first = reading(node.add({"rows.txt": b"from ipfs\n", "beside": b""}), "rows.txt")
    first["Job"]["Tasks"][0]["Publisher"] = {"Type": "ipfs"}
    job_id = stack.submit(first)
    assert stack.wait_for([job_id], 60) == {job_id: "Completed"}
    (result,) = stack.call("GET", f"/jobs/{job_id}/results")["Items"]
    assert result["Type"] == "ipfs"
    cid = result["Params"]["CID"]
    assert node.pinned(cid)
    assert node.cat(f"{cid}/stdout") == b"from ipfs\n"
    (execution,) = stack.call("GET", f"/jobs/{job_id}/executions")["Items"]
    assert execution["PublishedResult"]["Type"] == "ipfs"
    assert execution["PublishedResult"]["Params"]["CID"] == cid
    following = stack.submit(reading(cid, "stdout"))
    assert stack.wait_for([following], 60) == {following: "Completed"}
    (execution,) = stack.call("GET", f"/jobs/{following}/executions")["Items"]
    assert execution["RunOutput"]["Stdout"] == "from ipfs\n"


@pytest.mark.row("6.2/local-directory")
def test_what_stays_on_its_node_lies_there_and_nothing_of_it_is_uploaded(stack: LiveStack, allowed: Path) -> None:
    """Beside the daemon, since a stack of its own would take longer than all that is looked at here."""
    here, nowhere = noise_job(1), noise_job(1)
    for job, path in ((here, allowed / "out"), (nowhere, allowed.parent / "other")):
        job["Job"]["Tasks"][0]["Publisher"] = {"Type": "localDirectory", "Params": {"Path": str(path)}}
    job_id, refused = stack.submit(here), stack.submit(nowhere)
    assert stack.wait_for([job_id, refused], 60) == {job_id: "Completed", refused: "Failed"}
    why = stack.call("GET", f"/jobs/{refused}")["Job"]["State"]["Message"]
    assert f"`skrei serve --allow-local '{allowed.parent}/other/**:rw'` on that node would allow it" in why
    (result,) = stack.call("GET", f"/jobs/{job_id}/results")["Items"]
    (execution,) = stack.call("GET", f"/jobs/{job_id}/executions")["Items"]
    place = allowed / "out" / job_id / execution["ID"]
    told = result["Params"]
    assert (result["Type"], told["Path"], told["Bytes"]) == ("localDirectory", str(place), 2**20 + 1)
    assert execution["PublishedResult"]["Params"]["NodeID"] == execution["NodeID"]
    assert (place / "stdout").stat().st_size == 2**20, "what is Completed is there"
    assert told["Size"] < 20_000, "the beginning of what was said, which packs no smaller"
    sent = told["Archive"]
    with urllib.request.urlopen(sent["URL"], timeout=60) as response:
        content = response.read()
    assert (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) == (sent["Digest"], sent["Size"])


@pytest.mark.row("6.2/local-directory")
def test_of_what_a_path_leaves_on_its_node_nothing_is_uploaded_and_it_is_sent_where_its_owner_allows(
    stack: LiveStack, node: IpfsNode, allowed: Path, tmp_path: Path
) -> None:
    job = module_job(behaving(Behaviour(say="said", write={"first/secret": "s" * 99, "second/shared": "p"})))
    (task,) = job["Job"]["Tasks"]
    here = {"Type": "localDirectory", "Params": {"Path": str(allowed), "Key": "scans/{jobID}"}}
    task["ResultPaths"] = [
        {"Name": "first", "Path": "/first", "Publisher": here},
        {"Name": "second", "Path": "/second", "Publisher": {"Type": "ipfs"}},
    ]
    job_id = stack.submit(job)
    assert stack.wait_for([job_id], 60) == {job_id: "Completed"}
    place = allowed / "scans" / job_id
    assert (place / "first/secret").read_text() == "s" * 99, "what is Completed is there"
    assert [each.name for each in place.parent.iterdir()] == [job_id], "and nothing beside it"
    found = {
        tuple(each["Params"]["ResultPaths"]): each for each in stack.call("GET", f"/jobs/{job_id}/results")["Items"]
    }
    assert set(found) == {(), ("first",), ("second",)}
    assert node.cat(f"{found['second',]['Params']['CID']}/second/shared") == b"p"
    told = found["first",]["Params"]
    assert (found["first",]["Type"], told["Path"], told["Bytes"], "URL" in told) == (
        "localDirectory",
        str(place),
        99,
        False,
    )
    with urllib.request.urlopen(told["Archive"]["URL"], timeout=60) as response:
        content = response.read()
    assert (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) == (told["Digest"], told["Size"])
    with urllib.request.urlopen(found[()]["Params"]["URL"], timeout=60) as response:
        (tmp_path / "rest").write_bytes(response.read())
    assert [each.path for each in entries(tmp_path / "rest")] == [".", "stdout", "stderr", "exitCode"]
