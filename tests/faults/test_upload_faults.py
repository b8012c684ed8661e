"""A large result on its way through real processes, each of them killed while it is: it arrives once, and whole."""

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from skrei_embedded.nats import free_port
from tests.support.live_stack import LiveStack, live_stack, noise_job
from tests.support.publisher_door import Proxy, a_proxy_beside

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

MEBIBYTES = 200
SIZE = MEBIBYTES * 1024 * 1024
PART = 8 * 1024 * 1024
ON_THE_WAY = 5 * PART
"""What a cut may cost: the parts that were on the link, and what its buffers held."""
MEMORY_BYTES = 48 * 1024 * 1024
"""What an upload may add to an agent: 32 MiB, and the HTTP client that is imported with the first one."""


def memory(pid: int, what: str) -> int:
    """A figure of /proc/<pid>/status, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {what}")


def reach(stack: LiveStack, proxy: Proxy, share: float) -> None:
    """Let the upload come so far, and hold it there."""
    proxy.hold_after = int(SIZE * share)
    stack.wait_until(lambda: proxy.passed >= proxy.hold_after, 60, f"{share:.0%} have passed")


def messages(stack: LiveStack, job_id: str) -> list[str]:
    found = stack.call("GET", f"/jobs/{job_id}/history", params={"limit": 1000, "event_type": "all"})
    return [item["Event"]["Message"] for item in found["Items"]]


def fetched(stack: LiveStack, job_id: str) -> tuple[int, str]:
    """Size and digest of what a reader gets."""
    (item,) = stack.call("GET", f"/jobs/{job_id}/results")["Items"]
    hasher, size = hashlib.sha256(), 0
    with httpx2.stream("GET", item["Params"]["URL"], timeout=30) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_bytes():
            hasher.update(chunk)
            size += len(chunk)
    assert (f"sha256:{hasher.hexdigest()}", size) == (item["Params"]["Digest"], item["Params"]["Size"])
    return size, hasher.hexdigest()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_large_result_survives_every_kill_and_cut_and_arrives_once() -> None:
    port = free_port()
    with a_proxy_beside(port) as proxy:
        proxy.hold_after = 0
        settings = {"SKREI_PUBLISHER_URL": proxy.url}
        with live_stack("--publisher-port", str(port), env=settings) as stack:
            job = stack.submit(noise_job(MEBIBYTES))
            stages: list[tuple[float, Any]] = [
                (0.2, lambda: stack.kill("publisher")),
                (0.4, lambda: stack.kill("agent")),
                (0.5, lambda: proxy.loop.call_soon_threadsafe(proxy.cut)),
                (0.7, lambda: stack.kill("scheduler")),
            ]
            for share, strike in stages:
                reach(stack, proxy, share)
                assert stack.state_of(job) == "Running"
                strike()
            agent = stack.pid("agent")
            began = memory(agent, "VmRSS")
            os.kill(stack.pid("scheduler"), signal.SIGSTOP)
            proxy.hold_after = 1 << 62
            staged = stack.folder / "data" / "publisher" / "results" / "staged"
            stack.wait_until(lambda: files(staged), 60, "the result is staged")
            grown = memory(agent, "VmHWM") - began
            for child in ("publisher", "agent", "scheduler"):
                stack.kill(child)
            assert stack.wait_for([job], 60) == {job: "Completed"}
            stack.check_once(job)
            assert fetched(stack, job)[0] >= SIZE
            assert not [line for line in messages(stack, job) if line.startswith("Started again")], "it was run again"
            assert proxy.passed < SIZE + len(stages) * ON_THE_WAY, "what had come was sent again"
            assert grown < MEMORY_BYTES, f"the agent grew by {grown / 1e6:.0f} MB"
            data = stack.folder / "data"
            stack.wait_until(lambda: not files(data / "agent" / "executions"), 30, "the node has forgotten it")
            assert files(staged) == files(staged.with_name("uploads")) == []


def test_a_full_store_says_so_and_leaves_nothing_behind() -> None:
    settings = {"SKREI_QUOTA_BYTES": "1000000", "SKREI_STORE_FULL_SECONDS": "0.5"}
    with live_stack(env=settings) as stack:
        job = stack.submit(noise_job(2))
        assert stack.wait_for([job], 60) == {job: "Failed"}
        told = " ".join(messages(stack, job))
        assert "The result store is full" in told
        assert "SKREI_QUOTA_BYTES" in told
        results = stack.folder / "data" / "publisher" / "results"
        assert {path.name for path in files(results) if not path.name.startswith("small.db")} == {"lock"}
        stack.wait_until(lambda: not files(stack.folder / "data" / "agent" / "executions"), 30, "the node forgot it")
