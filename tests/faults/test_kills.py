"""Real processes, killed one by one while work is under way: everything completes, once."""

import asyncio
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from skrei_kit.bus import Bus
from tests.support.live_stack import LiveStack, live_stack, sleeper_job

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

JOBS = 300
EACH_SECONDS = 3.0


def submit_all(stack: LiveStack, count: int, seconds: float) -> list[str]:
    job = sleeper_job(seconds)
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(stack.submit, [job] * count))


def running(stack: LiveStack) -> int:
    return sum(
        node["Info"]["ComputeNodeInfo"]["RunningExecutions"]
        for node in stack.call("GET", "/nodes")["Nodes"]
        if "ComputeNodeInfo" in node["Info"]
    )


def test_every_part_may_be_killed_during_300_jobs_and_all_complete_once() -> None:
    with live_stack("--schedulers", "2") as stack:
        jobs = submit_all(stack, JOBS, EACH_SECONDS)
        stack.wait_until(lambda: running(stack) > 0, 20, "something runs")
        children = [name for name in stack.state()["children"] if name != "migrate"]
        for child in children:
            stack.kill(child)
        states = stack.wait_for(jobs, 120)
        assert set(states.values()) == {"Completed"}, [j for j, s in states.items() if s != "Completed"]
        for job_id in jobs:
            stack.check_once(job_id)


def test_a_frozen_leader_wakes_and_its_commit_is_refused() -> None:
    with live_stack("--schedulers", "2") as stack:
        first = stack.submit(sleeper_job(0.01))
        assert stack.wait_for([first], 20) == {first: "Completed"}
        schedulers = [name for name in stack.state()["children"] if name.startswith("scheduler")]
        assert len(schedulers) == 2
        leader = leads(stack)
        pid = stack.pid(leader)
        os.kill(pid, signal.SIGSTOP)
        try:
            jobs = submit_all(stack, 20, 0.05)
            states = stack.wait_for(jobs, 30)  # the standby leads now
        finally:
            os.kill(pid, signal.SIGCONT)
        assert set(states.values()) == {"Completed"}
        stack.wait_until(
            lambda: (
                "leadership_lost" in stack.log.read_text()
                or "lease_taken" in stack.log.read_text()
                or "lease_expired_here" in stack.log.read_text()
            ),
            15,
            "the frozen leader learns that it was replaced",
        )
        more = submit_all(stack, 20, 0.05)
        assert set(stack.wait_for(more, 30).values()) == {"Completed"}
        for job_id in [*jobs, *more]:
            stack.check_once(job_id)


def leads(stack: LiveStack) -> str:
    """The scheduler that said last that it leads: its log line carries its pid."""
    pid = 0
    for line in stack.log.read_text(errors="replace").splitlines():
        if '"leading"' in line:
            pid = int(json.loads(line[line.index("{") :]).get("pid", 0))
    return next(name for name, each in stack.state()["children"].items() if each == pid)


def test_all_streams_deleted_during_a_run_lose_nothing() -> None:
    with live_stack() as stack:
        jobs = submit_all(stack, 100, 1.0)
        stack.wait_until(lambda: running(stack) > 0, 20, "something runs")
        for _ in range(3):
            asyncio.run(delete_streams(stack))
        states = stack.wait_for(jobs, 90)
        assert set(states.values()) == {"Completed"}
        for job_id in jobs:
            stack.check_once(job_id)


async def delete_streams(stack: LiveStack) -> None:
    creds = next(stack.keys.glob("scheduler*.creds"))
    bus = await Bus.connect(stack.state()["nats_url"], name="fault", creds=creds)
    try:
        for name in ("COMMANDS", "FACTS", "RESULTS"):
            if await bus.stream_info(name) is not None:
                await bus.jetstream.delete_stream(name)
    finally:
        await bus.close()
