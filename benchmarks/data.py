"""Inputs of S3 by the agent's own path (listing, storage, cache, tree of links), beside plain parallel clients.

    python -m benchmarks.data                      one object of 1 GB, 10,000 of 10 KB
    python -m benchmarks.data --mb 100 --objects 1000
    python -m benchmarks.data --aws PATH/TO/aws    `aws s3 cp` takes turns too
    python -m benchmarks.data --s5cmd .cache/bin/s5cmd   the same of s5cmd, a parallel client in Go (`make tools-bench`)
    python -m benchmarks.data --tls                by a server that speaks TLS
    python -m benchmarks.data --list 1000000       a made-up listing of so many keys for 10,000 partitions, as a node
                                                   that is asked for it makes it: seconds, memory, bytes on disk
    python -m benchmarks.data --cut 500            a line that is cut halfway, both ways (benchmarks/data_cuts.py)
    python -m benchmarks.data --publish 1000       a result to S3, beside a plain PUT

The server is versitygw (`make tools`) on loopback, data and downloads on the file system of TMPDIR. The plain client
signs with the same library, lists with the same library and writes with the same calls: 8 ranges of the large object
side by side, 16 small objects at once; it neither caches, resumes nor shares. All take turns, each in a process of its
own whose imports and first connection are behind it, and the best of each counts: the machine is shared.
"""

import argparse
import asyncio
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.upload import memory
from skrei_compute_agent.input_cache import InputCache
from skrei_compute_agent.input_trees import InputTrees
from skrei_compute_agent.listings import Listings, key_of
from skrei_plugin_api.outbound import Outbound, networks
from skrei_plugin_api.pieces import Entry, Piece
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import SourceSpec, StageLimits
from skrei_plugin_s3 import transfer
from skrei_plugin_s3.clients import Clients
from skrei_plugin_s3.identity import Sight, identity
from skrei_plugin_s3.params import read
from skrei_plugin_s3.partition import By, Partition, dealer
from skrei_plugin_s3.settings import S3Settings
from skrei_plugin_s3.storage import S3Storage
from tests.support.s3_server import S3Server, s3_server

MB = 1_000_000
SMALL_BYTES = 10_000
ROUNDS = 3
AT_ONCE = 16
AT_ONCE_AGAIN = 19
"""Executions that want the same afterwards, all at once: with the first one the twenty of the target."""
PARTITIONS = 10_000
TARGET_SHARE, TARGET_RATE, TARGET_AGAIN_MS, TARGET_LISTING_MB = 0.80, 800, 50, 100
LIMITS = StageLimits()
KEYS = {"large": "large", "small": "small/*"}


def source(url: str, key: str) -> SourceSpec:
    return SourceSpec("s3", {"Bucket": "data", "Key": key, "Endpoint": url}, "/in")


async def bring(kind: str, what: str, url: str, folder: Path) -> dict[str, float]:
    storage = S3Storage(PluginContext(folder / "state", allow_addresses=("127.0.0.0/8",)))
    await storage.pieces(source(url, "warm"), LIMITS)
    way = skrei if kind == "skrei" else plain
    before, spent, began = memory("VmRSS"), time.process_time(), time.perf_counter()
    again = await way(storage, source(url, KEYS[what]), folder)
    seconds, spent = time.perf_counter() - began - again, time.process_time() - spent
    await storage.close()
    return {"seconds": seconds, "again": again, "grown_bytes": max(memory("VmHWM") - before, 0), "cpu": spent}


async def skrei(storage: S3Storage, wanted: SourceSpec, folder: Path) -> float:
    """Stage as the agent does, and say how long the last of the next executions waits for the same."""
    cache = InputCache(folder / "cache", lambda *_: sys.exit(), limit_bytes=1 << 40, blob_bytes=1 << 40)
    cache.open()
    trees = InputTrees(folder / "inputs", cache)
    trees.open([])
    listings = Listings(folder / "listings")
    listings.open()

    async def stage(execution: str) -> None:
        listing = await listings.get(
            key_of("j-1", 1, wanted),
            partial(storage.resolve, wanted, LIMITS),
            wanted.partitions,
            LIMITS,
            lambda _: None,
        )
        await trees.get(
            listing.part(wanted, LIMITS), partial(storage.bring, wanted, LIMITS), execution, lambda *_: None
        )

    await stage("e-1")
    began = time.perf_counter()
    await asyncio.gather(*(stage(f"e-{number}") for number in range(2, AT_ONCE_AGAIN + 2)))
    again = time.perf_counter() - began
    trees.close()
    await cache.close()
    return again


