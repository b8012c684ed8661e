"""Whole clusters on virtual time: schedulers, nodes and the record's rules under faults.

A failure prints its seed and what happened last; `make sim SEED=…` replays it.
"""

import os

import pytest

from tests.support.sim.cluster import live

SEEDS = 216
ORDERED_SEEDS = 64
PORT_SEEDS = 64
PARTS = 8  # so that a run on two cores shares them, and a failure leaves the rest to be seen


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_fails_every_job_ends_once_and_nothing_is_left_behind(part: int) -> None:
    chosen = os.environ.get("SEED")
    seeds = [int(chosen)] if chosen and part == 0 else [] if chosen else range(part, SEEDS, PARTS)
    for seed in seeds:
        live(seed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_tasks_that_wait_for_others_begin_after_them_whatever_fails(part: int) -> None:
    """The record refuses what begins before what it waits for is won; all else is as in any life."""
    chosen = os.environ.get("SEED")
    seeds = [int(chosen)] if chosen and part == 0 else [] if chosen else range(part, ORDERED_SEEDS, PARTS)
    for seed in seeds:
        live(seed, several=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_port_is_two_executions_at_once_whatever_fails(part: int) -> None:
    """The record refuses a port that is taken, a node one that it has given away; all else is as in any life."""
    chosen = os.environ.get("SEED")
    seeds = [int(chosen)] if chosen and part == 0 else [] if chosen else range(part, PORT_SEEDS, PARTS)
    for seed in seeds:
        live(seed, ports=True)
