"""Jobs of several tasks: nothing begins before what it waits for, all else begins at once, and all of them end."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from skrei_domain.job_depends import Dependency
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_scheduling.graph import Graph
from skrei_scheduling.rows import NodeRow, TaskPlan, Unit
from tests.support.builders import a_job, a_node, a_requirement, a_task_plan
from tests.support.task_life import Life, may_begin

NAMES = "abcdef"


@st.composite
def ordered_tasks(draw: st.DrawFn) -> tuple[TaskPlan, ...]:
    """Tasks in any order of their list, each waiting for some that come before it in the alphabet."""
    size = draw(st.integers(1, len(NAMES)))
    counts = [draw(st.integers(1, 3)) for _ in range(size)]
    tasks = []
    for index in range(size):
        needs = [
            Dependency(NAMES[before], same=counts[before] == counts[index] and draw(st.booleans()))
            for before in range(index)
            if draw(st.integers(0, 2)) == 0
        ]
        requirement = a_requirement(cpu=draw(st.sampled_from(["1", "2"])))
        tasks.append(a_task_plan(NAMES[index], *needs, count=counts[index], requirement=requirement))
    return tuple(draw(st.permutations(tasks)))


@given(ordered_tasks(), st.data())
def test_the_graph_says_what_the_rule_says(tasks: tuple[TaskPlan, ...], data: st.DataObject) -> None:
    job = a_job(tasks=tasks)
    order = data.draw(st.permutations(list(job.all_units())))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    begun = Graph(tasks)
    won: set[Unit] = set()
    for first, last in pairwise([0, *cuts, len(order)]):
        some = order[first:last]
        free = {unit for unit in order if may_begin(job, unit, won)}
        after = {unit for unit in order if may_begin(job, unit, won | set(some))}
        assert {unit for unit in order if begun.ready(unit)} == free
        assert begun.frees(some) == bool(after - free)
        assert begun.frees([*some, *won]) == bool(after - free)
        freed = begun.win(some)
        assert len(freed) == len(set(freed))
        assert after - free <= set(freed) <= after
        assert begun.win(some) == []
        won |= set(some)
        afresh = Graph(tasks, won)
        assert {unit for unit in order if afresh.ready(unit)} == after


def machines(count: int) -> list[NodeRow]:
    return [a_node(f"n-{number}", cpu="2") for number in range(count)]


OUTCOMES = st.sampled_from([ExecutionState.COMPLETED] * 6 + [ExecutionState.REFUSED, ExecutionState.FAILED])


@settings(deadline=None, max_examples=90)
@given(st.lists(ordered_tasks(), min_size=1, max_size=3), st.integers(1, 3), st.data())
def test_jobs_of_several_tasks_end_in_their_order(
    graphs: list[tuple[TaskPlan, ...]], nodes: int, data: st.DataObject
) -> None:
    """The ledger refuses what begins too early, wins twice, or completes without its last unit."""
    life = Life([a_job(f"j-{number}", tasks=tasks) for number, tasks in enumerate(graphs)], machines(nodes))
    for _ in range(400):
        life.plan()
        if all(job.state.is_terminal for job in life.record.jobs.values()):
            break
        if data.draw(st.integers(0, 9)) == 0:
            life.take_over()
        if live := life.live():
            chosen = data.draw(st.lists(st.sampled_from(live), min_size=1, max_size=4, unique=True))
            states = [
                ExecutionState.STOPPED if life.record.executions[each].revoked else data.draw(OUTCOMES)
                for each in chosen
            ]
            life.end(chosen, states)
        else:
            assert life.record.evaluations or life.woken, "nothing runs, and nobody will look again"
            life.later(61)
    assert all(job.state.is_terminal for job in life.record.jobs.values())
    failed = {row.job_id for row in life.record.executions.values() if row.state is ExecutionState.FAILED}
    for job in life.record.jobs.values():
        rows = [row for row in life.record.executions.values() if row.job_id == job.id]
        assert (job.state is JobState.FAILED) == (job.id in failed or any(row.attempt >= 10 for row in rows))
        assert not any(row.live and not row.revoked for row in rows)
    assert life.view.waiting.units("j-0") == 0


@given(ordered_tasks())
def test_what_waits_for_nothing_begins_with_the_first_plan(tasks: tuple[TaskPlan, ...]) -> None:
    life = Life([a_job("j-0", tasks=tasks)], machines(24))
    life.plan()
    job = life.record.jobs["j-0"]
    assert {row.unit for row in life.record.executions.values()} == {
        unit for unit in job.all_units() if may_begin(job, unit, set())
    }


@given(ordered_tasks())
def test_one_evaluation_asks_for_each_commit_that_frees_a_task_and_none_else(tasks: tuple[TaskPlan, ...]) -> None:
    """Every unit completes in one go: waves, with one look in between."""
    life = Life([a_job("j-0", tasks=tasks)], machines(24))
    waves = 0
    while not life.record.jobs["j-0"].state.is_terminal:
        life.plan()
        life.end(life.live())
        waves += 1
    assert life.freed == waves - 1
    assert not life.record.evaluations
    assert life.record.jobs["j-0"].state is JobState.COMPLETED
