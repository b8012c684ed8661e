"""What becomes of a service whose nodes fall silent and return, also in the middle of an update."""

from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.lifecycle import Connection, ExecutionState
from skrei_scheduling import texts
from skrei_scheduling.rows import ExecutionRow, Offline, OnReturn
from tests.support.builders import a_fact, a_node, a_requirement
from tests.unit.scheduling.test_rollout import a_service
from tests.unit.scheduling.test_rollout_waits import PORT, On

WAIT = 300
UNKNOWN, RUNNING = ExecutionState.UNKNOWN, ExecutionState.RUNNING


class Away(On):
    """A service on nodes that come and go."""

    def goes(self, node_id: str) -> None:
        """Nothing is heard of a node any more."""
        self.silent(node_id)
        node = self.view.nodes[node_id]
        assert node.connection is Connection.DISCONNECTED
        self.plan()

    def returns(self, node_id: str) -> None:
        """It says hello, and lists what runs there."""
        self.comes_back(node_id)
        self.plan()

    def stopped(self) -> None:
        """What is wanted stopped ends, where somebody hears that it is to."""
        for row in list(self.view.executions.values()):
            if row.revoked and row.holds and self.view.nodes[row.node_id].connection is Connection.CONNECTED:
                self.says(a_fact(row.id, ExecutionState.STOPPED, revision=row.revision))

    def only(self) -> ExecutionRow:
        """The one execution that is wanted."""
        (row,) = self.live()
        return row

    def on(self, node_id: str) -> ExecutionRow:
        """What is wanted on a node."""
        (row,) = (row for row in self.live() if row.node_id == node_id)
        return row

    def becomes_ready(self, *node_ids: str) -> None:
        for node_id in node_ids:
            self.says(a_fact(self.on(node_id).id, RUNNING).model_copy(update={"ready": True}))
        self.plan()

    def states(self) -> dict[str, ExecutionState]:
        return {row.node_id: row.state for row in self.live()}


def made_up_for(how: OnReturn) -> tuple[Away, str, str]:
    """A service of one whose node is silent; the other node has its replacement."""
    one = replace(a_service(1), offline=Offline(timedelta(seconds=WAIT), on_return=how))
    service = Away(one, a_node("n-1"), a_node("n-2"))
    lost = service.only().node_id
    service.goes(lost)
    service.passes(WAIT)
    service.plan()
    return service, lost, "n-2" if lost == "n-1" else "n-1"


@pytest.mark.parametrize("how", [OnReturn.KEEP_FIRST, OnReturn.STOP])
def test_what_was_made_up_for_is_stopped_when_its_node_is_back(how: OnReturn) -> None:
    service, lost, other = made_up_for(how)
    service.becomes_ready(other)
    service.returns(lost)
    assert service.states() == {other: RUNNING}, "two are no service of one"
    service.goes_on(WAIT)
    assert [row.node_id for row in service.view.of_job("j-1")] == [other]


def test_what_returns_goes_on_where_its_replacement_is_not_ready_yet() -> None:
    service, lost, other = made_up_for(OnReturn.KEEP_FIRST)
    service.returns(lost)
    service.plan()
    assert service.states() == {lost: RUNNING}
    assert service.only().is_ready
    assert texts.STOP_ORIGINAL_BACK in service.told()
    service.goes_on(WAIT)
    assert [row.node_id for row in service.view.of_job("j-1")] == [lost], f"nothing is left on {other}"


def test_of_two_that_are_not_ready_the_first_that_is_goes_on() -> None:
    for returned in (True, False):
        service, lost, other = made_up_for(OnReturn.KEEP_FIRST)
        row = service.on(lost)
        service.says(a_fact(other_id := service.on(other).id, RUNNING).model_copy(update={"ready": False}))
        _not_ready(service, row)
        service.returns(lost)
        assert service.states() == {lost: UNKNOWN, other: RUNNING}
        service.says(a_fact(row.id if returned else other_id, RUNNING).model_copy(update={"ready": True}))
        service.plan()
        service.plan()
        assert service.states() == {lost if returned else other: RUNNING}


