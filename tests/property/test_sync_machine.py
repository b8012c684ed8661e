"""The node protocol under every fault at once: drops, repeats, reorders, delays, crashes, wiped, rolled back and
cloned journals, wiped streams, frozen leaders and restored records."""

import copy
import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skrei_domain.lifecycle import ExecutionState
from tests.support.protocol import Record, World

ANY = st.integers(0, 10_000)
MAX_PROCESSES = 6


class SyncMachine(RuleBasedStateMachine):
    """`World` checks what must never happen at each step; the end checks that nothing is lost once faults stop."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.exchange()
        self.backups: list[Record] = []
        self.snapshots: list[tuple[int, list[object]]] = []

    # ------------------------------------------------------------ ordinary life

    @rule(unit=st.integers(0, 4), node=st.sampled_from(["n-1", "n-2"]))
    def place(self, unit: int, node: str) -> None:
        self.world.plan(unit, node)

    @precondition(lambda self: self.world.record.rows)
    @rule(pick=ANY)
    def revoke(self, pick: int) -> None:
        ids = sorted(self.world.record.rows)
        self.world.revoke(ids[pick % len(ids)])

    @rule(pick=ANY, state=st.sampled_from([ExecutionState.RUNNING, ExecutionState.COMPLETED, ExecutionState.FAILED]))
    def work(self, pick: int, state: ExecutionState) -> None:
        running = [(p, e) for p in self.world.processes if not p.dead for e in sorted(p.running)]
        if running:
            process, execution_id = running[pick % len(running)]
            self.world.observe(process, execution_id, state)

    @rule(pick=ANY, heartbeat=st.booleans())
    def pump(self, pick: int, heartbeat: bool) -> None:
        self.world.pump(self.world.processes[pick % len(self.world.processes)], heartbeat=heartbeat)

    @rule()
    def sweep(self) -> None:
        self.world.sweep()

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def hours_pass(self) -> None:
        self.world.hours_pass()

    # ------------------------------------------------------------ the network

    @precondition(lambda self: self.world.up)
    @rule(pick=ANY, keep=st.booleans())
    def deliver_up(self, pick: int, keep: bool) -> None:
        self.world.deliver_up(pick % len(self.world.up), keep=keep)

    @precondition(lambda self: self.world.down)
    @rule(pick=ANY, keep=st.booleans(), crash_after=st.none() | st.integers(0, 2))
    def deliver_down(self, pick: int, keep: bool, crash_after: int | None) -> None:
        self.world.deliver_down(pick % len(self.world.down), keep=keep, crash_after=crash_after)

    @rule()
    def in_order(self) -> None:
        self.world.exchange(rounds=20)

    @precondition(lambda self: self.world.up)
    @rule(pick=ANY)
    def drop_up(self, pick: int) -> None:
        self.world.up.pop(pick % len(self.world.up))

    @precondition(lambda self: self.world.down)
    @rule(pick=ANY)
    def drop_down(self, pick: int) -> None:
        self.world.down.pop(pick % len(self.world.down))

    @rule()
    def wipe_streams(self) -> None:
        self.world.up.clear()
        self.world.down.clear()

    # ------------------------------------------------------------ faults of the nodes

    @rule(pick=ANY)
    def crash(self, pick: int) -> None:
        self.world.restart(pick % len(self.world.processes))

    @rule(pick=ANY)
    def snapshot_journal(self, pick: int) -> None:
        index = pick % len(self.world.processes)
        journal = self.world.processes[index].journal
        self.snapshots.append((index, [len(journal.rows), set(journal.ever_run)]))

    @precondition(lambda self: self.snapshots)
    @rule(pick=ANY)
    def roll_back_journal(self, pick: int) -> None:
        index, (length, ever_run) = self.snapshots[pick % len(self.snapshots)]
        journal = self.world.processes[index].journal
        assert isinstance(length, int)
        assert isinstance(ever_run, set)
        if length <= len(journal.rows):
            # the copy that ran on is gone with all that it did: this one may begin again what it never began
            del journal.rows[length:]
            journal.ever_run = set(ever_run)
            journal.refused.clear()
            self.world.restart(index)

    @rule(pick=ANY)
    def wipe_journal(self, pick: int) -> None:
        index = pick % len(self.world.processes)
        journal = self.world.processes[index].journal
        journal.rows.clear()
        journal.ever_run.clear()
        journal.refused.clear()
        self.world.restart(index)

    @precondition(lambda self: len(self.world.processes) < MAX_PROCESSES)
    @rule(pick=ANY)
    def clone_journal(self, pick: int) -> None:
        self.world.clone(pick % len(self.world.processes))

    # ------------------------------------------------------------ faults of the control plane

    @rule()
    def replace_leader(self) -> None:
        self.world.replace_leader()

    @precondition(lambda self: self.world.frozen and self.world.up)
    @rule(pick=ANY)
    def a_frozen_leader_wakes(self, pick: int) -> None:
        frozen = self.world.frozen[pick % len(self.world.frozen)]
        self.world.deliver_up(pick % len(self.world.up), leader=frozen, keep=True)

    @rule()
    def back_up_the_record(self) -> None:
        self.backups.append(copy.deepcopy(self.world.record))

    @precondition(lambda self: self.backups)
    @rule(pick=ANY)
    def restore_the_record(self, pick: int) -> None:
        self.world.restore(self.backups[pick % len(self.backups)])

    # ------------------------------------------------------------ what must hold

    @invariant()
    def winners_are_not_revoked(self) -> None:
        for execution_id in self.world.record.winners.values():
            row = self.world.record.rows[execution_id]
            assert not row.revoked
            assert row.state is ExecutionState.COMPLETED

    def teardown(self) -> None:
        world = self.world
        world.settle()
        world.check_end()


EXAMPLES = int(os.environ.get("SKREI_EXAMPLES", "110"))  # raised by hand for a longer hunt
SyncMachine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=50, deadline=None)
TestTheProtocolUnderEveryFault = SyncMachine.TestCase
