"""A child that ends comes back, later each time, at once again after it was healthy; and it stops when told."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from skrei_embedded.processes import Process, Spawner, end, end_strangers, started_at
from skrei_embedded.stack import Stack
from skrei_embedded.supervised import HEALTHY_SECONDS, LONGEST_BACKOFF_SECONDS, Supervised
from skrei_embedded.whereabouts import StackOptions
from skrei_plugin_api.testing import eventually
from tests.support.servers import spawner

STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "while True: time.sleep(60)\n"
)


@pytest.fixture
def children() -> Iterator[Spawner]:
    with spawner() as made:
        yield made


def ends_at_once(children: Spawner) -> Supervised:
    return Supervised("short", lambda: children.start(["/bin/sh", "-c", "exit 3"], environment={}), stop_seconds=1)


def wait_for_end(child: Supervised) -> None:
    assert child.process is not None
    child.process.wait(10)


def test_each_end_in_a_row_waits_twice_as_long_up_to_a_limit(children: Spawner) -> None:
    child, now, waits = ends_at_once(children), 0.0, []
    for _ in range(8):
        assert child.look(now) is None
        wait_for_end(child)
        due = child.look(now)
        assert due is not None
        waits.append(round(due - now, 3))
        assert child.look(due - 0.01) == due
        now = due
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS]


def test_an_end_after_healthy_days_counts_as_the_first(children: Spawner) -> None:
    child = ends_at_once(children)
    child.look(0.0)
    wait_for_end(child)
    due = child.look(0.0)
    assert due is not None
    child.look(due)
    wait_for_end(child)
    later = due + HEALTHY_SECONDS
    assert child.look(later) == pytest.approx(later + 0.2)


def test_a_program_that_cannot_be_started_is_named_at_first_and_tried_again_later(
    children: Spawner, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    child = Supervised("short", lambda: children.start([str(program)], environment={}), stop_seconds=1)
    with pytest.raises(FileNotFoundError):
        child.look(0.0)
    program.symlink_to("/bin/true")
    assert child.look(0.0) is None
    wait_for_end(child)
    program.unlink()  # an upgrade replaces it
    due = child.look(0.0)
    assert due is not None
    again = child.look(due)
    assert again == pytest.approx(due + 0.4)
    program.symlink_to("/bin/true")
    assert child.look(due + 0.4) is None
    assert child.process is not None
    wait_for_end(child)


async def test_a_supervisor_goes_on_while_it_cannot_write_down_who_runs(children: Spawner, tmp_path: Path) -> None:
    stack = Stack(StackOptions(data_dir=tmp_path))
    obstacle = tmp_path / "stack.json.new"  # refuses it as a full disk does
    obstacle.mkdir()
    child = ends_at_once(children)
    stack._children.append(child)
    with capture_logs() as logs:
        supervising = asyncio.create_task(stack._supervise())
        await eventually(lambda: any(line["event"] == "state_not_written" for line in logs) or supervising.done())
        assert not supervising.done()
        obstacle.rmdir()
        stack._child_ended.set()
        await eventually(lambda: stack.place.read() is not None)
    supervising.cancel()
    await asyncio.gather(supervising, return_exceptions=True)
    await child.stop(1)


@pytest.fixture
def stubborn() -> Iterator[Process]:
    """A process that ignores SIGTERM, and has begun to."""
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    yield process
    process.kill()
    process.wait()


async def test_a_child_that_ignores_the_request_is_killed_in_time(stubborn: Process) -> None:
    child = Supervised("stubborn", lambda: stubborn, stop_seconds=0.1, process=stubborn)
    began = time.monotonic()
    await child.stop(5)
    assert stubborn.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 3


async def test_what_a_child_leaves_in_its_session_ends_with_it(children: Spawner, tmp_path: Path) -> None:
    left = tmp_path / "left"
    child = children.start(["/bin/sh", "-c", f"sleep 60 & echo $! > {left}"], environment={})
    child.wait(10)
    sleeper = int(left.read_text())
    assert started_at(sleeper)
    end(child, wait_seconds=1.0)
    await eventually(lambda: not started_at(sleeper))


def test_whoever_has_the_number_of_a_child_that_is_gone_is_let_be(children: Spawner) -> None:
    child = children.start(["/bin/true"], environment={})
    child.wait(10)
    stranger = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    try:
        child.pid = stranger.pid
        end(child, wait_seconds=1.0)
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(0.2)
    finally:
        stranger.kill()
        stranger.wait(10)


def test_a_stranger_is_ended_only_if_it_is_still_the_one_we_knew() -> None:
    ours = subprocess.Popen(["/bin/sleep", "60"])
    other = subprocess.Popen(["/bin/sleep", "60"])
    try:
        end_strangers({ours.pid: started_at(ours.pid), other.pid: "another birth"}, wait_seconds=5)
        assert ours.wait(5) == -signal.SIGTERM
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_child_that_waits_begins_when_the_gate_opens_and_a_later_one_at_once(children: Spawner) -> None:
    told, say = os.pipe()
    code = "from skrei_kit.supervisor import await_start; print('there', flush=True); await_start(); print('begun')"

    def start() -> Process:
        with os.fdopen(os.dup(say), "wb") as log:
            return children.start([sys.executable, "-c", code], environment={}, log=log, waits=True)

    early = start()
    assert os.read(told, 64) == b"there\n"
    assert early.poll() is None
    children.gate.open()
    assert early.wait(10) == 0
    assert os.read(told, 64) == b"begun\n"
    assert start().wait(10) == 0
    assert os.read(told, 64) == b"there\nbegun\n"
    os.close(told)
    os.close(say)
