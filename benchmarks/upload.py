"""An upload of 1 GB through the real door and the real uploader, beside a raw copy of the same file over loopback HTTP.

    python -m benchmarks.upload            about half a minute
    python -m benchmarks.upload --mb 100   a tenth of it

The raw copy is one PUT of the whole file to a handler that writes what comes and syncs it, by the same HTTP library on
both sides: what the machine can do where nobody plans, hashes or resumes. Both end with the bytes on disk. Copies and
uploads take turns, each in a process of its own; the best of each counts, since the machine is shared, and the medians
are printed beside it.
"""

import argparse
import asyncio
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp import web

from skrei_compute_agent.uploader import Uploader
from skrei_domain.uploads import Parcel
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import TokenSigner, TokenVerifier, UploadGrant
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.upload_staging import StagingLimits
from skrei_publisher.app import build
from skrei_publisher.destinations import Destinations
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.store_publisher import SWITCH_SECONDS, StorePublisher
from skrei_publisher.uploads import UploadDoor

MB = 1_000_000
ROUNDS = 3
TARGET_SHARE = 0.70
TARGET_MEMORY_MIB = 32
LIMITS = StagingLimits(1 << 50, uploads=8, open_seconds=1e6, staged_seconds=1e6, node_share_percent=100)


class _Nothing:
    async def fetch(self, _: str) -> bytes | None:
        return None


async def serve(folder: Path) -> None:
    """Serve both: the door, and a handler that only writes. Says its port, and ends with stdin."""
    sys.setswitchinterval(SWITCH_SECONDS)  # as the service does
    publisher = StorePublisher(PluginContext(folder / "store"), LIMITS)
    await publisher.start()
    private, public = new_key()
    keeper = SignedDoor(TokenVerifier(public))
    destinations = Destinations(publisher, PluginContext(folder / "plugins"))
    uploads = UploadDoor(destinations, keeper, TokenSigner(private))
    app = build(publisher.store, _Nothing(), keeper, uploads=uploads)

    async def raw(request: web.Request) -> web.Response:
        with (folder / "raw").open("wb", buffering=0) as out:
            async for piece in request.content.iter_any():
                out.write(piece)
            os.fsync(out.fileno())
        return web.Response()

    async def clear(_: web.Request) -> web.Response:
        (folder / "raw").unlink(missing_ok=True)
        return web.Response()

    app.router.add_put("/raw", raw)
    app.router.add_delete("/raw", clear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    token = TokenSigner(private).run("e-1", "n-1", (), seconds=60, upload=UploadGrant("store", 1 << 40, 3600))
    print(json.dumps({"port": port, "token": token}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def send(kind: str, url: str, token: str, path: Path, digest: str) -> None:
    """Send the file one way; say how long it took, and how much memory that added to this process."""
    size = os.stat(path).st_size  # noqa: PTH116 - before anything is measured
    warm = io.BytesIO(b"warm")
    async with aiohttp.ClientSession() as session, session.put(f"{url}/raw", data=warm) as answer:
        assert answer.status == 200  # both ways have their imports and connections behind them
    before = memory("VmRSS")
    began = time.perf_counter()
    if kind == "raw":
        with path.open("rb") as file:
            async with aiohttp.ClientSession() as session, session.put(f"{url}/raw", data=file) as answer:
                assert answer.status == 200
    else:
        uploader = Uploader()
        uploader.door(url)
        receipt = await uploader.upload(path, Parcel(execution_id="e-1", digest=digest, size=size), token)
        assert receipt
    seconds = time.perf_counter() - began
    # Neither way has to make room for its bytes within its time.
    gone, headers = (
        (f"{url}/uploads/e-1", {"Authorization": f"Bearer {token}"}) if kind == "upload" else (f"{url}/raw", {})
    )
    async with aiohttp.ClientSession() as session, session.delete(gone, headers=headers) as answer:
        assert answer.status < 300
    print(json.dumps({"seconds": seconds, "grown_bytes": max(memory("VmHWM") - before, 0)}))


def memory(what: str, pid: int | str = "self") -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    return 0


def run(kind: str, url: str, token: str, path: Path, digest: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.upload", "--send", kind, url, token, str(path), digest]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(megabytes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="skrei-upload-", dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        path, digest = folder / "result.tar.gz", hashlib.sha256()
        block = os.urandom(MB)
        with path.open("wb") as out:
            for _ in range(megabytes):
                out.write(block)
                digest.update(block)
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.upload", "--serve", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        url = f"http://127.0.0.1:{told['port']}"
        all_of: dict[str, list[dict[str, float]]] = {"raw": [], "upload": []}
        held = memory("VmRSS", server.pid)
        for number in range(ROUNDS):
            for kind in ("raw", "upload"):
                found = run(kind, url, told["token"], path, f"sha256:{digest.hexdigest()}")
                print(f"  {number + 1}. {kind:<7} {megabytes / found['seconds']:7.0f} MB/s", flush=True)
                all_of[kind].append(found)
        grown = memory("VmHWM", server.pid) - held
        server.communicate()
        show(megabytes, all_of, grown)


def show(megabytes: int, all_of: dict[str, list[dict[str, float]]], door_bytes: int) -> None:
    best = {kind: min(found, key=lambda each: each["seconds"]) for kind, found in all_of.items()}
    median = {kind: statistics.median(each["seconds"] for each in found) for kind, found in all_of.items()}
    share = best["raw"]["seconds"] / best["upload"]["seconds"]
    agent = best["upload"]["grown_bytes"] / 2**20
    rows = [
        ("raw copy", f"{megabytes / best['raw']['seconds']:.0f} MB/s", "", ""),
        ("upload", f"{megabytes / best['upload']['seconds']:.0f} MB/s", "", ""),
        ("share of the raw copy", f"{share:.0%}", f">= {TARGET_SHARE:.0%}", share >= TARGET_SHARE),
        ("the same by the medians", f"{median['raw'] / median['upload']:.0%}", "", ""),
        ("memory, agent", f"{agent:.0f} MiB", f"<= {TARGET_MEMORY_MIB} MiB", agent <= TARGET_MEMORY_MIB),
        ("memory, publisher", f"{door_bytes / 2**20:.0f} MiB", "", ""),
    ]
    print(f"\n{megabytes} MB, digest verified and synced:")
    for what, value, target, good in rows:
        verdict = "" if good == "" else "ok" if good else "MISSED"
        print(f"  {what:<24}{value:>12}   {target:<12}{verdict}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000, help="how much to send")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
    elif given.send:
        kind, url, token, path, digest = given.send
        asyncio.run(send(kind, url, token, Path(path), digest))
    else:
        measure(given.mb)


if __name__ == "__main__":
    main()