def _not_ready(service: Away, row: ExecutionRow) -> None:
    """The record has it that what is silent was not ready: what its node said last."""
    found = replace(service.ledger.executions[row.id], ready=False, ready_at=None, changes=row.changes + 1)
    service.ledger.executions[row.id] = found
    service.view = service.ledger.view()


def test_what_becomes_ready_as_its_node_is_back_counts_once_it_was_for_long_enough() -> None:
    """Its time as ready begins with that commit: nobody knows how long it would have lasted before."""
    service = Away(a_service(1), a_node("n-1"), a_node("n-2"))
    new = a_service(1, what="two")
    offline = Offline(timedelta(seconds=WAIT), on_return=OnReturn.KEEP_FIRST)
    service.becomes(replace(new, update=replace(new.update, min_ready=timedelta(seconds=5)), offline=offline))
    (lost,) = service.live(2)
    service.goes(lost.node_id)
    service.passes(WAIT)
    service.plan("j-1")
    assert len(service.live(2)) == 2, "it has a replacement, which is not ready either"
    service.comes_back(lost.node_id)
    service.says(a_fact(lost.id, RUNNING).model_copy(update={"ready": True}))
    service.plan()
    service.plan("j-1")
    assert service.states()[lost.node_id] is RUNNING, "its replacement is stopped, and it goes on"
    assert service.job.good_version == 1, "it has only just become ready"
    service.goes_on(10)
    assert service.job.good_version == 2


def test_the_original_goes_on_where_that_is_asked_and_is_no_longer_unknown() -> None:
    service, lost, other = made_up_for(OnReturn.KEEP_ORIGINAL)
    service.becomes_ready(other)
    service.returns(lost)
    assert service.states() == {lost: RUNNING}, "it runs, and serves"
    service.goes_on(5)
    assert [row.node_id for row in service.view.of_job("j-1")] == [lost]


def test_what_never_ends_and_stays_unknown_beside_a_failed_replacement_goes_on() -> None:
    service, lost, other = made_up_for(OnReturn.KEEP_FIRST)
    _not_ready(service, service.on(lost))
    service.says(a_fact(service.on(other).id, RUNNING).model_copy(update={"ready": False}))
    service.returns(lost)
    service.says(a_fact(service.on(other).id, ExecutionState.FAILED, problem="exit"))
    service.goes_on(5, step=1)
    assert service.states() == {lost: RUNNING}


def test_a_node_that_returns_lets_an_update_that_waited_for_it_go_on() -> None:
    service = Away(a_service(1), a_node("n-1"), a_node("n-2"))
    slow = a_service(1, what="two")
    service.becomes(replace(slow, update=replace(slow.update, min_ready=timedelta(seconds=5))))
    (new,) = service.live(2)
    service.becomes_ready(new.node_id)
    service.goes(new.node_id)
    service.goes_on(10)
    assert service.counts(1, 2) == [1, 1], "what is not heard is not relied on"
    service.returns(new.node_id)
    assert (service.counts(1, 2), service.job.good_version) == ([0, 1], 2), "nobody else would look"


def test_replicas_on_a_lost_node_do_not_take_the_room_of_an_update() -> None:
    """Two of three new ones were on one node, and are made up for: the third comes all the same."""
    service = Away(a_service(3), a_node("n-1", cpu="4"))
    service.joins(a_node("n-2", cpu="2"))
    service.update()
    service.ready()
    service.plan()
    assert {row.node_id for row in service.live(2)} == {"n-2"}
    service.ready()
    service.goes("n-2")
    service.passes(WAIT)
    service.plan()
    for _ in range(6):
        service.ready()
        service.goes_on(5)
    assert service.job.good_version == 2
    assert service.counts(1) == [0]


def test_what_is_silent_when_a_version_is_gone_back_on_is_made_up_for_after_its_wait() -> None:
    service = Away(a_service(2), a_node("n-1"), a_node("n-2"))
    service.update()
    (new,) = service.live(2)
    old = next(row for row in service.live(1) if row.node_id != new.node_id)
    service.goes(old.node_id)
    service.goes_on(70)
    assert service.job.version == 3
    service.goes_on(WAIT)
    assert len({row.unit for row in service.live() if row.state is not UNKNOWN}) == 2, "its wait is over"


