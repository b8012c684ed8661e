"""What a cut line costs, and results to S3: the agent's own transfers against real doors and a real S3 server.

    python -m benchmarks.data --cut 500        a line that is cut once half has passed: an object of so many MB that is
                                               an input, a result to the store's door, a result to S3
    python -m benchmarks.data --publish 1000   a result of so many MB to S3 (presigned parts), beside one plain PUT of
                                               the same file to the same server by the same HTTP library

What has passed is counted where the line is cut, with what its buffers held then: `sent again` is all of it beyond the
size of the file.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import aiohttp

from benchmarks.upload import memory
from skrei_compute_agent.uploader import Uploader
from skrei_domain.uploads import Parcel
from skrei_plugin_api.outbound import Outbound, networks
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import SourceSpec, StageLimits
from skrei_plugin_s3.clients import Clients
from skrei_plugin_s3.params import S3Input
from skrei_plugin_s3.publisher import S3Publisher
from skrei_plugin_s3.settings import S3Settings
from skrei_plugin_s3.storage import S3Storage
from tests.support.publisher_door import Door, Proxy, a_door
from tests.support.s3_server import S3Server, s3_server

MB = 1_000_000
ROUNDS = 3
LOOPBACK = ("127.0.0.0/8",)
TARGET_AGAIN, TARGET_SHARE, TARGET_MEMORY_MIB = 0.05, 0.70, 32


def judged(what: str, value: str, target: str, good: bool) -> None:
    print(f"  {what:<38}{value:>12}   {target:<10}{'ok' if good else 'MISSED'}", flush=True)


@contextmanager
def place() -> Iterator[tuple[Path, S3Server]]:
    """A folder, and an S3 server whose keys this process has."""
    with tempfile.TemporaryDirectory(prefix="skrei-cuts-") as name, s3_server() as server:
        keys = server.environment | {"AWS_DEFAULT_REGION": "us-east-1", "HOME": name}
        with patch.dict(os.environ, keys):
            yield Path(name), server


def made(path: Path, megabytes: int) -> Parcel:
    """Write a result, and return what is said of it."""
    digest, block = hashlib.sha256(), os.urandom(MB)
    with path.open("wb") as out:
        for _ in range(megabytes):
            out.write(block)
            digest.update(block)
    return Parcel(execution_id="e-1", digest=f"sha256:{digest.hexdigest()}", size=megabytes * MB)


async def cut(megabytes: int) -> None:
    with place() as (folder, server):
        parcel = made(folder / "file", megabytes)
        print(f"A line that is cut once half of {megabytes} MB has passed:")
        _told("an input of S3", await _download(folder, server, parcel), parcel)
        _told("a result to the store", await _upload(folder, parcel), parcel)
        _told("a result to S3", await _to_s3(folder, server, parcel), parcel)


def _told(what: str, proxy: Proxy, parcel: Parcel) -> None:
    again = max(proxy.passed - parcel.size, 0) / parcel.size
    assert proxy.cuts == 1, "the line was cut"
    judged(f"{what}: continued, sent again", f"{again:.2%}", f"<= {TARGET_AGAIN:.0%}", again <= TARGET_AGAIN)


async def _download(folder: Path, server: S3Server, parcel: Parcel) -> Proxy:
    await server.make_bucket("data")
    (server.folder / "data/data").mkdir(exist_ok=True)
    await server.put("data", {"large": (folder / "file").read_bytes()})
    proxy = Proxy(server.port, cut_after=parcel.size // 2, back=True)
    wanted = SourceSpec("s3", {"Bucket": "data", "Key": "large", "Endpoint": await proxy.start()}, "/in")
    storage = S3Storage(PluginContext(folder / "state", allow_addresses=LOOPBACK))
    (piece,) = await storage.pieces(wanted, StageLimits())
    into = folder / "into"
    into.mkdir()
    await storage.bring(wanted, StageLimits(), piece, into)
    with (into / "data").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == parcel.digest.removeprefix("sha256:")
    await storage.close()
    await proxy.stop()
    proxy.cuts -= 1  # by the end of it
    return proxy


async def _upload(folder: Path, parcel: Parcel) -> Proxy:
    async with a_door(folder / "store") as door:
        proxy = Proxy(int(door.url.rpartition(":")[2]), cut_after=parcel.size // 2)
        uploader = Uploader()
        uploader.door(await proxy.start())
        receipt = door.read(await uploader.upload(folder / "file", parcel, door.token()))
        assert receipt.size == parcel.size
        await proxy.stop()
        proxy.cuts -= 1
        return proxy


async def _to_s3(folder: Path, server: S3Server, parcel: Parcel) -> Proxy:
    await server.make_bucket("results")
    proxy = Proxy(server.port, cut_after=parcel.size // 2)
    publisher = S3Publisher(PluginContext(folder / "s3", allow_addresses=LOOPBACK))
    async with a_door(folder / "store-2", s3=publisher) as door:
        uploader = Uploader(rules=Outbound(private=networks(LOOPBACK)))
        uploader.door(door.url)
        params = {"Bucket": "results", "Key": "cut", "Endpoint": await proxy.start()}
        receipt = door.read(await uploader.upload(folder / "file", parcel, door.token(to="s3", params=params)))
        assert receipt.size == parcel.size
        await publisher.abort("e-1")
        await publisher.close()
    await proxy.stop()
    proxy.cuts -= 1
    return proxy


async def publish(megabytes: int) -> None:
    """Results to S3 and plain copies take turns, each in a process of its own; the best of three counts."""
    with place() as (folder, server):
        await server.make_bucket("results")
        parcel = made(folder / "file", megabytes)
        publisher = S3Publisher(PluginContext(folder / "s3", allow_addresses=LOOPBACK))
        best: dict[str, dict[str, float]] = {}
        async with a_door(folder / "store", s3=publisher) as door:
            for number in range(ROUNDS):
                for kind in ("raw", "upload"):
                    found = await asyncio.to_thread(partial(_apart, await _where(kind, server, door), folder, parcel))
                    print(f"  {number + 1}. {kind:<7}{megabytes / found['seconds']:7.0f} MB/s", flush=True)
                    if kind not in best or found["seconds"] < best[kind]["seconds"]:
                        best[kind] = found
                    await publisher.abort("e-1")
            await publisher.close()
    share = best["raw"]["seconds"] / best["upload"]["seconds"]
    grown = best["upload"]["grown_bytes"] / 2**20
    print(f"\nA result of {megabytes} MB to S3:")
    judged("share of a plain PUT", f"{share:.0%}", f">= {TARGET_SHARE:.0%}", share >= TARGET_SHARE)
    judged("memory that it adds to the agent", f"{grown:.0f} MiB", f"<= {TARGET_MEMORY_MIB} MiB",
           grown <= TARGET_MEMORY_MIB)  # fmt: skip


async def _where(kind: str, server: S3Server, door: Door) -> tuple[str, str, str]:
    """Return how a file goes its way: the kind, an address, and a token."""
    if kind == "upload":
        params = {"Bucket": "results", "Key": "published", "Endpoint": server.url}
        return kind, door.url, door.token(to="s3", params=params)
    clients = Clients(S3Settings(), Outbound(None, networks(LOOPBACK)))
    async with clients.open(S3Input("results", endpoint=server.url)) as client:
        url = await client.presigned("PUT", "results", "raw")
    await clients.close()
    return kind, url, ""


def _apart(where: tuple[str, str, str], folder: Path, parcel: Parcel) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data_cuts", *where, str(folder / "file"), parcel.digest]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    found: dict[str, float] = json.loads(done.stdout)
    return found


async def send(kind: str, url: str, token: str, path: Path, digest: str) -> None:
    """Send the file one way; say how long it took, and how much memory that added to this process."""
    size = os.stat(path).st_size  # noqa: PTH116 - before anything is measured
    async with aiohttp.ClientSession() as session:
        before, began = memory("VmRSS"), time.perf_counter()
        if kind == "raw":
            with path.open("rb") as file:
                async with session.put(url, data=file, headers={"Content-Length": str(size)}) as answer:
                    assert answer.status == 200, await answer.text()
        else:
            uploader = Uploader(rules=Outbound(private=networks(LOOPBACK)))
            uploader.door(url)
            assert await uploader.upload(path, Parcel(execution_id="e-1", digest=digest, size=size), token)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "grown_bytes": max(memory("VmHWM") - before, 0)}))


if __name__ == "__main__":
    kind_, url_, token_, path_, digest_ = sys.argv[1:]
    asyncio.run(send(kind_, url_, token_, Path(path_), digest_))
