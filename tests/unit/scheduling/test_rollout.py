"""How a service goes to its next version, step by step: what is placed, what is stopped, and when it goes back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_scheduling import rollout, texts
from skrei_scheduling.rows import ExecutionRow, JobRow, Update
from tests.support.builders import NOW, a_fact, a_job, a_node, an_execution
from tests.unit.scheduling.test_kinds import Cluster

LIMIT = timedelta(seconds=60)


def a_service(count: int = 2, surge: int = 1, what: str = "one", **more: Any) -> JobRow:
    """A service whose executions run `what`: services that run the same differ in Count alone."""
    return replace(a_job(type="service", count=count, **more), update=Update(surge, LIMIT), what_runs=what)


class Service(Cluster):
    """A service of two on four nodes, whose first version is ready."""

    def __init__(self, count: int = 2, surge: int = 1) -> None:
        super().__init__(*(a_node(f"n-{number}") for number in range(4)))
        self.begin(a_service(count, surge))

    def begin(self, job: JobRow) -> None:
        self.submit(job)
        self.all_run(ready=True)
        self.plan()
        assert self.job.good_version == 1

    def all_run(self, *, ready: bool) -> None:
        for row in self.live():
            self.says(a_fact(row.id, ExecutionState.RUNNING).model_copy(update={"ready": ready}))

    def live(self, version: int = 0) -> list[ExecutionRow]:
        rows = [row for row in self.view.of_job("j-1") if row.live and not row.revoked]
        return [row for row in rows if version in (0, row.job_version)]

    def update(self) -> None:
        self.becomes(a_service(self.job.units, self.job.update.surge, "two"))

    def becomes(self, job: JobRow, *, anew: bool = False) -> None:
        self.ledger.update(job, self.ids("v"), anew=anew)
        self.plan()

    def counts(self, *versions: int) -> list[int]:
        """How many are wanted of each version."""
        return [len(self.live(version)) for version in versions]

    def told(self) -> list[str]:
        return [each.message for each in self.ledger.history]

    def stopped(self) -> None:
        """What is wanted stopped ends, and its room is free."""
        for row in list(self.view.executions.values()):
            if row.revoked and row.live:
                self.says(a_fact(row.id, ExecutionState.STOPPED, revision=row.revision))


def test_a_new_version_comes_beside_the_old_and_takes_over_as_it_becomes_ready() -> None:
    service = Service()
    service.update()
    assert [len(service.live(version)) for version in (1, 2)] == [2, 1], "one more than it needs, none less"

    for old, new in ((2, 1), (1, 2), (0, 2)):
        assert [len(service.live(version)) for version in (1, 2)] == [old, new]
        for row in service.live(2):
            service.says(a_fact(row.id, ExecutionState.RUNNING).model_copy(update={"ready": True}))
        service.plan()
    assert service.job.good_version == 2
    told = [each.message for each in service.ledger.history]
    assert told.count(texts.STOP_ROLLED) == 2
    assert told.count("Version 2 is ready: 2 of 2") == 1


def test_nothing_old_is_stopped_for_what_runs_and_is_not_ready() -> None:
    service = Service()
    service.update()
    for row in service.live(2):
        service.says(a_fact(row.id, ExecutionState.RUNNING).model_copy(update={"ready": False}))
    service.plan("j-1")
    assert [len(service.live(version)) for version in (1, 2)] == [2, 1]


def test_what_has_no_check_is_ready_once_it_runs() -> None:
    service = Service(count=1)
    service.update()
    service.says(a_fact(service.live(2)[0].id, ExecutionState.RUNNING))
    service.plan()
    assert [len(service.live(version)) for version in (1, 2)] == [0, 1]


def test_a_version_that_never_is_ready_is_gone_back_on_to_the_last_that_was() -> None:
    service = Service()
    service.update()
    service.passes(59)
    service.plan()
    assert service.job.version == 2
    service.passes(1)
    changes = service.plan()
    (back,) = changes.rollbacks
    assert (back.good, back.version) == (1, 3)
    assert (service.job.version, service.job.state) == (3, JobState.PENDING)
    assert service.ledger.history[-1].job_version == 3
    assert service.ledger.history[-1].message.startswith("Job updated: back to version 1, because nothing more")

    service.passes(1)
    service.plan()
    assert service.counts(1, 2, 3) == [0, 0, 2], "the good ones run what is wanted again: they are kept"
    assert service.told().count("Execution kept for version 3, which runs the same") == 2
    assert service.told().count("Execution stopped: the job went back from version 2") == 1
    assert service.job.state is JobState.RUNNING


def test_what_a_version_had_replaced_comes_back_when_it_is_gone_back_on() -> None:
    service = Service()
    service.update()
    service.says(a_fact(service.live(2)[0].id, ExecutionState.RUNNING).model_copy(update={"ready": True}))
    service.plan()
    assert service.counts(1, 2) == [1, 2]
    service.passes(60)
    service.plan()
    service.passes(1)
    service.plan()
    assert service.counts(1, 2, 3) == [0, 1, 2], "the one that was never ready has gone, the other serves on"
    service.all_run(ready=True)
    service.plan()
    assert service.counts(1, 2, 3) == [0, 0, 2]
    assert texts.STOP_ROLLED not in service.told()[-4:]


def test_going_back_is_not_gone_back_on() -> None:
    service = Service()
    service.update()
    service.passes(60)
    service.plan()
    service.passes(1)
    service.plan()
    service.passes(10_000)
    service.plan("j-1")
    assert service.job.version == 3


def test_each_that_becomes_ready_gives_the_next_its_time() -> None:
    service = Service()
    service.update()
    service.passes(59)
    service.says(a_fact(service.live(2)[0].id, ExecutionState.RUNNING).model_copy(update={"ready": True}))
    service.plan()
    service.passes(59)
    service.plan("j-1")
    assert service.job.version == 2
    service.passes(1)
    service.plan("j-1")
    assert service.job.version == 3


def test_a_first_version_has_nothing_to_go_back_to() -> None:
    cluster = Cluster(a_node("n-1"))
    cluster.submit(a_service(1))
    cluster.passes(10_000)
    cluster.plan("j-1")
    assert (cluster.job.version, cluster.job.state) == (1, JobState.RUNNING)


def test_a_new_leader_knows_which_version_was_good() -> None:
    service = Service()
    service.update()
    service.view = service.ledger.view()
    service.passes(60)
    service.plan("j-1")
    assert service.job.version == 3


def test_a_step_compares_no_row_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row has thirty fields, and a step is worked out on the event loop: of a large service it would cost seconds."""
    compared: list[object] = []
    monkeypatch.setattr(ExecutionRow, "__eq__", lambda row, other: compared.append(row) or row is other)
    old = [an_execution(f"e-{place}", partition=place, state=ExecutionState.RUNNING) for place in range(50)]
    current = [replace(row, id=f"{row.id}-new", job_version=2) for row in old[:20]]
    rollout_of = replace(a_service(50), version=2)
    for job in (rollout_of, replace(rollout_of, good_version=2)):
        step = rollout.step(job, current, old, NOW)
        assert [row.id for row, _ in step.stop] == [f"e-{place}" for place in range(30, 50)]
    assert not compared


