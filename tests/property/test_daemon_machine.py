"""Any life of one daemon: new versions, nodes that join, leave, change and return, crashes, a new leader.

At the end each node that matches runs exactly one of the version that is wanted, and no other node runs any.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from skrei_domain.lifecycle import Connection, ExecutionState
from skrei_scheduling.rows import ExecutionRow, JobRow, NodeRow
from tests.support.builders import a_fact, a_job, a_node, a_requirement
from tests.unit.scheduling.test_kinds import EU, Cluster

NODES = ["n-1", "n-2", "n-3"]
NODE = st.sampled_from(NODES)
PICK = st.integers(0, 1000)


def a_version(port: bool) -> JobRow:
    """One that takes most of a node, or a port of it: old and new never have room beside each other."""
    needs = a_requirement(cpu="1500m", constraints="region=eu", ports=[25011] if port else [])
    return a_job(type="daemon", count=0, requirement=needs)


class Daemon(RuleBasedStateMachine):
    """One daemon on up to three nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()

    @initialize(there=st.sets(NODE))
    def begins(self, there: set[str]) -> None:
        for name in sorted(there):
            self.joins(name, True)
        self.cluster.submit(a_version(port=False))

    @rule(port=st.booleans())
    def update(self, port: bool) -> None:
        self.cluster.ledger.update(a_version(port), self.cluster.ids("v"))
        self.look()

    # ------------------------------------------------------------ nodes

    @rule(name=NODE, matches=st.booleans())
    def joins(self, name: str, matches: bool) -> None:
        """A node joins, or tells of itself that it is another region's now; one that is silent cannot."""
        known = self.cluster.view.nodes.get(name)
        if known is None or known.connection is Connection.CONNECTED:
            self.cluster.joins(a_node(name, cpu="2", labels=EU if matches else {"region": "us"}))
            self.look()

    @rule(name=NODE)
    def falls_silent(self, name: str) -> None:
        if self.is_there(name):
            self.cluster.silent(name)
            self.look()

    @rule(name=NODE, forgot=st.booleans())
    def is_back(self, name: str, forgot: bool) -> None:
        """It says hello: with what it has, or with an empty journal."""
        if name in self.cluster.view.nodes and not self.is_there(name):
            self.cluster.comes_back(name, forgot=forgot)
            self.look()

    def is_there(self, name: str) -> bool:
        node = self.cluster.view.nodes.get(name)
        return node is not None and node.connection is Connection.CONNECTED

    # ------------------------------------------------------------ programs, time, leaders

    @rule(pick=PICK, ends=st.booleans())
    def a_program(self, pick: int, ends: bool) -> None:
        if rows := [row for row in self.wanted() if self.is_there(row.node_id)]:
            row = rows[pick % len(rows)]
            state = ExecutionState.FAILED if ends else ExecutionState.RUNNING
            self.cluster.says(a_fact(row.id, state, problem="exit" if ends else ""))
            self.look()

    @rule(seconds=st.sampled_from([1, 61, 400]))
    def time_passes(self, seconds: int) -> None:
        self.cluster.passes(seconds)
        for row in list(self.cluster.view.executions.values()):
            if row.revoked and row.holds and self.is_there(row.node_id):
                self.cluster.says(a_fact(row.id, ExecutionState.STOPPED, revision=row.revision))
                self.look()
        self.look()

    @rule()
    def a_new_leader(self) -> None:
        self.cluster.view = self.cluster.ledger.view()
        self.cluster.plan("j-1")

    def look(self) -> None:
        woken = {*getattr(self.cluster, "woken", ()), *self.cluster.view.sweep()}
        self.cluster.plan(*sorted(each for each in woken if each in self.cluster.view.jobs))

    # ------------------------------------------------------------ always

    def wanted(self) -> list[ExecutionRow]:
        rows = (row for row in self.cluster.ledger.executions.values() if row.live and not row.revoked)
        return sorted(rows, key=lambda row: row.id)

    @invariant()
    def no_node_is_wanted_to_run_two(self) -> None:
        nodes = [row.node_id for row in self.wanted()]
        assert len(nodes) == len(set(nodes))

    @invariant()
    def it_neither_ends_nor_fails(self) -> None:
        assert not any(job.state.is_terminal for job in self.cluster.ledger.jobs.values())

    @invariant()
    def the_view_is_what_a_new_leader_would_have(self) -> None:
        assert self.cluster.view.executions == self.cluster.ledger.view().executions

    def teardown(self) -> None:
        if "j-1" not in self.cluster.ledger.jobs:
            return
        for name in NODES:
            self.is_back(name, forgot=False)
        for _ in range(8):
            self.time_passes(61)
        version = self.cluster.job.version
        matching = [node.id for node in self.cluster.view.nodes.values() if _matches(node)]
        assert sorted(row.node_id for row in self.wanted()) == sorted(matching)
        assert {row.job_version for row in self.wanted()} <= {version}


def _matches(node: NodeRow) -> bool:
    return dict(node.info.labels).get("region") == "eu"


TestDaemons = Daemon.TestCase
TestDaemons.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
