"""What goes over the network when work goes to its data: real nodes on this machine, each with its own logs.

    make bench-locality                     about three minutes
    QUICK=1 make bench-locality             a tenth of the data, to see that it works

First a summary of the logs of 12 nodes, three times over: *where the data is* (one part on each node that holds some,
and one that adds the counts up), *random* (the same parts, each on a node drawn by lot, which fetches the log unless it
is its own) and *copied* (one node fetches all logs and counts them); adding up is left out of the last two, and its
bytes are added to the second. Then 100 jobs over objects of which each lies in the cache of one of 10 nodes: placed by
Skrei, and on nodes drawn by lot.

Bytes are what executions report (`DataRead`), results that go to the last task among them; what the web server that
stands for the nodes' own has sent is told beside it. Everything is on loopback and shares this machine's cores, so that
wall times show the work and not the lines: what would be moved over a line of 100 Mbit/s takes the seconds shown last.
"""

import argparse
import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from skrei.cli.stack_process import StackProcess
from skrei.client import AsyncClient
from skrei.inline import data_url
from skrei.job_parts import DataRead
from skrei_domain.amounts import amount

NODES = 12
HOLDERS = 10
OBJECTS = 20
JOBS = 100
LOG_BYTES = 16_000_000
OBJECT_BYTES = 17_000_000
NEWS_SECONDS = 7.0  # by then every node's heartbeat has told what it fetched
JOB_SECONDS = 300.0
LINE_BYTES = 100_000_000 / 8
TARGET_LESS, TARGET_THERE = 0.99, 0.95
MODULE = data_url(Path(__file__).parent.parent / "examples" / "wordcount" / "wordcount.wasm")
WORDS = ("get", "post", "jobs", "nodes", "results", "ok", "denied", "slow", "fast", "oslo", "lisbon", "ship")


@dataclass
class Server:
    """The web servers of all nodes in one: `/node-3/log.txt`; counts what it sends."""

    folder: Path
    url: str = ""
    sent: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        async def count(request: web.Request, response: web.StreamResponse) -> None:
            self.sent += (response.content_length or 0) if request.method == "GET" else 0

        app = web.Application()
        app.router.add_static("/", self.folder)
        app.on_response_prepare.append(count)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


@dataclass
class Cluster:
    """A control plane and nodes that join it, each with a data set `logs` of its own."""

    folder: Path
    stacks: list[StackProcess] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[AsyncClient]:
        try:
            ports = ("--port", "0", "--publisher-port", "0", "--nats-port", "0")
            await self._stack("control", "--orchestrator", *ports).start()
            token = (self.folder / "control" / "data" / "keys" / "join.token").read_text("ascii").strip()
            join = ("--compute", "--join", self.stacks[0].endpoint, "--token", token)
            for names in (self.names[:6], self.names[6:]):
                nodes = [self._stack(name, "-c", f"data=logs={self.logs / name}", *join) for name in names]
                await asyncio.gather(*(node.start() for node in nodes))
            async with AsyncClient(self.stacks[0].endpoint) as client:
                self.ids = {each.labels["name"]: each.id for each in await client.nodes.list()}
                yield client
        finally:
            for those in (self.stacks[1:], self.stacks[:1]):  # the control plane last
                await asyncio.gather(*(stack.stop() for stack in those))

    @property
    def names(self) -> list[str]:
        return [f"node-{number}" for number in range(NODES)]

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def _stack(self, name: str, *options: str) -> StackProcess:
        own = self.folder / name
        own.mkdir()
        own.chmod(0o711)  # as root the database has a user of its own, who passes through here
        self.stacks.append(StackProcess(own, ("--name", name, *options), outlives_us=False))
        return self.stacks[-1]


@dataclass(frozen=True)
class Run:
    """What some jobs read, and how long they took."""

    read: DataRead
    seconds: float

    @property
    def there(self) -> float:
        """The share of bytes that were read where they lay."""
        return self.read.local / max(self.read.local + self.read.moved, 1)


async def run(client: AsyncClient, jobs: Sequence[dict[str, Any]]) -> Run:
    """Submit jobs at once, and wait until all have completed."""
    began = time.monotonic()
    handles = [await client.jobs.run(job) for job in jobs]
    for handle in handles:
        await handle.wait(timeout=JOB_SECONDS, check=True)
    seconds = time.monotonic() - began
    read = DataRead()
    for handle in handles:
        read = sum((one.data_read for one in await handle.executions()), read)
    return Run(read, seconds)


def job(name: str, tasks: Iterable[dict[str, Any]], node: str = "") -> dict[str, Any]:
    where = [{"Key": "name", "Operator": "=", "Values": [node]}] if node else []
    return {"Name": name, "Type": "batch", "Tasks": list(tasks), "Constraints": where}


def task(name: str, parameters: list[str], *sources: dict[str, Any], out: str, **more: Any) -> dict[str, Any]:
    module = {"Source": {"Type": "inline", "Params": {"URL": MODULE}}, "Target": "/wordcount.wasm"}
    return {
        "Name": name,
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "/wordcount.wasm", "Parameters": parameters}},
        "InputSources": [module, *sources],
        "ResultPaths": [{"Name": "counts", "Path": out}],
        "Resources": {"CPU": "100m", "Memory": "32Mb"},
        **more,
    }


