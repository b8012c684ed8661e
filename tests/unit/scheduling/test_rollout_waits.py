"""What an update of a service waits for, what it never does to what runs, and when it is given up."""

from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_scheduling import texts
from skrei_scheduling.rows import KeyedInput, TaskPlan, Update
from tests.support.builders import a_fact, a_node, a_requirement
from tests.unit.scheduling.test_rollout import Service, a_service

MARS = a_requirement(constraints="zone=mars")
PORT = a_requirement(ports=[25011])


class On(Service):
    """A service on nodes of its own."""

    def __init__(self, job, *nodes) -> None:  # type: ignore[no-untyped-def]
        super(Service, self).__init__(*nodes)
        self.begin(job)

    def ready(self, *ids: str) -> None:
        for row in self.live():
            if row.id in ids or (not ids and not row.is_ready):
                self.says(a_fact(row.id, ExecutionState.RUNNING).model_copy(update={"ready": True}))

    def ready_of(self, version: int) -> None:
        """What runs of a version is ready."""
        self.ready(*(row.id for row in self.live(version)), "")

    def ends(self, version: int) -> None:
        """What runs of a version ends by itself."""
        for row in self.live(version):
            self.says(a_fact(row.id, ExecutionState.FAILED, problem="exit"))

    def goes_on(self, seconds: int, step: int = 5) -> None:
        """Time passes, and whatever is due is done."""
        for _ in range(seconds // step):
            self.passes(step)
            self.stopped()
            self.plan(*dict.fromkeys(id for id in self.woken if id in self.view.jobs))


# ---------------------------------------------------------------- what cannot be placed


@pytest.mark.parametrize("room", [True, False], ids=["good", "never good"])
def test_an_update_that_no_node_can_take_leaves_what_runs_alone(room: bool) -> None:
    service = On(a_service(2), *(a_node(f"n-{number}") for number in range(2)))
    if not room:
        service.ledger.jobs["j-1"] = replace(service.job, good_version=0)
        service.view = service.ledger.view()
    service.becomes(a_service(2, what="two", requirement=MARS))
    assert service.job.state is JobState.RUNNING, "the old version serves"
    assert service.counts(1, 2) == [2, 0]
    assert service.ledger.messages["j-1"].startswith("not enough nodes to run job")
    service.goes_on(59, step=1)
    assert service.counts(1, 2) == [2, 0]
    service.goes_on(10)
    assert service.job.state is JobState.RUNNING
    assert service.counts(1, 2, 3) == ([0, 0, 2] if room else [2, 0, 0])
    if room:
        (why,) = [each for each in service.told() if each.startswith("Job updated: back")]
        assert why.startswith("Job updated: back to version 1, because version 2 found no place within 1m. not enough")
    service.ledger.stop("j-1", service.ids("v"))
    service.plan()
    assert not service.live()


def test_what_no_node_can_take_is_gone_back_on_even_if_it_only_waited_until_then() -> None:
    service = On(a_service(1, requirement=a_requirement(cpu="2")), a_node("n-1", cpu="2"))
    service.becomes(a_service(1, what="two", requirement=a_requirement(cpu="1")))
    service.goes_on(1_000, step=100)
    assert service.job.version == 2, "it waits for room"
    service.joins(a_node("n-1", cpu="2", engines=["docker"]))
    service.goes_on(1_000, step=100)
    assert service.job.version == 2, "what was there a moment ago is waited for"


def test_a_queue_timeout_ends_an_update_and_not_the_service() -> None:
    service = On(a_service(1, requirement=a_requirement(cpu="2")), a_node("n-1", cpu="2"))
    wants = a_service(1, what="two", requirement=a_requirement(cpu="2"), queue_timeout=timedelta(seconds=3))
    service.becomes(wants)
    assert (service.job.state, service.counts(1, 2)) == (JobState.RUNNING, [1, 0])
    service.goes_on(10, step=1)
    assert (service.job.state, service.counts(1, 2, 3)) == (JobState.RUNNING, [0, 0, 1])
    assert any("version 2 found no place within 3s." in each for each in service.told())


def test_a_task_that_no_node_can_take_takes_the_others_not_along() -> None:
    tasks = (TaskPlan("web", 1, a_requirement()), TaskPlan("side", 1, a_requirement()))
    service = On(a_service(tasks=tasks), a_node("n-1"))
    worse = (tasks[0], TaskPlan("side", 1, a_requirement("gpu-engine")))
    service.becomes(a_service(tasks=worse, what="two"))
    service.ready()
    service.plan()
    assert service.job.state is JobState.RUNNING
    assert {row.task for row in service.live(1)} >= {"side"}, "what works is not stopped for what cannot"
    service.goes_on(120)
    assert (service.job.state, service.job.version) == (JobState.RUNNING, 3)
    service.ready()
    service.plan()
    assert sorted(row.task for row in service.live(3)) == ["side", "web"]
    assert service.counts(1, 2) == [0, 0]


def test_a_first_version_that_no_node_can_take_fails_and_leaves_nothing() -> None:
    tasks = (TaskPlan("web", 1, a_requirement()), TaskPlan("side", 1, a_requirement("gpu-engine")))
    service = Service.__new__(Service)
    super(Service, service).__init__(a_node("n-1"))
    service.submit(a_service(tasks=tasks))
    assert service.job.state is JobState.FAILED
    assert not service.live()


# ---------------------------------------------------------------- room


def test_lack_of_room_is_no_failure_and_a_count_changes_nothing_that_runs() -> None:
    needs = a_requirement(cpu="1")
    service = On(a_service(1, requirement=needs), a_node("n-1", cpu="3"))
    (first,) = service.live()
    service.becomes(a_service(5, requirement=needs))
    assert first.id in {row.id for row in service.live(2)}, "it is the new version's"
    assert service.counts(1, 2) == [0, 3]
    service.ready()
    service.goes_on(1_000, step=50)
    assert (service.job.version, service.job.state, service.counts(2)) == (2, JobState.RUNNING, [3])

    service.ends(2)
    service.goes_on(20)
    service.ready()
    service.goes_on(1_000, step=50)
    assert (service.job.version, service.counts(2)) == (2, [3]), "its deadline begins with what is not ready"

    service.becomes(a_service(2, requirement=needs))
    for _ in range(3):
        service.goes_on(10)
        service.ready()
        service.plan()
    assert (service.job.good_version, service.counts(2, 3)) == (3, [0, 2])
    assert texts.STOP_NOT_NEEDED in service.told()


def test_those_beyond_a_smaller_count_are_stopped_at_once() -> None:
    service = Service(count=4)
    service.becomes(a_service(2))
    assert (service.job.good_version, service.counts(1, 2)) == (2, [0, 2])
    assert service.told().count(texts.STOP_NOT_NEEDED) == 2


def test_what_has_room_and_is_never_ready_is_gone_back_on_though_the_rest_waits() -> None:
    needs = a_requirement(cpu="1")
    service = On(a_service(1, requirement=needs), a_node("n-1", cpu="3"))
    service.becomes(a_service(5, what="two", requirement=needs))
    assert service.counts(1, 2) == [1, 2]
    service.goes_on(70)
    assert (service.job.version, service.counts(1, 2, 3)) == (3, [0, 0, 1])


def test_the_same_spec_once_more_begins_anew() -> None:
    service = Service()
    service.becomes(a_service(2), anew=True)
    assert service.counts(1, 2) == [2, 1]
    service.becomes(a_service(3))
    assert service.counts(1, 2, 3) == [2, 0, 2], "what is old stays so"


def test_a_new_leader_keeps_what_the_last_one_would_have() -> None:
    service = Service()
    service.ledger.update(a_service(3), service.ids("v"))
    service.view = service.ledger.view()
    service.plan()
    assert service.counts(1, 2) == [0, 3]


def test_a_service_of_none_is_ready_and_stays_so() -> None:
    service = On(a_service(2), a_node("n-1"))
    service.becomes(a_service(0))
    assert "Version 2 is ready: 0 of 0" in service.told()
    assert service.told().count(texts.STOP_NOT_NEEDED) == 2
    service.goes_on(1_000, step=50)
    assert (service.job.version, service.live(), service.job.state) == (2, [], JobState.RUNNING)


# ---------------------------------------------------------------- ready for long enough


def lasting(count: int = 1, what: str = "one") -> object:
    return replace(a_service(count, what=what), update=Update(1, timedelta(seconds=60), timedelta(seconds=5)))


def a_lasting(count: int = 1) -> On:
    service = On.__new__(On)
    super(Service, service).__init__(*(a_node(f"n-{number}") for number in range(4)))
    service.submit(lasting(count))  # type: ignore[arg-type]
    service.all_run(ready=True)
    service.goes_on(5, step=1)
    assert service.job.good_version == 1
    service.becomes(lasting(count, "two"))  # type: ignore[arg-type]
    return service


def test_what_is_ready_counts_when_it_has_been_for_long_enough() -> None:
    service = a_lasting()
    service.ready()
    service.plan()
    service.goes_on(4, step=1)
    assert (service.job.good_version, service.counts(1, 2)) == (1, [1, 1])
    service.goes_on(1, step=1)
    assert (service.job.good_version, service.counts(1, 2)) == (2, [0, 1])


def test_what_ends_again_and_again_replaces_nothing_and_is_gone_back_on() -> None:
    service = a_lasting()
    for _ in range(70):
        service.ready()
        service.ends(2)
        service.goes_on(1, step=1)
        assert service.live(1) or service.job.version == 3
    assert (service.job.version, service.counts(1, 2, 3)) == (3, [0, 0, 1])
    assert "Version 2 is ready: 1 of 1" not in service.told()


def test_one_that_comes_and_goes_gives_no_other_more_time() -> None:
    service = a_lasting(2)
    for _ in range(12):
        flapping = next((row.id for row in service.live(2) if row.partition == 0), "")
        service.ready(flapping)
        service.goes_on(8, step=1)
        if service.job.version == 3:
            break
        if flapping:
            service.says(a_fact(flapping, ExecutionState.FAILED, problem="exit"))
        service.goes_on(4, step=1)
    assert service.job.version == 3, "it was ready long enough to be progress once, and never again"


def test_a_restart_on_its_node_is_ready_anew() -> None:
    service = a_lasting()
    (new,) = service.live(2)
    service.ready()
    service.goes_on(3, step=1)
    service.says(a_fact(new.id, ExecutionState.RUNNING, starts=2))
    service.plan()
    service.goes_on(4, step=1)
    assert service.counts(1, 2) == [1, 1]
    service.goes_on(1, step=1)
    assert service.counts(1, 2) == [0, 1]


# ---------------------------------------------------------------- in each other's way


def test_where_the_port_is_only_the_old_ones_make_way_one_by_one() -> None:
    service = On(a_service(2, requirement=PORT), a_node("n-1"), a_node("n-2"))
    service.becomes(a_service(2, what="two", requirement=PORT))
    assert service.counts(1, 2) == [1, 0], "one makes way"
    service.plan("j-1")
    assert service.counts(1, 2) == [1, 0], "no second one before the first has gone"
    service.goes_on(5)
    assert service.counts(1, 2) == [1, 1]
    service.plan("j-1")
    assert service.counts(1, 2) == [1, 1], "nor before what came is ready"
    service.ready()
    service.goes_on(10)
    assert service.counts(1, 2) == [0, 1] or service.counts(1, 2) == [0, 2]
    service.goes_on(10)
    service.ready()
    service.plan()
    assert (service.counts(1, 2), service.job.good_version) == ([0, 2], 2)
    made_way = texts.STOP_MADE_WAY.format(what="port 25011")
    assert service.told().count(made_way) == 2


def test_nobody_makes_way_for_what_has_to_have_an_input_that_its_node_lacks() -> None:
    service = On(a_service(2, requirement=PORT), a_node("n-1"), a_node("n-2"))
    wanted = KeyedInput("00000000000000aa", 0, "/model")
    service.becomes(a_service(2, what="two", requirement=replace(PORT, cached=(wanted,))))
    service.goes_on(20)
    assert service.counts(1, 2) == [2, 0]
    service.view.matrix.cached.add(service.view.matrix.row_of["n-2"], [wanted.key])
    service.plan("j-1")
    service.goes_on(5)
    assert service.counts(1, 2) == [1, 1]
    assert service.where("j-1") == ["n-1", "n-2"]


def test_a_port_is_made_way_for_once_another_task_has_rolled() -> None:
    tasks = (TaskPlan("main", 1, PORT), TaskPlan("beside", 1, a_requirement()))
    service = On(replace(a_service(1), tasks=tasks), a_node("n-1"))
    service.becomes(replace(a_service(1, what="two"), tasks=tasks))
    for _ in range(4):
        service.ready()
        service.goes_on(5)
    assert (service.counts(1, 2), service.job.good_version) == ([0, 2], 2)


def test_nobody_makes_way_for_whom_others_are_before_in_line() -> None:
    """An update must not cost a service its port because another job has waited for that longer."""
    service = On(a_service(1, requirement=PORT), a_node("n-1"))
    service.submit(replace(a_service(1, requirement=PORT), id="j-2", name="j-2"))
    service.passes(1)
    service.becomes(a_service(1, what="two", requirement=PORT))
    service.goes_on(20)
    assert (service.where("j-1"), service.where("j-2")) == (["n-1"], [])
    assert service.job.state is JobState.RUNNING
    service.ledger.stop("j-2", service.ids("v"))
    service.goes_on(20)
    assert service.counts(1, 2) == [0, 1], "nobody else wants it any more"


def test_a_port_that_another_node_has_is_waited_for() -> None:
    service = On(a_service(1, requirement=PORT), a_node("n-1"))
    service.joins(a_node("n-2"))
    service.becomes(a_service(1, what="two", requirement=PORT))
    assert service.counts(1, 2) == [1, 1]


def test_going_back_finds_its_port_again() -> None:
    service = On(a_service(1, requirement=PORT), a_node("n-1"))
    service.becomes(a_service(1, what="two", requirement=PORT))
    service.goes_on(5)
    assert service.counts(1, 2) == [0, 1]
    service.goes_on(65)
    assert service.job.version == 3
    service.goes_on(10)
    assert service.counts(1, 2, 3) == [0, 0, 1]
    service.ready()
    service.goes_on(1_000, step=50)
    assert (service.job.version, service.counts(3)) == (3, [1])


def test_going_back_finds_the_room_that_the_bad_version_has() -> None:
    large, small = a_requirement(cpu="1"), a_requirement(cpu="500m")
    service = On(a_service(2, requirement=large), a_node("n-1", cpu="2500m"))
    service.becomes(a_service(2, what="two", requirement=small))
    service.ready()
    service.plan()
    service.goes_on(5)
    assert service.counts(1, 2) == [1, 2], "the large one has made room for two small ones"
    service.goes_on(60)
    assert service.job.version == 3
    for _ in range(4):
        service.ready()
        service.goes_on(10)
    assert service.counts(1, 2, 3) == [0, 0, 2]