async def made_up(count: int) -> AsyncGenerator[Entry, None]:
    """List what is nowhere, dealt out as objects of a bucket are."""
    dealt = dealer(Partition(By.OBJECT), "", PARTITIONS)
    assert dealt is not None
    for number in range(count):
        key = f"logs/2026/{number % 366:03}/host-{number % 997:03}/{number:09}.json.gz"
        etag = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
        seen = Sight("https://objects.example.org", "measurements", key, etag)
        yield Entry(Piece(key, identity(seen), SMALL_BYTES), dealt(key))


async def listing(count: int, folder: Path) -> None:
    """Say what a listing of so many keys takes, and what the first and the last part of it take to read."""
    listings, longest = Listings(folder), 0.0
    listings.open()
    await listings.get("warm", partial(made_up, 10), PARTITIONS, LIMITS, lambda _: None)
    before, began = memory("VmRSS"), time.perf_counter()
    found = await listings.get("all", partial(made_up, count), PARTITIONS, LIMITS, lambda _: None)
    seconds, grown = time.perf_counter() - began, memory("VmHWM") - before
    files = 0
    for number in range(0, PARTITIONS, 97):
        part = SourceSpec("s3", {}, "/in", partition=number, partitions=PARTITIONS)
        began = time.perf_counter()
        files += len(await found.part(part, LIMITS).load())
        longest = max(longest, time.perf_counter() - began)
    print(f"{count:,} keys for {PARTITIONS:,} partitions, {found.path.stat().st_size / MB:.1f} MB of manifest:")
    print(f"  listed, written and synced in {seconds:.1f} s, {count / seconds:,.0f} keys/s")
    judged("memory that it adds", f"{grown / MB:.0f} MB", f"<= {TARGET_LISTING_MB} MB", grown <= TARGET_LISTING_MB * MB)
    print(f"  a part is read in {longest * 1000:.1f} ms at most (of every 97th; {files:,} keys)")


async def plain(storage: S3Storage, wanted: SourceSpec, folder: Path) -> float:
    """List, and fetch what was listed into files."""
    said, _ = read(wanted.params)
    clients = Clients(S3Settings(), Outbound(None, networks(("127.0.0.0/8",))))
    async with clients.open(said) as client:
        found = [await client.head(said)] if said.prefix is None else []
        after: str | None = None
        while said.prefix is not None:
            page = await client.page(said, said.prefix, after)
            found += page.objects
            if (after := page.following) is None:
                break
        jobs = iter([(each, first) for each in found for first in range(0, each.size, transfer.PART_BYTES)])

        async def work() -> None:
            for each, first in jobs:
                last = min(first + transfer.PART_BYTES, each.size) - 1
                url, headers = await client.signed("data", each.key, "", {"Range": f"bytes={first}-{last}"})
                with (folder / each.key.replace("/", "_")).open("r+b" if first else "wb", buffering=0) as file:
                    async with client.wire.request("GET", url, headers) as response:
                        file.seek(first)
                        async for data in response.content.iter_any():
                            file.write(data)

        for each in found:
            (folder / each.key.replace("/", "_")).touch()
        await asyncio.gather(*(work() for _ in range(AT_ONCE if len(found) > 1 else transfer.PARTS_AT_ONCE)))
    await clients.close()
    return 0.0


Others = Mapping[str, str]
"""Programs of others that take turns, by name: where each is."""


def aws(url: str, what: str, folder: str) -> list[str]:
    everything = ["--recursive"] if what == "small" else []
    return ["s3", "cp", "--quiet", "--endpoint-url", url, f"s3://data/{what}", folder, *everything]


def s5cmd(url: str, what: str, folder: str) -> list[str]:
    """As it comes: five parts of 50 MB at once of the large object, 256 small ones."""
    found = "large" if what == "large" else "small/*"
    return ["--endpoint-url", url, "--log", "error", "cp", f"s3://data/{found}", f"{folder}/"]


OTHERS = {"aws": aws, "s5cmd": s5cmd}


def run(kind: str, what: str, url: str, environment: Mapping[str, str], others: Others) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="skrei-data-") as folder:
        if kind in others:
            command = [others[kind], *OTHERS[kind](url, what, folder)]
            spent, began = children(), time.perf_counter()
            subprocess.run(command, env=environment, check=True, timeout=600)
            return {"seconds": time.perf_counter() - began, "again": 0.0, "grown_bytes": 0.0, "cpu": children() - spent}
        command = [sys.executable, "-m", "benchmarks.data", "--bring", kind, what, url, folder]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
        found: dict[str, float] = json.loads(done.stdout)
        return found


