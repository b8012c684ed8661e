"""What Skrei adds to a container: `true` one after another through a fresh stack, beside the same through the raw API.

    .venv/bin/python -m benchmarks.docker [-n 40]

The two take turns, so that a machine that drifts is the same for both. Raw means: create, start, wait, read the output,
remove, over one connection. With DOCKER_HOST set that daemon is used (the image must be there), else one of its own,
which wants root.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiodocker
import aiohttp

from benchmarks.run import Figure, Stack, show
from tests.support.docker_daemon import BUSYBOX, running_docker, why_no_docker

TARGET_MS = 30.0
"""What Skrei may add at the median."""
POLL_SECONDS = 0.002
LONGEST_SECONDS = 60.0


def a_job(image: str) -> dict[str, object]:
    task = {
        "Name": "main",
        "Engine": {"Type": "docker", "Params": {"Image": image, "Entrypoint": ["/bin/true"]}},
        "Resources": {"CPU": "1", "Memory": "64mb"},
        "Network": {"Type": "None"},
    }
    return {"Job": {"Type": "batch", "Count": 1, "Tasks": [task]}}


async def through_skrei(session: aiohttp.ClientSession, jobs: str, image: str) -> float:
    began = time.monotonic()
    async with session.put(jobs, json=a_job(image)) as response:
        job_id = (await response.json())["JobID"]
    while True:
        async with session.get(f"{jobs}/{job_id}") as response:
            state = (await response.json())["Job"]["State"]["StateType"]
        if state == "Completed":
            return time.monotonic() - began
        if state in ("Failed", "Stopped") or time.monotonic() - began > LONGEST_SECONDS:
            raise SystemExit(f"{job_id} is {state}")
        await asyncio.sleep(POLL_SECONDS)


async def raw(docker: aiodocker.Docker, image: str) -> float:
    began = time.monotonic()
    config = {
        "Image": image,
        "Entrypoint": ["/bin/true"],
        "HostConfig": {"NetworkMode": "none", "Memory": 64_000_000, "NanoCpus": 1_000_000_000},
    }
    container = await docker.containers.create(config)
    await container.start()
    await container.wait()
    await container.log(stdout=True, stderr=True)
    await container.delete()
    return time.monotonic() - began


async def measure(base: str, url: str, image: str, count: int) -> list[Figure]:
    docker = aiodocker.Docker(url)
    async with aiohttp.ClientSession() as session:
        jobs = f"{base}/api/v1/orchestrator/jobs"
        for _ in range(3):  # warm
            await through_skrei(session, jobs, image)
            await raw(docker, image)
        both = [(await through_skrei(session, jobs, image), await raw(docker, image)) for _ in range(count)]
    await docker.close()
    ours, theirs = ([1000 * pair[side] for pair in both] for side in (0, 1))
    added = statistics.median(ours) - statistics.median(theirs)
    return [
        Figure("docker `true`, serial p50, through Skrei", round(statistics.median(ours), 1), "ms", "", None),
        Figure("docker `true`, serial p50, raw Docker API", round(statistics.median(theirs), 1), "ms", "", None),
        Figure("what Skrei adds at the median", round(added, 1), "ms", f"<= {TARGET_MS:g}", added <= TARGET_MS),
    ]


@contextlib.contextmanager
def a_daemon() -> Iterator[tuple[str, str]]:
    """Yield a daemon's address and an image that is there."""
    if host := os.environ.get("DOCKER_HOST"):
        yield host, "busybox"
        return
    if reason := why_no_docker():
        raise SystemExit(f"no daemon of its own: {reason}; or set DOCKER_HOST")
    with running_docker() as running:
        yield running.url, BUSYBOX


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=40, help="containers each way")
    given = parser.parse_args()
    with a_daemon() as (url, image), tempfile.TemporaryDirectory(prefix="skrei-bench-") as folder:
        Path(folder).chmod(0o711)  # the database's user passes through
        os.environ["DOCKER_HOST"] = url
        stack = Stack(Path(folder))
        try:
            stack.start()
            show(asyncio.run(measure(stack.base, url, image, given.n)))
        finally:
            stack.stop()


if __name__ == "__main__":
    main()
