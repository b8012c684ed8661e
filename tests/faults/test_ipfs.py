"""Inputs from a real IPFS node: by the contract of storages, in every shape of files, and in a whole stack."""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.registry import storages
from skrei_plugin_api.storage import SourceSpec, StageLimits, StageProblem, Storage
from skrei_plugin_api.testing import Behaviour, NoBlobs, StorageContract
from tests.support.ipfs_node import IpfsNode, node
from tests.support.live_stack import LiveStack, live_stack, module_job
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


@pytest.fixture(scope="module")
def stack(node: IpfsNode) -> Iterator[LiveStack]:
    with live_stack(
        env={"SKREI_PLUGIN_OPTIONS": ",".join(f"{name}={value}" for name, value in plugin_options(node).items())}
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
