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
from typing import Any

import aiodocker
import aiohttp

from benchmarks.run import Figure, Stack, show
from tests.support.docker_daemon import BUSYBOX, running_docker, why_no_docker

TARGET_MS = 30.0
"""What Skrei may add at the median."""
SETTLE_SECONDS = 0.15
"""Skrei removes its container after the end was told: that is over before the other way begins."""
LONGEST_SECONDS = 60.0


def a_job(image: str) -> dict[str, object]:
    task = {
        "Name": "main",
        "Engine": {"Type": "docker", "Params": {"Image": image, "Entrypoint": ["/bin/true"]}},
        "Resources": {"CPU": "1", "Memory": "64mb"},
        "Network": {"Type": "None"},
    }
    return {"Job": {"Type": "batch", "Count": 1, "Tasks": [task]}}


async def through_skrei(session: aiohttp.ClientSession, base: str, image: str) -> float:
    """Submit, and hear from the job's stream of events that it has ended."""
    began = time.monotonic()
    async with session.put(f"{base}/orchestrator/jobs", json=a_job(image)) as response:
        job_id = (await response.json())["JobID"]
    limit = aiohttp.ClientTimeout(total=LONGEST_SECONDS)
    async with session.get(f"{base}/events", params={"job": job_id}, timeout=limit) as stream:
        ended = False
        async for line in stream.content:
            if ended:
                took = time.monotonic() - began
                if b'"StateType":"Completed"' not in line:
                    raise SystemExit(f"{job_id} has not completed: {line.decode()}")
                return took
            ended = line.strip() == b"event: end"
    raise SystemExit(f"the events of {job_id} ended before it")


async def raw(docker: aiodocker.Docker, image: str) -> float:
    began = time.monotonic()
    config: dict[str, Any] = {
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
        api = f"{base}/api/v1"
        for _ in range(3):  # warm
            await through_skrei(session, api, image)
            await raw(docker, image)
        both = []
        for _ in range(count):
            ours = await through_skrei(session, api, image)
            await asyncio.sleep(SETTLE_SECONDS)
            both.append((ours, await raw(docker, image)))
    await docker.close()
    through, theirs = ([1000 * pair[side] for pair in both] for side in (0, 1))
    added = statistics.median(through) - statistics.median(theirs)
    return [
        Figure("docker `true`, serial p50, through Skrei", round(statistics.median(through), 1), "ms", "", None),
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
