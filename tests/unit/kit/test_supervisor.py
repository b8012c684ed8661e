"""Loops surface their failures, stops are silent, and a manual clock wakes sleepers in order."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from skrei_domain.clock import ManualClock
from skrei_kit.supervisor import PARENT_PIPE, Watchdog, every, run_until_stopped, unless_stopped

SECOND = timedelta(seconds=1)


async def test_a_loop_runs_now_and_then_once_per_interval() -> None:
    clock, runs = ManualClock(), []

    async def step() -> None:
        runs.append(clock.monotonic())

    loop = asyncio.create_task(every(SECOND, step, name="tick", clock=clock))
    await clock.advance(timedelta(seconds=2.5))
    loop.cancel()
    assert runs == [0.0, 1.0, 2.0]


async def test_a_loop_gives_up_after_repeated_failures() -> None:
    clock, stop = ManualClock(), asyncio.Event()

    async def broken() -> None:
        raise RuntimeError("db down")

    service = asyncio.create_task(
        run_until_stopped(stop, tick=every(SECOND, broken, name="tick", clock=clock, give_up_after=3))
    )
    await clock.advance(timedelta(seconds=5))
    with pytest.raises(ExceptionGroup) as raised:
        await service
    assert raised.group_contains(RuntimeError, match="db down")


async def test_one_success_forgives_the_failures_before_it() -> None:
    clock, outcomes = ManualClock(), iter([False, False, True, False, False, True, True])

    async def shaky() -> None:
        if not next(outcomes):
            raise RuntimeError("for now")

    loop = asyncio.create_task(every(SECOND, shaky, name="shaky", clock=clock, give_up_after=3))
    await clock.advance(timedelta(seconds=6))
    assert not loop.done()
    loop.cancel()


async def test_a_loop_that_is_cancelled_by_what_it_waits_for_ends_the_service_loudly() -> None:
    async def waits() -> None:
        answer = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer

    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(10):
            await run_until_stopped(asyncio.Event(), waits=waits())
    assert raised.group_contains(RuntimeError, match="'waits' was cancelled")


async def test_what_goes_wrong_as_a_loop_ends_surfaces_too() -> None:
    """A leader that is told to end hears from its record that another leads."""
    began, stop = asyncio.Event(), asyncio.Event()

    async def fails() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise RuntimeError("another leads") from error

    service = asyncio.create_task(run_until_stopped(stop, fails=fails()))
    await began.wait()
    stop.set()
    with pytest.raises(ExceptionGroup) as raised:
        await service
    assert raised.group_contains(RuntimeError, match="another leads")


async def test_a_loop_that_returns_ends_the_service_loudly() -> None:
    async def ends() -> None:
        return

    with pytest.raises(ExceptionGroup) as raised:
        await run_until_stopped(asyncio.Event(), quitter=ends())
    assert raised.group_contains(RuntimeError, match="'quitter' returned")


async def test_a_requested_stop_is_silent_and_awaits_the_loops() -> None:
    stop, ended = asyncio.Event(), []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    service = asyncio.create_task(run_until_stopped(stop, forever=forever()))
    await asyncio.sleep(0)
    stop.set()
    await service
    assert ended == [True]


async def test_sleepers_wake_in_order_whatever_order_they_fell_asleep_in() -> None:
    clock, woken = ManualClock(), []

    async def sleeper(seconds: int) -> None:
        await clock.sleep(timedelta(seconds=seconds))
        woken.append((seconds, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
    await clock.advance(timedelta(seconds=2))
    assert woken == [(1, 1.0), (2, 2.0)]
    await clock.advance(timedelta(seconds=1))
    await asyncio.gather(*tasks)
    assert clock.monotonic() == 3.0


async def test_the_watchdog_says_where_a_blocked_loop_is(capfd: pytest.CaptureFixture[str]) -> None:
    watch = asyncio.create_task(Watchdog(limit_seconds=0.05).run())
    await asyncio.sleep(0)
    hold_the_loop()
    watch.cancel()
    told = capfd.readouterr().err
    assert "event loop blocked" in told
    assert "hold_the_loop" in told


def hold_the_loop() -> None:
    import time

    time.sleep(0.3)


def test_an_orphan_that_does_not_stop_is_ended_all_the_same() -> None:
    read, write = os.pipe()
    program = (
        "import signal, sys, time\n"
        "from skrei_kit import supervisor\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "supervisor.ORPHAN_SECONDS = 0.2\n"
        "supervisor.die_with_parent()\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {PARENT_PIPE: str(read)},
        pass_fds=(read,),
        stdout=subprocess.PIPE,
    ) as orphan:
        os.close(read)
        assert orphan.stdout is not None
        orphan.stdout.readline()
        os.close(write)
        assert orphan.wait(10) == -signal.SIGKILL


async def test_work_that_ends_in_time_is_what_a_stop_did_not_meet() -> None:
    async def work() -> int:
        return 7

    assert await unless_stopped(asyncio.Event(), work()) == 7


async def test_a_stop_ends_work_that_waits_and_lets_it_clean_up() -> None:
    stop, cleaned = asyncio.Event(), []

    async def work() -> int:
        try:
            stop.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)
        return 7

    assert await unless_stopped(stop, work()) is None
    assert cleaned == [True]


async def test_what_work_raises_passes() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await unless_stopped(asyncio.Event(), work())


async def test_who_waits_for_work_and_is_cancelled_cancels_it() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(unless_stopped(asyncio.Event(), work()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


def test_a_process_that_asks_may_open_as_many_files_as_its_hard_limit_lets_it() -> None:
    code = (
        "import resource; from skrei_kit.supervisor import open_as_many_files_as_allowed as ask\n"
        "limit = resource.RLIMIT_NOFILE; resource.setrlimit(limit, (64, 900)); ask(); ask()\n"
        "print(resource.getrlimit(limit))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "(900, 900)\n"
    )
