"""How soon programs begin that read what their node has: twenty executions over the same objects of S3, on one node.

    python -m benchmarks.starts                    1,000 objects of 10 KB, programs that go on for two seconds
    python -m benchmarks.starts --hold 0           programs that end at once
    python -m benchmarks.starts --objects 10000 --rounds 5

The first execution brings the objects. Then come 19 at once (`Count: 19`), for whom processes have to be forked the
first time, and 19 one after another. Each program says what time it is as its first act, and that is compared with the
commit that placed it (`CreateTime`): both clocks are this machine's. So it is all that lies between decision and
program: command, journal, staging, a process, the module.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import wasmtime

from skrei.cli.stack_process import StackProcess
from skrei.client import AsyncClient
from skrei.inline import data_url
from tests.support.s3_server import s3_server

AGAIN = 19
SMALL_BYTES = 10_000
JOB_SECONDS = 60.0
TARGET_MS = 50

CLOCK = """
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $time i64) (local $at i32)
    (drop (call $now (i32.const 0) (i64.const 1) (i32.const 64)))
    (local.set $time (i64.load (i32.const 64)))
    (local.set $at (i32.const 40))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $time) (i64.const 10)))))
      (local.set $time (i64.div_u (local.get $time) (i64.const 10)))
      (br_if $digit (i64.ne (local.get $time) (i64.const 0))))
    (i32.store (i32.const 48) (local.get $at))
    (i32.store (i32.const 52) (i32.sub (i32.const 40) (local.get $at)))
    (drop (call $write (i32.const 1) (i32.const 48) (i32.const 1) (i32.const 56)))
    (i32.store8 (i32.const 136) (i32.const 0))
    (i32.store (i32.const 144) (i32.const 1))
    (i64.store (i32.const 152) (i64.const HOLD))
    (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 320)))))
"""
"""Says the time in nanoseconds, then sleeps."""


def module(folder: Path, hold: float) -> str:
    path = folder / "clock.wasm"
    path.write_bytes(wasmtime.wat2wasm(CLOCK.replace("HOLD", str(int(hold * 1e9) + 1))))
    return data_url(path)


def job(name: str, code: str, endpoint: str, count: int) -> dict[str, Any]:
    there = {"Type": "s3", "Params": {"Bucket": "data", "Key": "small/*", "Endpoint": endpoint}}
    return {
        "Name": name,
        "Type": "batch",
        "Count": count,
        "Tasks": [
            {
                "Name": "main",
                "Engine": {"Type": "wasm", "Params": {"EntryModule": "/clock.wasm"}},
                "InputSources": [
                    {"Source": {"Type": "inline", "Params": {"URL": code}}, "Target": "/clock.wasm"},
                    {"Source": there, "Target": "/in"},
                ],
                "Resources": {"CPU": "10m", "Memory": "8Mb"},
            }
        ],
    }


async def starts(client: AsyncClient, wanted: dict[str, Any]) -> list[float]:
    """Run a job; return the milliseconds from each placement to the program's first act, in order."""
    handle = await client.jobs.run(wanted)
    await handle.wait(timeout=JOB_SECONDS, check=True)
    found = []
    for one in await handle.executions():
        said = int(str(one.document["RunOutput"]["Stdout"]))
        found.append((said - int(one.document["CreateTime"])) / 1e6)
    return sorted(found)


async def measure(folder: Path, given: argparse.Namespace) -> bool:
    with s3_server() as server:
        await server.make_bucket("data")
        await server.put("data", {f"small/{n:06}": os.urandom(SMALL_BYTES) for n in range(given.objects)})
        os.environ.update(
            server.environment | {"SKREI_ALLOW_ADDRESSES": "127.0.0.0/8", "AWS_DEFAULT_REGION": "us-east-1"}
        )
        ports = ("--port", "0", "--publisher-port", "0", "--nats-port", "0")
        stack = StackProcess(folder, ports, outlives_us=False)
        try:
            await stack.start()
            async with AsyncClient(stack.endpoint) as client:
                code = module(folder, given.hold)
                (first,) = await starts(client, job("first", code, server.url, 1))
                print(f"the first, which brings {given.objects:,} objects: {first:.0f} ms", flush=True)
                good = True
                for number in range(given.rounds):
                    many = await starts(client, job(f"many-{number}", code, server.url, AGAIN))
                    good = told(f"{number + 1}. {AGAIN} at once", many) and good
                each = [(await starts(client, job(f"one-{n}", code, server.url, 1)))[0] for n in range(AGAIN)]
                return told(f"{AGAIN} one after another", sorted(each)) and good
        finally:
            await stack.stop()


def told(what: str, found: list[float]) -> bool:
    good = found[-1] <= TARGET_MS
    print(
        f"  {what:<26} the first {found[0]:6.1f} ms, median {statistics.median(found):6.1f}, the last {found[-1]:6.1f}"
        f"   <= {TARGET_MS} ms  {'ok' if good else 'MISSED'}",
        flush=True,
    )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hold", type=float, default=2.0, metavar="SECONDS", help="how long a program goes on")
    given = parser.parse_args()
    os.environ["SKREI_LOG_LEVEL"] = os.environ.get("SKREI_LOG_LEVEL", "warning")
    folder = Path(tempfile.mkdtemp(prefix="skrei-starts-"))
    folder.chmod(0o711)
    try:
        good = asyncio.run(measure(folder, given))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