def children() -> float:
    """Return the processor time of what has ended of what this process started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(megabytes: int, objects: int, others: Others, *, tls: bool) -> None:
    with s3_server(tls=tls) as server:
        asyncio.run(fill(server, megabytes, objects))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | server.environment
        environment |= {"AWS_DEFAULT_REGION": "us-east-1", "HOME": str(server.folder)}
        best: dict[tuple[str, str], dict[str, float]] = {}
        for number in range(ROUNDS):
            for what in KEYS if objects else ("large",):
                for kind in ("plain", "skrei", *others):
                    found = run(kind, what, server.url, environment, others)
                    told = amount(what, found["seconds"], megabytes, objects)
                    print(f"  {number + 1}. {what} {kind:<6}{told:>14}   {found['cpu']:.2f} s of CPU", flush=True)
                    if (kind, what) not in best or found["seconds"] < best[kind, what]["seconds"]:
                        best[kind, what] = found
    show(megabytes, objects, best)


async def fill(server: S3Server, megabytes: int, objects: int) -> None:
    await server.make_bucket("data")
    await server.put("data", {"warm": b"", "large": os.urandom(megabytes * MB)})
    await server.put("data", {f"small/{n:06}": os.urandom(SMALL_BYTES) for n in range(objects)})


def amount(what: str, seconds: float, megabytes: int, objects: int) -> str:
    return f"{megabytes / seconds:.0f} MB/s" if what == "large" else f"{objects / seconds:.0f} objects/s"


def show(megabytes: int, objects: int, best: Mapping[tuple[str, str], Mapping[str, float]]) -> None:
    print(f"\nOne object of {megabytes} MB, {objects} of {SMALL_BYTES} bytes:")
    for what in dict.fromkeys(what for _, what in best):
        for kind in ("plain", *OTHERS, "skrei"):
            if (kind, what) in best:
                print(f"  {what} {kind:<26}{amount(what, best[kind, what]['seconds'], megabytes, objects):>14}")
        mine, others = best["skrei", what], [best[kind, what] for kind in ("plain", *OTHERS) if (kind, what) in best]
        share = min(other["seconds"] for other in others) / mine["seconds"]
        grown = mine["grown_bytes"] / 2**20
        judged(f"{what}: share of the fastest other", f"{share:.0%}", f">= {TARGET_SHARE:.0%}", share >= TARGET_SHARE)
        judged(f"{what}: the last of 19 more at once", f"{mine['again'] * 1000:.0f} ms", f"<= {TARGET_AGAIN_MS} ms",
               mine["again"] * 1000 <= TARGET_AGAIN_MS)  # fmt: skip
        print(f"  {what}: memory that it adds{'':<9}{grown:>10.0f} MiB")
    if ("skrei", "small") in best:
        rate = objects / best["skrei", "small"]["seconds"]
        judged("small", f"{rate:.0f} objects/s", f">= {TARGET_RATE}", rate >= TARGET_RATE)


def judged(what: str, value: str, target: str, good: bool) -> None:
    print(f"  {what:<34}{value:>14}   {target:<12}{'ok' if good else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000, help="size of the large object")
    parser.add_argument("--objects", type=int, default=10_000, help="how many small ones; 0: only the large one")
    parser.add_argument("--aws", default="", help="Amazon's own command line, to take turns with")
    parser.add_argument("--s5cmd", default="", help="s5cmd, to take turns with")
    parser.add_argument("--tls", action="store_true", help="the server speaks TLS")
    parser.add_argument("--list", type=int, default=0, metavar="KEYS", help="only list, so many made-up keys")
    parser.add_argument("--bring", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--cut", type=int, default=0, metavar="MB", help="cut lines, files of so many MB")
    parser.add_argument("--publish", type=int, default=0, metavar="MB", help="a result of so many MB to S3")
    given = parser.parse_args()
    if given.cut or given.publish:
        from benchmarks import data_cuts

        asyncio.run(data_cuts.cut(given.cut) if given.cut else data_cuts.publish(given.publish))
    elif given.list:
        with tempfile.TemporaryDirectory(prefix="skrei-data-") as made:
            asyncio.run(listing(given.list, Path(made)))
    elif given.bring:
        kind, what, url, folder = given.bring
        print(json.dumps(asyncio.run(bring(kind, what, url, Path(folder)))))
    else:
        measure(given.mb, given.objects, {kind: at for kind in OTHERS if (at := getattr(given, kind))}, tls=given.tls)


if __name__ == "__main__":
    main()
