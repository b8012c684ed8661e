"""Jobs split by who holds their data: each part on its holder alone, as many as there are, whatever comes and goes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from skrei_domain.lifecycle import Connection, ExecutionState, JobState
from skrei_scheduling.rows import NodeRow
from tests.support.builders import a_job, a_node, a_requirement, a_task_plan
from tests.support.task_life import Life

SPLIT = a_task_plan("count", requirement=a_requirement(data=["books"]), split=True)
TASKS = [SPLIT, a_task_plan("merge", "count")]
OUTCOMES = st.sampled_from([ExecutionState.COMPLETED] * 4 + [ExecutionState.REFUSED])


def a_machine(number: int, *, holds: bool, connected: bool) -> NodeRow:
    return a_node(f"n-{number}", cpu="1", data=["books"] if holds else ["logs"], connected=connected)


MACHINES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6).map(
    lambda some: [a_machine(number, holds=holds, connected=connected) for number, (holds, connected) in enumerate(some)]
)


@settings(deadline=None, max_examples=100)
@given(MACHINES, st.data())
def test_each_part_runs_on_its_holder_alone_and_the_job_ends_once_all_have(
    machines: list[NodeRow], data: st.DataObject
) -> None:
    """The ledger refuses a part on another's node, a unit won twice, and an end without its last unit."""
    life = Life([a_job(tasks=TASKS)], machines)
    split: dict[str, int] = {}
    for _ in range(200):
        life.plan()
        job = life.record.jobs["j-1"]
        assert split in ({}, dict(job.targets)), "who holds what was decided twice"
        if not split and job.targets:
            split = dict(job.targets)
            holders = {each.id for each in life.record.nodes.values() if _has(each)}
            assert set(split) == holders, "some holder has no part, or somebody else has one"
            assert sorted(split.values()) == list(range(len(holders)))
        if job.state.is_terminal:
            break
        if data.draw(st.integers(0, 9)) == 0:
            life.take_over()
        if data.draw(st.integers(0, 3)) == 0:  # nodes come, go, get data and lose it
            node = data.draw(st.sampled_from(sorted(life.record.nodes)))
            number = int(node.removeprefix("n-"))
            life.put(a_machine(number, holds=data.draw(st.booleans()), connected=data.draw(st.booleans())))
        if live := life.live():
            chosen = data.draw(st.lists(st.sampled_from(live), min_size=1, max_size=3, unique=True))
            life.end(chosen, [data.draw(OUTCOMES) for _ in chosen])
        else:
            for node in list(life.record.nodes.values()):  # in the end all are there, with their data
                life.put(a_machine(int(node.id[2:]), holds=True, connected=True))
            life.later(61)
    job = life.record.jobs["j-1"]
    rows = [row for row in life.record.executions.values() if row.job_id == job.id]
    worn_out = any(row.attempt >= 10 for row in rows)
    assert job.state is (JobState.FAILED if worn_out else JobState.COMPLETED)
    assert worn_out or life.record.won["j-1"] == {("merge", 0), *(("count", part) for part in split.values())}


def _has(node: NodeRow) -> bool:
    return node.connection is Connection.CONNECTED and any(each.name == "books" for each in node.info.data)
