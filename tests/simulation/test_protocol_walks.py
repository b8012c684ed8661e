"""Long seeded walks through the node protocol: more steps than a shrinking search can afford.

A failure prints its seed; `SEED=… make sim` replays it.
"""

import copy
import os
import random
from collections.abc import Callable

import pytest

from skrei_domain.lifecycle import ExecutionState
from tests.support.protocol import Record, World

WALKS = 400
STEPS = 120
NODES = ("n-1", "n-2")
MAX_PROCESSES = 6
ENDS = (ExecutionState.RUNNING, ExecutionState.COMPLETED, ExecutionState.FAILED)


class Walk:
    """One seeded walk: ordinary life mostly, and every fault now and then."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(NODES)
        self.world.exchange()
        self.backups: list[Record] = []
        self.snapshots: list[tuple[int, int, set[str]]] = []
        self.faults = self.random.sample(self.fault_moves(), k=self.random.randint(1, 5))  # swarm: not all at once

    def step(self) -> None:
        moves = self.life_moves()
        fault = self.random.random() < 0.12
        (self.random.choice(self.faults) if fault else self.random.choice(moves))()

    def life_moves(self) -> list[Callable[[], None]]:
        return [
            *[self.place] * 3, self.revoke, *[self.work] * 3, *[self.pump] * 3, self.world.sweep, self.time,
            *[self.deliver] * 6, self.world.exchange,
        ]  # fmt: skip

    def fault_moves(self) -> list[Callable[[], None]]:
        return [
            self.drop, self.repeat, self.reorder, self.crash, self.crash_between_acts, self.snapshot, self.roll_back,
            self.wipe, self.clone, self.world.replace_leader, self.frozen_leader_wakes, self.back_up, self.restore,
            self.wipe_streams, self.world.hours_pass,
        ]  # fmt: skip

    def place(self) -> None:
        self.world.plan(self.random.randrange(5), self.random.choice(NODES))

    def revoke(self) -> None:
        if self.world.record.rows:
            self.world.revoke(self.random.choice(sorted(self.world.record.rows)))

    def work(self) -> None:
        running = [(p, e) for p in self.world.processes if not p.dead for e in sorted(p.running)]
        if running:
            self.world.observe(*self.random.choice(running), self.random.choice(ENDS))

    def pump(self) -> None:
        self.world.pump(self.random.choice(self.world.processes), heartbeat=self.random.random() < 0.5)

    def time(self) -> None:
        self.world.now += self.random.choice([0.1, 1.0, 6.0, 20.0])

    def deliver(self) -> None:
        if self.world.up and self.random.random() < 0.5:
            self.world.deliver_up(0)
        elif self.world.down:
            self.world.deliver_down(0)

    def drop(self) -> None:
        for queue in (self.world.up, self.world.down):
            if queue:
                queue.pop(self.random.randrange(len(queue)))

    def repeat(self) -> None:
        if self.world.up:
            self.world.deliver_up(self.random.randrange(len(self.world.up)), keep=True)
        if self.world.down:
            self.world.deliver_down(self.random.randrange(len(self.world.down)), keep=True)

    def reorder(self) -> None:
        self.random.shuffle(self.world.up)
        self.random.shuffle(self.world.down)

    def crash(self) -> None:
        self.world.restart(self.random.randrange(len(self.world.processes)))

    def crash_between_acts(self) -> None:
        if self.world.down:
            self.world.deliver_down(0, crash_after=self.random.randrange(3))

    def snapshot(self) -> None:
        index = self.random.randrange(len(self.world.processes))
        journal = self.world.processes[index].journal
        self.snapshots.append((index, len(journal.rows), set(journal.ever_run)))

    def roll_back(self) -> None:
        if self.snapshots:
            index, length, ever_run = self.random.choice(self.snapshots)
            journal = self.world.processes[index].journal
            if length <= len(journal.rows):
                del journal.rows[length:]
                journal.ever_run = set(ever_run)
                journal.refused.clear()
                self.world.restart(index)
        else:
            self.snapshot()

    def wipe(self) -> None:
        index = self.random.randrange(len(self.world.processes))
        journal = self.world.processes[index].journal
        journal.rows.clear()
        journal.ever_run.clear()
        journal.refused.clear()
        self.world.restart(index)

    def clone(self) -> None:
        if len(self.world.processes) < MAX_PROCESSES:
            self.world.clone(self.random.randrange(len(self.world.processes)))

    def frozen_leader_wakes(self) -> None:
        if self.world.frozen and self.world.up:
            self.world.deliver_up(0, keep=True, leader=self.random.choice(self.world.frozen))
        else:
            self.world.replace_leader()

    def back_up(self) -> None:
        self.backups.append(copy.deepcopy(self.world.record))

    def restore(self) -> None:
        if self.backups:
            self.world.restore(self.random.choice(self.backups))
        else:
            self.back_up()

    def wipe_streams(self) -> None:
        self.world.up.clear()
        self.world.down.clear()


def walk(seed: int) -> None:
    path = Walk(seed)
    for _ in range(STEPS):
        path.step()
    path.world.settle()
    path.world.check_end()


def seeds() -> range:
    chosen = os.environ.get("SEED")
    return range(int(chosen), int(chosen) + 1) if chosen else range(int(os.environ.get("WALKS", WALKS)))


@pytest.mark.timeout(600)
def test_walks_through_the_protocol_lose_nothing_and_commit_nothing_twice() -> None:
    for seed in seeds():
        try:
            walk(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed} (replay: make sim SEED={seed}): {error}") from error
