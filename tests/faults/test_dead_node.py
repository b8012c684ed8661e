"""A node that dies while a program talks: what it had said can be read, and the reader is told that it is not all."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from tests.support.live_stack import LiveStack, live_stack, module_job

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

TALKER = """
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 256) "talking\\0a")
  (func (export "_start")
    (loop $on
      (i32.store (i32.const 200) (i32.const 256))
      (i32.store (i32.const 204) (i32.const 8))
      (drop (call $write (i32.const 1) (i32.const 200) (i32.const 1) (i32.const 208)))
      (i32.store (i32.const 16) (i32.const 1))
      (i64.store (i32.const 24) (i64.const 200000000))
      (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
      (br $on))))
"""


def logs(stack: LiveStack, job_id: str) -> subprocess.CompletedProcess[str]:
    """`skrei logs`, as a user would."""
    skrei = Path(sys.executable).with_name("skrei")
    command = [skrei, "logs", job_id, "--api", stack.state()["api_url"]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def shipped(stack: LiveStack) -> list[Path]:
    return [path for path in (stack.folder / "data/publisher/logs").rglob("1.stdout") if path.stat().st_size > 0]


@pytest.mark.row("12/dead-node-logs")
def test_what_a_killed_node_had_said_can_be_read(tmp_path: Path) -> None:
    with live_stack() as stack:
        job_id = stack.submit(talking_job())
        stack.wait_until(lambda: shipped(stack), 30, "something was sent")
        two_id = stack.submit(talking_job(Count=2))
        stack.wait_until(lambda: len(shipped(stack)) == 3, 30, "all three sent something")
        agent = stack.pid("agent")
        os.kill(stack.process.pid, signal.SIGSTOP)  # nobody starts it again
        try:
            os.kill(agent, signal.SIGKILL)
            read = logs(stack, job_id)
            out, told = followed(stack, two_id, tmp_path, until="does not answer", times=2)
        finally:
            os.kill(stack.process.pid, signal.SIGCONT)
    assert read.stdout.startswith("talking\ntalking\n")
    assert "does not answer: this is what it had sent until" in read.stderr
    assert read.returncode == 1
    assert out.count("talking\n") >= 2
    assert sorted(line[:3] for line in told.splitlines() if "does not answer" in line) == ["[0]", "[1]"]


def followed(stack: LiveStack, job_id: str, folder: Path, *, until: str, times: int) -> tuple[str, str]:
    """Leave `skrei logs -f` once it has said that on standard error so often; return what it said on each."""
    command = [Path(sys.executable).with_name("skrei"), "logs", "-f", job_id, "--api", stack.state()["api_url"]]
    out, err = folder / "out", folder / "err"
    with out.open("wb") as said, err.open("wb") as told:
        reader = subprocess.Popen(command, stdout=said, stderr=told)
    try:
        stack.wait_until(lambda: err.read_text().count(until) >= times, 60, f"{until!r} is told {times} times")
    finally:
        reader.terminate()
        reader.wait(30)
    return out.read_text(), err.read_text()


def talking_job(**more: Any) -> dict[str, Any]:
    made = module_job(bytes(wasmtime.wat2wasm(TALKER)))
    return made | {"Job": made["Job"] | more}