def counting(name: str, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return task(name, ["--all", "/in", "/counts"], {"Source": source, "Target": "/in"}, out="/counts", **more)


def merging(name: str) -> dict[str, Any]:
    """Add up what the parts of a task counted."""
    parts = {"Source": {"Type": "task", "Params": {"Task": name, "Path": "counts"}}, "Target": "/parts"}
    return task("merge", ["--merge", "/parts", "/merged"], parts, out="/merged")


def held() -> dict[str, Any]:
    return {"Type": "data", "Params": {"Name": "logs"}}


def fetched(url: str) -> dict[str, Any]:
    return {"Type": "urlDownload", "Params": {"URL": url}}


def write(path: Path, size: int, seed: str) -> None:
    chance = random.Random(seed)
    block = "".join(" ".join(chance.choices(WORDS, k=12)) + "\n" for _ in range(10_000)).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((block * (size // len(block) + 1))[:size])


async def summary(client: AsyncClient, cluster: Cluster, server: Server, lot: random.Random) -> bool:
    """Count the words of all logs in three ways."""
    names = cluster.names
    await run(client, [job("warm", [counting("count", held(), Split="holder"), merging("count")])])
    print(f"\nA summary of the logs of {NODES} nodes, {amount(NODES * log_bytes())} in all:")
    here = await run(client, [job("here", [counting("count", held(), Split="holder"), merging("count")])])
    results = here.read.moved
    drawn = []
    for name in names:
        on = lot.choice(names)
        source = held() if on == name else fetched(f"{server.url}/{name}/log.txt?random")
        drawn.append(job(f"random-{name}", [counting("count", source)], on))
    before = server.sent
    by_lot = await run(client, drawn)
    sent_by_lot, before = server.sent - before, server.sent
    all_logs = [counting(name, fetched(f"{server.url}/{name}/log.txt?copied")) for name in names]
    copied = await run(client, [job("copied", all_logs, names[0])])
    sent_copied = server.sent - before
    centre = NODES * log_bytes()
    print(f"  {'':<22}{'read in place':>14}{'moved':>10}{'server sent':>13}{'wall':>8}{'at 100 Mbit/s':>15}")
    for what, found, sent in (("where the data is", here, 0), ("random", by_lot, sent_by_lot),
                              ("copied to the centre", copied, sent_copied)):  # fmt: skip
        moved = found.read.moved + (results if what == "random" else 0)
        print(f"  {what:<22}{amount(found.read.local):>14}{amount(moved):>10}{amount(sent):>13}"
              f"{found.seconds:>6.1f} s{moved / LINE_BYTES:>13.1f} s")  # fmt: skip
    less = 1 - results / centre
    return judged("less than copying to the centre", f"{less:.3%}", f">= {TARGET_LESS:.0%}", less >= TARGET_LESS)


async def many(client: AsyncClient, cluster: Cluster, server: Server, lot: random.Random) -> bool:
    """Read objects that lie in caches, by jobs that may run anywhere."""
    holders = cluster.names[:HOLDERS]
    urls = [f"{server.url}/objects/{number}.txt" for number in range(OBJECTS)]
    warm = [job(f"warm-{n}", [counting("count", fetched(url))], holders[n % HOLDERS]) for n, url in enumerate(urls)]
    await run(client, warm)
    await asyncio.sleep(NEWS_SECONDS)
    wanted = [lot.choice(urls) for _ in range(JOBS)]
    print(f"\n{JOBS} jobs over {OBJECTS} objects of {amount(object_bytes())}, spread over {HOLDERS} nodes' caches:")
    before = server.sent
    placed = await run(client, [job(f"placed-{n}", [counting("count", fetched(url))]) for n, url in enumerate(wanted)])
    sent_placed, before = server.sent - before, server.sent
    drawn = [
        job(f"drawn-{n}", [counting("count", fetched(url))], lot.choice(cluster.names)) for n, url in enumerate(wanted)
    ]
    by_lot = await run(client, drawn)
    sent_by_lot = server.sent - before
    print(f"  {'':<22}{'from caches':>14}{'moved':>10}{'server sent':>13}{'wall':>8}{'where they lie':>16}")
    for what, found, sent in (("placed by Skrei", placed, sent_placed), ("random", by_lot, sent_by_lot)):
        print(f"  {what:<22}{amount(found.read.local):>14}{amount(found.read.moved):>10}{amount(sent):>13}"
              f"{found.seconds:>6.1f} s{found.there:>16.1%}")  # fmt: skip
    good = placed.there >= TARGET_THERE
    return judged("read where they lie", f"{placed.there:.1%}", f">= {TARGET_THERE:.0%}", good)


def judged(what: str, value: str, target: str, good: bool) -> bool:
    print(f"  {what:<36}{value:>10}   {target:<8}{'ok' if good else 'MISSED'}")
    return good


SCALE = 0.1 if os.environ.get("QUICK") else 1.0


def log_bytes() -> int:
    return int(LOG_BYTES * SCALE)


def object_bytes() -> int:
    return OBJECT_BYTES  # smaller ones are no reason to go anywhere


async def measure(folder: Path) -> bool:
    cluster, server = Cluster(folder), Server(folder / "logs")
    for name in cluster.names:
        write(cluster.logs / name / "log.txt", log_bytes(), name)
    for number in range(OBJECTS):
        write(server.folder / "objects" / f"{number}.txt", object_bytes(), str(number))
    lot = random.Random(1)
    print(f"Starting a control plane and {NODES} nodes in {folder} ...", flush=True)
    async with server.running(), cluster.running() as client:
        first = await summary(client, cluster, server, lot)
        return await many(client, cluster, server, lot) and first


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    os.environ["SKREI_ALLOW_ADDRESSES"] = "127.0.0.0/8"
    os.environ["SKREI_LOG_LEVEL"] = "warning"
    folder = Path(tempfile.mkdtemp(prefix="skrei-locality-"))
    folder.chmod(0o711)
    try:
        good = asyncio.run(measure(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