def test_a_version_that_is_gone_back_to_is_told_ready_once_it_is() -> None:
    service = Away(a_service(1, requirement=PORT), a_node("n-1"))
    service.becomes(a_service(1, what="two", requirement=PORT))
    service.goes_on(75)
    assert service.job.version == 3
    told = texts.VERSION_READY.format(version=3, units=1)
    assert told not in service.told(), "its only replica has made way, and is not there again"
    service.goes_on(5)
    service.ready()
    service.goes_on(10)
    assert service.told().count(told) == 1


@pytest.mark.parametrize("good", [True, False])
def test_old_ones_that_are_not_ready_give_their_room_to_a_new_version(good: bool) -> None:
    """Whoever mends a version that never worked on a full node is not stuck behind it."""
    service = On(a_service(2, requirement=a_requirement(cpu="1")), a_node("n-1", cpu="2"))
    if not good:
        service.ledger.jobs["j-1"] = replace(service.job, good_version=0)
    for row in service.live():
        service.says(a_fact(row.id, RUNNING).model_copy(update={"ready": False}))
    service.becomes(a_service(2, what="two", requirement=a_requirement(cpu="1")))
    for _ in range(4):
        service.goes_on(5)
        service.ready_of(2)
        service.goes_on(5)
    assert (service.counts(1, 2), service.job.good_version) == ([0, 2], 2)


def test_a_silent_node_that_has_to_stop_something_keeps_no_port_from_the_others() -> None:
    service = Away(a_service(2, requirement=PORT), a_node("n-1"), a_node("n-2"))
    service.goes("n-2")
    service.becomes(a_service(0, requirement=PORT))
    service.goes_on(5)
    service.becomes(a_service(1, requirement=PORT))
    service.ready()
    assert {row.node_id for row in service.live()} == {"n-1"}
    assert any(row.revoked and row.holds for row in service.view.of_node("n-2"))
    service.becomes(a_service(1, what="two", requirement=PORT))
    service.goes_on(5)
    assert [row.job_version for row in service.live()] == [service.job.version], "the old one has made way"


def test_what_returns_is_not_waited_for_any_more_though_its_node_has_no_room_for_another() -> None:
    needs = a_requirement(cpu="1")
    one = replace(a_service(1, requirement=needs), offline=Offline(timedelta(seconds=WAIT)))
    service = Away(one, a_node("n-1", cpu="1"))
    service.goes("n-1")
    service.passes(WAIT)
    service.plan()
    assert "node is disconnected" in service.ledger.messages["j-1"]
    service.returns("n-1")
    assert service.states() == {"n-1": RUNNING}
    assert service.ledger.messages["j-1"] == ""
    assert not service.view.waiting


def test_what_waits_says_why_by_the_nodes_that_are_there_now() -> None:
    service = Away(a_service(1, requirement=a_requirement(cpu="1")), a_node("n-1", cpu="1"))
    service.goes("n-1")
    other = replace(a_service(1, requirement=a_requirement(cpu="1")), id="j-2", name="j-2")
    service.submit(other)
    assert "node is disconnected" in service.ledger.messages["j-2"]
    service.returns("n-1")
    assert "node is busy" in service.ledger.messages["j-2"], "that node is back, and has no room"
    service.goes("n-1")
    assert "node is disconnected" in service.ledger.messages["j-2"]


@pytest.mark.parametrize("later_first", [True, False])
@pytest.mark.parametrize("how", [OnReturn.KEEP_FIRST, OnReturn.KEEP_ORIGINAL])
def test_of_two_that_were_lost_one_after_the_other_one_goes_on(how: OnReturn, later_first: bool) -> None:
    service, first, second = made_up_for(how)
    service.becomes_ready(second)
    service.goes(second)
    service.passes(WAIT)
    service.plan()
    assert service.states() == {first: UNKNOWN, second: UNKNOWN}, "there is no third node"
    sooner, later = (second, first) if later_first else (first, second)
    service.returns(sooner)
    service.plan()
    assert service.states() == {sooner: RUNNING, later: UNKNOWN}
    service.returns(later)
    service.goes_on(5)
    goes_on = first if how is OnReturn.KEEP_ORIGINAL else sooner
    assert service.states() == {goes_on: RUNNING}
    assert [row.node_id for row in service.view.of_job("j-1")] == [goes_on]