@given(
    count=st.integers(1, 5),
    surge=st.integers(1, 3),
    new=st.lists(st.booleans(), max_size=8),
    old=st.lists(st.booleans(), max_size=8),
)
def test_no_step_takes_what_is_ready_before_its_place_is_taken_nor_places_too_many(
    count: int, surge: int, new: list[bool], old: list[bool]
) -> None:
    job = replace(a_service(count, surge), version=2)
    rows = [
        an_execution(f"e-{version}-{place}", job_version=version, partition=place, state=ExecutionState.RUNNING)
        for version, answers in ((1, old), (2, new[:count]))
        for place, _ in enumerate(answers)
    ]
    ready = [replace(row, ready=answer) for row, answer in zip(rows, [*old, *new[:count]], strict=True)]
    outdated, current = ready[: len(old)], ready[len(old) :]
    step = rollout.step(job, current, outdated, NOW)
    stopped = {row.id for row, _ in step.stop}
    kept = [row for row in outdated if row.id not in stopped]
    before = sum(row.is_ready for row in ready)
    assert sum(row.is_ready for row in (*kept, *current)) >= min(count, before)
    placed = len(step.allow([("main", place) for place in range(len(current), count)]))
    assert len(kept) + len(current) + placed <= max(count + surge, len(kept) + len(current))
    if (
        sum(row.is_ready for row in current) < count
        and len(kept) + len(current) < count + surge
        and len(current) < count
    ):
        assert placed, "an update that has room goes on"
