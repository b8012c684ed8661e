"""Disks that are really full: what is told, what goes on all the same, and that room is all that is needed to go on."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from skrei_embedded.nats import free_port
from tests.support.live_stack import LiveStack, noise_job, sleeper_job
from tests.support.publisher_door import Proxy, a_proxy_beside
from tests.support.servers import server_folder

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

MIB = 1024 * 1024
AGENT_MIB, STORE_MIB = 256, 256
NOISE = 40
"""MiB of a result that a full disk has no room for, and an empty one has."""


@contextlib.contextmanager
def a_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of its own below a folder, as small as is asked for."""
    folder.mkdir(parents=True, mode=0o700)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "skrei-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a disk; the file that takes it is returned."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (MIB, 4_096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert shutil.disk_usage(disk).free == 0
    return ballast


@pytest.fixture(scope="module")
def disks() -> Iterator[tuple[Path, Path, Path]]:
    """The folder of a stack, whose agent and whose result store have a small disk each."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk is mounted by root, with `mount`")
    with server_folder() as folder, contextlib.ExitStack() as stack:
        (folder / "data").mkdir()
        (folder / "data").chmod(0o711)
        agent = stack.enter_context(a_disk(folder / "data" / "agent", AGENT_MIB))
        store = stack.enter_context(a_disk(folder / "data" / "publisher", STORE_MIB))
        yield folder, agent, store


def told(stack: LiveStack, job_id: str) -> str:
    found = stack.call("GET", f"/jobs/{job_id}/history", params={"limit": 1000, "event_type": "all"})
    return "\n".join(item["Event"]["Message"] for item in found["Items"])


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_full_disks_are_told_nothing_small_stops_and_room_is_all_that_is_needed(
    disks: tuple[Path, Path, Path],
) -> None:
    folder, agent, store = disks
    port = free_port()
    with a_proxy_beside(port) as proxy:
        stack = LiveStack(folder, "--publisher-port", str(port), env={"SKREI_PUBLISHER_URL": proxy.url})
        try:
            _the_agents(stack, agent)
            stack.wait_until(lambda: not files(agent / "executions"), 30, "the node has forgotten it")
            proxy.hold_after = proxy.passed + NOISE * MIB // 2
            _the_stores(stack, store, proxy)
            _one_that_writes_too_much(stack)
            stack.wait_until(lambda: not files(agent / "executions"), 30, "the node has forgotten them all")
            results = store / "results"
            assert files(results / "uploads") == files(results / "staged") == []
        finally:
            stack.stop()


def _the_agents(stack: LiveStack, disk: Path) -> None:
    """A node whose disk is full says so of what it has no room for, does what needs none, and starts again on it."""
    ballast = fill(disk)
    large = stack.submit(noise_job(NOISE))
    stack.wait_until(lambda: "disk is full" in told(stack, large), 60, "the full disk is told")
    assert "make room" in told(stack, large)
    assert "Traceback" not in stack.log.read_text()
    assert stack.state_of(large) not in ("Completed", "Failed")
    stack.kill("agent")
    ballast.unlink()
    small = stack.submit(sleeper_job(0.0))
    assert stack.wait_for([small, large], 120) == {small: "Completed", large: "Completed"}
    stack.check_once(large)


def _the_stores(stack: LiveStack, disk: Path, proxy: Proxy) -> None:
    """A store that fills up while a result comes takes it once there is room; small results wait in the record."""
    large = stack.submit(noise_job(NOISE))
    stack.wait_until(lambda: proxy.passed >= proxy.hold_after, 60, "half of it has passed")
    ballast = fill(disk)
    proxy.hold_after = 1 << 62
    stack.wait_until(
        lambda: "The disk of the result store is full" in stack.log.read_text(), 60, "the full store is told"
    )
    assert "SKREI_QUOTA_BYTES" in stack.log.read_text()
    small = stack.submit(sleeper_job(0.0))
    assert stack.wait_for([small], 30) == {small: "Completed"}
    stack.check_once(small)
    assert stack.state_of(large) not in ("Completed", "Failed")
    ballast.unlink()
    assert stack.wait_for([large], 90) == {large: "Completed"}
    stack.check_once(large)


def _one_that_writes_too_much(stack: LiveStack) -> None:
    job = noise_job(2_000)
    job["Job"]["Tasks"][0]["Resources"]["Disk"] = "8mb"
    greedy = stack.submit(job)
    assert stack.wait_for([greedy], 60) == {greedy: "Failed"}
    assert "disk limit exceeded" in told(stack, greedy)
    assert "Resources.Disk" in told(stack, greedy)
