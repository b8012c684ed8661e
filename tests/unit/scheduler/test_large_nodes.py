"""A node that holds more than one commit may touch: its hello and its silence go into the record piece by piece."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skrei_domain.lifecycle import Connection, ExecutionState
from skrei_domain.messages import Hello, HelloExecution, HelloReply
from skrei_scheduler.core import Core
from skrei_scheduler.work import Commit, Outgoing, Reply
from skrei_scheduling.changes import Changes
from skrei_scheduling.rows import NodeRow
from tests.support.builders import a_job, a_node, a_requirement, an_execution, counting_ids
from tests.support.ledger import Ledger

UNITS = 10
PIECE = 3
S = ExecutionState


class Bench:
    """A node with ten executions of ten jobs, and a leader that takes three at a time."""

    def __init__(self, state: ExecutionState = S.RUNNING) -> None:
        self.record = Ledger()
        self.ids = counting_ids()
        self.now = 0.0
        self.replies: list[HelloReply] = []
        connected = state is not S.UNKNOWN
        self.record.nodes["n-1"] = a_node("n-1", cpu="64", connected=connected)
        for number in range(UNITS):
            job = a_job(f"j-{number}", requirement=a_requirement(cpu="1"))
            self.record.submit(job, f"v-{number}")
            row = an_execution(
                f"e-{number}", job=job, state=state, observed=S.RUNNING, incarnation=1, revision=1, seen_revision=1
            )
            self.record.executions[row.id] = row
        self.record.evaluations.clear()
        self.lead()

    def lead(self) -> None:
        """A new leader, which knows what is in the record."""
        self.core = Core(self.record.view(), timeline=1, epoch=1, now=self.now, ids=self.ids, piece=PIECE)

    def is_silent(self) -> None:
        """Nothing is heard for longer than a node may be silent."""
        for _ in range(8):
            self.now += 2.0
            self.core.on_tick(self.now)

    def hello(self, *, incarnation: int = 1, listed: int = UNITS, boot_id: str = "boot-n-1") -> None:
        self.core.on_hello(self.says(incarnation=incarnation, listed=listed, boot_id=boot_id), "inbox")

    def says(self, *, incarnation: int, listed: int, boot_id: str) -> Hello:
        return Hello(
            node_id="n-1",
            boot_id=boot_id,
            timeline=1,
            epoch=1,
            incarnation=incarnation,
            sequence=0,
            confirmed=0,
            executions=tuple(
                HelloExecution(execution_id=f"e-{n}", revision=1, state=S.RUNNING, starts=1) for n in range(listed)
            ),
            info=self.node.info,
        )

    @property
    def node(self) -> NodeRow:
        return self.record.nodes["n-1"]

    def step(self) -> Changes | None:
        """Make the next commit of the node; its size is what a commit may have."""
        while (work := self.core.next_work(self.now, self.record.now)) is not None:
            if not isinstance(work, Commit):
                self.hear(work if isinstance(work, list) else [])
                continue
            assert len(work.lock) <= PIECE or work.name == "plan"
            changes = self.record.commit(work.lock, work.evaluations, work.decide)
            assert len(changes.executions) <= PIECE
            self.hear(work.after(changes, self.now))
            assert self.core.view.executions == self.record.view().executions
            if work.name != "plan":
                return changes
        return None

    def hear(self, out: list[Outgoing]) -> None:
        self.replies += [each.reply for each in out if isinstance(each, Reply) and each.reply.refusal is None]

    def run(self) -> int:
        steps = 0
        while self.step() is not None:
            steps += 1
        return steps

    def states(self) -> list[str]:
        return [self.record.executions[f"e-{number}"].state.value for number in range(UNITS)]


def test_a_node_that_returns_is_known_again_piece_by_piece_and_answered_by_the_first() -> None:
    bench = Bench(S.UNKNOWN)
    bench.hello()
    bench.step()
    assert bench.node.connection is Connection.CONNECTED
    assert [reply.confirmed for reply in bench.replies] == [0]
    assert bench.states().count("running") == PIECE
    assert bench.run() == 3
    assert bench.states() == ["running"] * UNITS


def test_what_a_new_journal_lost_is_given_up_piece_by_piece_before_the_node_is_answered() -> None:
    bench = Bench()
    bench.hello(incarnation=2, listed=0)
    while not bench.replies:
        assert bench.node.incarnation == 1
        bench.step()
    assert bench.states() == ["lost"] * UNITS
    assert bench.node.incarnation == 2
    assert not any(row.holds for row in bench.record.executions.values())
    assert len(bench.record.evaluations) == UNITS, "each unit is tried again, once"


def test_silence_is_told_piece_by_piece() -> None:
    bench = Bench()
    bench.is_silent()
    bench.step()
    assert bench.node.connection is Connection.DISCONNECTED
    assert bench.states().count("unknown") == PIECE
    bench.run()
    assert bench.states() == ["unknown"] * UNITS
    assert sorted(each.evaluation.job_id for each in bench.record.evaluations.values()) == sorted(bench.record.jobs)


@pytest.mark.parametrize("incarnation", [1, 2])
@settings(deadline=None, max_examples=60)
@given(after=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["takeover", "silence", "hello"])), max_size=5))
def test_whatever_comes_between_two_pieces_a_last_hello_leaves_nothing_undone(
    incarnation: int, after: list[tuple[int, str]]
) -> None:
    """A leader dies, the node falls silent or says hello again after any piece, with the same or with a new journal."""
    bench = Bench(S.UNKNOWN)
    listed = UNITS if incarnation == 1 else 4
    bench.hello(incarnation=incarnation, listed=listed)
    for steps, what in after:
        for _ in range(steps):
            bench.step()
        bench.record.at += timedelta(seconds=1)
        bench.now += 1.0
        match what:
            case "takeover":
                bench.lead()
            case "hello":
                bench.hello(incarnation=incarnation, listed=listed)
            case "silence":
                bench.is_silent()
    _last_hello(bench, incarnation, listed)
    assert bench.states() == ["running"] * listed + ["lost"] * (UNITS - listed)
    assert bench.node.connection is Connection.CONNECTED
    retried = {each.evaluation.job_id for each in bench.record.evaluations.values() if each.evaluation.unit}
    assert retried == {f"j-{number}" for number in range(listed, UNITS)}, "each lost unit is tried again"
    first = [row for row in bench.record.executions.values() if row.attempt == 1]
    assert {row.id for row in first if row.holds} == {f"e-{n}" for n in range(listed)}


def _last_hello(bench: Bench, incarnation: int, listed: int) -> None:
    """Say hello as a node does: until it is answered, in the incarnation that the answer names."""
    for _ in range(5):
        bench.replies.clear()
        bench.now += 0.1
        bench.hello(incarnation=incarnation, listed=listed)
        bench.run()
        if bench.replies and bench.replies[-1].incarnation == incarnation:
            return
        if bench.replies:
            incarnation = bench.replies[-1].incarnation
    raise AssertionError("the node is not answered")
