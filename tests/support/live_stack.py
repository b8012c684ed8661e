"""A whole stack of real processes in a private folder, to be killed piece by piece."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import wasmtime

START_SECONDS = 60.0
LOOK_SECONDS = 0.05

SLEEPER = """
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 256) "slept\\0a")
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const {nanoseconds}))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
    (i32.store (i32.const 200) (i32.const 256))
    (i32.store (i32.const 204) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 200) (i32.const 1) (i32.const 208)))))
"""


NOISE = """
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 17)
  (func (export "_start") (local $left i32)
    (local.set $left (i32.const {mebibytes}))
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const 1048576))
    (loop $more
      (drop (call $random (i32.const 65536) (i32.const 1048576)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $more (local.get $left)))))
"""


def noise_job(mebibytes: int, *, count: int = 1) -> dict[str, Any]:
    """A job whose module says so much that nobody can pack smaller."""
    job = sleeper_job(0, cpu="100m", count=count)
    module = wasmtime.wat2wasm(NOISE.format(mebibytes=mebibytes))
    url = "data:application/wasm;base64," + base64.b64encode(bytes(module)).decode()
    job["Job"]["Tasks"][0]["InputSources"][0]["Source"]["Params"]["URL"] = url
    return job


def sleeper_job(seconds: float, *, cpu: str = "20m", count: int = 1) -> dict[str, Any]:
    """A job whose module sleeps, then says so."""
    return module_job(bytes(wasmtime.wat2wasm(SLEEPER.format(nanoseconds=int(seconds * 1e9)))), cpu=cpu, count=count)


def module_job(module: bytes, *, cpu: str = "20m", count: int = 1) -> dict[str, Any]:
    """A job that runs a module."""
    url = "data:application/wasm;base64," + base64.b64encode(module).decode()
    task = {
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "main.wasm", "Entrypoint": "_start"}},
        "InputSources": [{"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": "main.wasm"}],
        "Resources": {"CPU": cpu, "Memory": "10mb"},
    }
    return {"Job": {"Type": "batch", "Count": count, "Tasks": [task]}}


class LiveStack:
    """`skrei serve` as a user would start it; `program` is the command of another version."""

    def __init__(
        self, folder: Path, *options: str, env: dict[str, str] | None = None, program: Path | None = None
    ) -> None:
        self.folder = folder
        self.log = folder / "serve.log"
        data = folder / "data"
        skrei = program or Path(sys.executable).with_name("skrei")
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    skrei,
                    "serve",
                    "--data-dir",
                    data,
                    "--port",
                    "0",
                    "--publisher-port",
                    "0",
                    "--nats-port",
                    "0",
                    *options,
                ],
                stdout=out,
                stderr=out,
                env=os.environ | {"SKREI_LOG_LEVEL": "info"} | (env or {}),
            )
        self._state = data / "stack.json"
        self.keys = data / "keys"
        self.wait_until(lambda: self.state().get("ready", False), START_SECONDS, "the stack is ready")
        self.client = httpx2.Client(base_url=self.state()["api_url"] + "/api/v1/orchestrator", timeout=10)

    def state(self) -> dict[str, Any]:
        """What stack.json tells now."""
        try:
            found: dict[str, Any] = json.loads(self._state.read_text())
        except (OSError, ValueError):
            return {}
        return found

    def wait_until(self, check: Any, seconds: float, what: str) -> None:
        """Look until `check` holds. Raises AssertionError with the end of the log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if check():
                return
            assert self.process.poll() is None, f"the stack ended: {self.tail()}"
            time.sleep(LOOK_SECONDS)  # other processes are awaited: there is nothing in this one to wait for
        raise AssertionError(f"after {seconds} s not yet: {what}\n{self.tail()}")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def pid(self, child: str) -> int:
        """The process of a child now."""
        return int(self.state()["children"].get(child, 0))

    def kill(self, child: str) -> None:
        """kill -9 a child, and wait until another one is there."""
        old = self.pid(child)
        assert old, f"no child {child!r} among {sorted(self.state()['children'])}"
        os.kill(old, signal.SIGKILL)
        self.wait_until(lambda: self.pid(child) not in (0, old), 15, f"{child} is started again")

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Call the API as a patient client does: while it is away, try again."""
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(httpx2.TransportError):
                answer = self.client.request(method, path, **options)
                if answer.status_code < 500:
                    assert answer.status_code == 200, answer.text
                    return answer.json()
            assert time.monotonic() < end, f"the API stayed away: {self.tail()}"
            time.sleep(LOOK_SECONDS)

    def submit(self, job: dict[str, Any]) -> str:
        """Submit once, whatever happens on the way: the token makes a repeat the same job."""
        token = os.urandom(8).hex()
        return str(self.call("PUT", "/jobs", json=job | {"IdempotencyToken": token})["JobID"])

    def state_of(self, job_id: str) -> str:
        return str(self.call("GET", f"/jobs/{job_id}")["Job"]["State"]["StateType"])

    def wait_for(self, jobs: list[str], seconds: float) -> dict[str, str]:
        """Wait until all are terminal; return their states."""
        states: dict[str, str] = {}

        def look() -> bool:
            for job_id in jobs:
                if job_id not in states:
                    state = self.state_of(job_id)
                    if state not in ("Completed", "Failed", "Stopped"):
                        return False
                    states[job_id] = state
            return True

        self.wait_until(look, seconds, "all jobs are terminal")
        return states

    def check_once(self, job_id: str, count: int = 1) -> None:
        """Every partition has exactly one winner, and the history has no gap."""
        items = self.call("GET", f"/jobs/{job_id}/results")["Items"]
        assert len(items) == count, f"{job_id}: {items}"
        found = self.call("GET", f"/jobs/{job_id}/history", params={"limit": 1000, "event_type": "all"})
        numbers = [item["SeqNum"] for item in found["Items"]]
        assert numbers == list(range(1, len(numbers) + 1)), f"{job_id}: the history has a gap: {numbers}"
        ends = [item["Event"]["Message"] for item in found["Items"] if item["Type"] == "JobLevel"]
        assert ends.count("Completed") == 1, f"{job_id}: {ends}"

    def stop(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
                raise


@contextlib.contextmanager
def live_stack(*options: str, env: dict[str, str] | None = None, program: Path | None = None) -> Iterator[LiveStack]:
    """Start a stack, and stop it whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="skrei-live-", dir="/tmp"))
    folder.chmod(0o711)
    stack = LiveStack(folder, *options, env=env, program=program)
    try:
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)
