"""Jobs are held back while a node lists their inputs: once, not for long, and whoever leads."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest

from skrei_domain.job_depends import Dependency
from skrei_domain.lifecycle import JobState
from skrei_domain.listing import InputListed
from skrei_domain.messages import ManifestRef, Problem
from skrei_domain.node import NearServer, Plugin
from skrei_scheduler import listings
from skrei_scheduler.core import Core
from skrei_scheduler.listings import (
    LONGEST_SECONDS,
    MOST_NODES,
    OTHERS_SECONDS,
    PATIENCE_SECONDS,
    REPEAT_SECONDS,
    TELL_SECONDS,
)
from skrei_scheduler.work import Commit, SendListing
from skrei_scheduling.changes import Changes
from skrei_scheduling.rows import Evaluation, JobRow, KeyedInput, NodeRow, TaskPlan
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_job, a_node, a_requirement, an_execution, counting_ids, locked

DIGEST = "sha256:" + "ab" * 32


def a_lister(
    id: str = "n-1",
    *,
    connected: bool = True,
    cpu: str = "2",
    services: tuple[str, ...] = (),
    near: Mapping[str, int] = MappingProxyType({}),
) -> NodeRow:
    node = a_node(id, storages=("s3",), connected=connected, cpu=cpu, services=services)
    servers = tuple(NearServer(url=name, latency_micros=micros) for name, micros in near.items())
    return replace(
        node, info=node.info.model_copy(update={"storages": (Plugin(name="s3", lists=True),), "near": servers})
    )


def a_plan(name: str = "main", count: int = 2, inputs: int = 1, **told: object) -> TaskPlan:
    fetched = tuple((number, "s3") for number in range(inputs))
    return TaskPlan(name, count, a_requirement(storages=["s3"]), fetched=fetched, **told)  # type: ignore[arg-type]


def asks(id: str = "j-1", *, tasks: tuple[TaskPlan, ...] = (), **told: object) -> JobRow:
    return a_job(id, tasks=tasks or (a_plan(),), **told)  # type: ignore[arg-type]


class Lead:
    """A leader, what it sent and what it committed."""

    def __init__(self, *nodes: NodeRow, on: bool = True, view: ClusterView | None = None) -> None:
        self.view = view or ClusterView.load(list(nodes or (a_lister(),)), [], [])
        self.core = Core(self.view, timeline=1, epoch=1, now=0.0, ids=counting_ids(), lists=on)
        self.asked: list[SendListing] = []
        self.commits: list[tuple[str, Changes]] = []
        self.wall = NOW

    def submit(self, job: JobRow, id: str = "v-1") -> None:
        self.core.on_evaluations([Evaluation(id, job.id, "submit", job)])

    def run(self, now: float, *, state: JobState | None = None) -> list[str]:
        first = len(self.commits)
        while (work := self.core.next_work(now, self.wall)) is not None:
            if isinstance(work, Commit):
                jobs = [job for job in self.view.jobs.values() if job.id in work.lock]
                rows = locked(*(replace(job, state=state) if state else job for job in jobs))
                rows = replace(rows, evaluations=frozenset({"v-1", "v-2"}))
                changes = work.decide(rows)
                work.after(changes, now)
                self.commits.append((work.name, changes))
            elif isinstance(work, list):
                self.asked += [each for each in work if isinstance(each, SendListing)]
        return [name for name, _ in self.commits[first:]]

    def tick(self, now: float) -> list[str]:
        self.core.on_reconnect(now)  # nodes are heard
        self.core.on_tick(now)
        return self.run(now)

    def answer(
        self,
        now: float,
        number: int = -1,
        *,
        parts: int = 2,
        files: int = 5,
        problem: str = "",
        code: str = "input-missing",
    ) -> None:
        asked = self.asked[number]
        ref = ManifestRef(digest=DIGEST, parts=parts, files=files, size_bytes=50)
        told = Problem(code=code, message=problem) if problem else None
        said = InputListed(request_id=asked.request_id, files=files, manifest=None if problem else ref, problem=told)
        self.core.on_listed(asked.node_id, said, now)

    def say(self, now: float, files: int, number: int = -1) -> None:
        asked = self.asked[number]
        self.core.on_listed(asked.node_id, InputListed(request_id=asked.request_id, files=files), now)

    @property
    def history(self) -> list[str]:
        return [item.message for _, changes in self.commits for item in changes.history]


def test_a_job_is_placed_once_its_inputs_are_listed_and_every_execution_is_pinned() -> None:
    lead = Lead()
    lead.submit(asks())
    assert lead.run(0.0) == []
    assert [(each.node_id, each.task, each.input) for each in lead.asked] == [("n-1", "main", 0)]
    assert list(lead.core.at_hand(1)) == ["v-1"], "it is not read once more meanwhile"
    lead.answer(1.0)
    assert lead.run(1.0) == ["listed", "plan"]
    assert lead.view.jobs["j-1"].manifests[("main", 0)].digest == DIGEST
    assert len(lead.view.executions) == 2
    (name, changes) = lead.commits[0]
    assert (name, changes.jobs[0].manifests[0][0], changes.jobs[0].version) == ("listed", ("main", 0), 1)
    assert "Listed inputs: 5 files, 50 bytes, the same for all executions" in lead.history
    assert lead.commits[1][1].evaluations_done == ("v-1",)


@pytest.mark.parametrize(
    "job",
    [
        a_job(requirement=a_requirement(storages=["s3"])),
        asks(type="service"),
        asks(type="daemon"),
        asks(type="ops", tasks=(replace(a_plan(), requirement=a_requirement(engine="none", storages=["s3"])),)),
        asks(attempts={("main", 0): 1}),
        asks(tasks=(a_plan(inputs=listings.MOST_INPUTS + 1),)),
        asks(tasks=(replace(a_plan(), fetched=((0, "urldownload"),)),)),
    ],
)
def test_others_are_not_held_back(job: JobRow) -> None:
    lead = Lead()
    lead.submit(job)
    assert "plan" in lead.run(0.0)
    assert lead.asked == []


def test_an_ops_job_is_fixed_to_its_nodes_with_the_list_that_is_dealt_out_among_them() -> None:
    lead = Lead(a_lister("n-1"), a_lister("n-2"), a_lister("n-3"), a_node("n-4"))
    lead.submit(asks(type="ops", tasks=(a_plan(count=0),)))
    assert lead.run(0.0) == []
    (asked,) = lead.asked
    assert asked.job.shares(asked.job.tasks[0]) == 3
    lead.view.apply(Changes(nodes=(a_lister("n-9"),)))
    lead.answer(1.0, parts=3)
    assert lead.run(1.0) == ["listed", "plan"]
    job = lead.view.jobs["j-1"]
    assert lead.commits[0][1].jobs[0].targets == (("n-1", 0), ("n-2", 1), ("n-3", 2))
    assert (sorted(job.targets), [*job.manifests]) == (["n-1", "n-2", "n-3"], [("main", 0)])
    assert {row.node_id: row.partition for row in lead.view.executions.values()} == job.targets


def test_a_job_that_is_split_is_fixed_to_the_holders_with_its_list_and_they_are_told_once() -> None:
    holders = [replace(a_lister(id), info=a_node(id, data=("books",)).info) for id in ("n-1", "n-2")]
    lists = {"storages": (Plugin(name="s3", lists=True), Plugin(name="data"))}
    lead = Lead(*(replace(node, info=node.info.model_copy(update=lists)) for node in holders), a_lister("n-3"))
    needs = a_requirement(storages=["s3", "data"], data=["books"])
    lead.submit(asks(tasks=(replace(a_plan(count=0), split=True, requirement=needs), a_plan("merge", count=1))))
    assert lead.run(0.0) == []
    assert [(each.task, each.job.shares(each.job.task(each.task))) for each in lead.asked] == [
        ("main", 2),
        ("merge", 1),
    ]
    lead.answer(1.0, 0, parts=2)
    lead.answer(1.0, 1, parts=1)
    assert lead.run(1.0) == ["listed", "plan"]
    assert lead.view.jobs["j-1"].targets == {"n-1": 0, "n-2": 1}
    assert sum("Split over the nodes that hold books" in text for text in lead.history) == 1
    assert len(lead.view.executions) == 3


def test_nodes_that_a_job_has_already_stay_its_nodes() -> None:
    pinned = asks(type="ops", tasks=(a_plan(count=0),), targets={"n-2": 0})
    lead = Lead(view=ClusterView.load([a_lister("n-1"), a_lister("n-2")], [pinned], []))
    lead.run(0.0)
    lead.answer(1.0, parts=1)
    assert lead.run(1.0) == ["listed", "plan"]
    assert lead.view.jobs["j-1"].targets == {"n-2": 0}
    assert lead.commits[0][1].jobs[0].targets == ()


def test_an_ops_job_that_was_placed_without_is_pinned_by_the_node_of_its_first_execution() -> None:
    lead = Lead(a_lister("n-1"), a_lister("n-2"))
    lead.submit(asks(type="ops", tasks=(a_plan(count=0),)))
    lead.run(0.0)
    assert "plan" in lead.tick(PATIENCE_SECONDS)
    assert lead.tick(PATIENCE_SECONDS + 1) == []
    lead.answer(PATIENCE_SECONDS + 2, parts=2)
    assert lead.run(PATIENCE_SECONDS + 2) == ["listed"]
    assert [*lead.view.jobs["j-1"].manifests] == [("main", 0)]


@pytest.mark.parametrize(
    "lead", [Lead(a_node("n-1", storages=("s3",))), Lead(a_lister(connected=False)), Lead(a_lister(), on=False)]
)
def test_with_nobody_to_ask_a_job_is_planned_at_once(lead: Lead) -> None:
    lead.submit(asks())
    assert lead.run(0.0) == ["plan"]
    assert lead.asked == []


def test_an_answer_of_another_node_or_of_nothing_that_was_asked_counts_for_nothing() -> None:
    lead = Lead(a_lister("n-1"), a_node("n-2"))
    lead.submit(asks())
    lead.run(0.0)
    ref = ManifestRef(digest=DIGEST, parts=2, files=1, size_bytes=1)
    lead.core.on_listed("n-2", InputListed(request_id=lead.asked[0].request_id, manifest=ref), 1.0)
    lead.core.on_listed("n-1", InputListed(request_id="j-1-1-99", manifest=ref), 1.0)
    assert lead.run(1.0) == []


def test_a_node_that_says_nothing_is_asked_again_and_then_the_job_is_placed_without() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    assert lead.tick(REPEAT_SECONDS) == []
    assert [each.request_id for each in lead.asked] == [lead.asked[0].request_id] * 2
    assert lead.tick(PATIENCE_SECONDS - 1) == []
    assert lead.tick(PATIENCE_SECONDS) == ["listed", "plan"]
    assert any(
        "Placed without a list of its inputs: the node that was asked says nothing" in text for text in lead.history
    )
    assert lead.view.jobs["j-1"].manifests == {}
    assert len(lead.view.executions) == 2
    lead.submit(asks(), "v-2")
    assert lead.run(PATIENCE_SECONDS + 1) == ["plan"], "nobody is asked once more"


def test_a_node_that_began_anew_is_asked_once_more() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    lead.say(1.0, 1_000)
    lead.tick(1.0 + REPEAT_SECONDS / 2)
    assert len(lead.asked) == 1, "it has just spoken"
    lead.tick(1.0 + REPEAT_SECONDS)
    assert [each.request_id for each in lead.asked] == [lead.asked[0].request_id] * 2
    lead.answer(5.0)
    assert lead.run(5.0) == ["listed", "plan"]


def test_a_long_listing_is_waited_for_while_it_goes_on_and_told() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    told = []
    for second in range(1, 60):
        lead.say(float(second), 10_000 * second)
        lead.tick(float(second))
        told += [change.message for _, changes in lead.commits for change in changes.jobs]
        lead.commits.clear()
    assert told[0] == f"listing inputs {10_000 * int(TELL_SECONDS):,} …"
    assert len(told) <= 60 / TELL_SECONDS
    lead.answer(60.0, files=600_000)
    assert lead.run(60.0) == ["listed", "plan"]


def test_nothing_is_waited_for_without_end() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    for second in range(1, int(LONGEST_SECONDS) + 1, 5):
        lead.say(float(second), second)
        lead.tick(float(second))
    lead.say(LONGEST_SECONDS, 10**6)
    assert "plan" in lead.tick(LONGEST_SECONDS)


def test_a_job_whose_time_is_over_is_not_waited_for() -> None:
    lead = Lead()
    lead.submit(asks(total_timeout=timedelta(seconds=5)))
    lead.run(0.0)
    lead.wall = NOW + timedelta(seconds=6)
    assert "plan" in lead.tick(6.0)


def test_what_cannot_be_listed_is_left_to_its_executions() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    lead.answer(1.0, problem="there is no bucket gone")
    assert lead.run(1.0) == ["listed", "plan"]
    assert any("without a list of its inputs: there is no bucket gone" in text for text in lead.history)


def test_why_there_is_none_is_told_in_few_words() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    lead.answer(1.0, problem="no " * 100_000)
    lead.run(1.0)
    (told,) = [text for text in lead.history if text.startswith("Placed without")]
    assert len(told) < 2 * listings.WHY_CHARACTERS


def test_what_the_first_execution_s_node_lists_pins_the_rest() -> None:
    lead = Lead(a_lister("n-1", cpu="1"))
    lead.submit(asks(tasks=(replace(a_plan(count=20), requirement=a_requirement(storages=["s3"], cpu="500m")),)))
    lead.run(0.0)
    lead.tick(PATIENCE_SECONDS)
    assert len(lead.view.executions) == 2, "there is no room for more"
    before = len(lead.asked)
    assert lead.tick(PATIENCE_SECONDS + 1) == []
    assert [each.node_id for each in lead.asked[before:]] == ["n-1"]
    lead.answer(PATIENCE_SECONDS + 2, parts=20)
    assert lead.run(PATIENCE_SECONDS + 2) == ["listed"]
    assert lead.view.jobs["j-1"].manifests[("main", 0)].digest == DIGEST
    assert "Listed inputs: 5 files, 50 bytes, the same for executions from here on" in lead.history
    assert lead.tick(PATIENCE_SECONDS + 3) == []
    assert len(lead.asked) == before + 1


def test_a_task_is_pinned_though_one_that_waits_for_it_is_not_placed_yet() -> None:
    lead = Lead()
    lead.submit(asks(tasks=(a_plan("one"), a_plan("two", needs=(Dependency("one"),)))))
    lead.run(0.0)
    lead.tick(PATIENCE_SECONDS)
    assert {row.task for row in lead.view.executions.values()} == {"one"}
    before = len(lead.asked)
    lead.tick(PATIENCE_SECONDS + 1)
    assert [(each.task, each.input) for each in lead.asked[before:]] == [("one", 0)]
    lead.answer(PATIENCE_SECONDS + 2)
    lead.run(PATIENCE_SECONDS + 2)
    assert list(lead.view.jobs["j-1"].manifests) == [("one", 0)]
    lead.tick(PATIENCE_SECONDS + 3)
    assert len(lead.asked) == before + 1, "the other waits for its own first execution"


@pytest.mark.parametrize("answer", ["nothing", "problem", "gone"])
def test_one_that_its_first_execution_s_node_does_not_list_either_is_not_asked_for_any_more(answer: str) -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    lead.tick(PATIENCE_SECONDS)
    lead.tick(PATIENCE_SECONDS + 1)
    asked = len(lead.asked)
    if answer == "problem":
        lead.answer(PATIENCE_SECONDS + 2, problem="there is no bucket")
    elif answer == "gone":
        lead.view.apply(Changes(nodes=(a_lister(connected=False),)))
    for second in range(2, 60):
        lead.tick(PATIENCE_SECONDS + second)
    assert {each.request_id for each in lead.asked[asked:]} <= {lead.asked[asked - 1].request_id}
    assert lead.view.jobs["j-1"].manifests == {}
    assert sum("Placed without" in text for text in lead.history) == 1


def test_a_list_of_other_parts_than_the_task_has_is_not_believed() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    lead.answer(1.0, parts=3)
    lead.run(1.0)
    assert lead.view.jobs["j-1"].manifests == {}


def test_another_node_is_asked_where_the_first_goes_away() -> None:
    lead = Lead(a_lister("n-1"), a_lister("n-2"))
    lead.submit(asks())
    lead.run(0.0)
    (first,) = lead.asked
    gone = replace(lead.view.nodes[first.node_id], connection=a_node(connected=False).connection)
    lead.view.apply(Changes(nodes=(gone,)))
    lead.tick(1.0)
    assert {each.node_id for each in lead.asked} == {"n-1", "n-2"}
    lead.answer(2.0, 0)
    assert lead.run(2.0) == [], "it was not asked this any more"
    lead.answer(2.0)
    assert "plan" in lead.run(2.0)


def test_what_a_task_uses_is_reached_by_the_node_that_lists_for_it() -> None:
    """In several regions no other may reach the server of its inputs."""
    lead = Lead(*(a_lister(f"n-{number}", services=("objects",) if number == 3 else ()) for number in range(1, 5)))
    for name in ("j-1", "j-2", "j-3", "j-4"):
        plan = replace(a_plan(), requirement=a_requirement(storages=["s3"], uses=["objects"]))
        lead.submit(asks(name, tasks=(plan,)), f"v-{name}")
    lead.run(0.0)
    assert [each.node_id for each in lead.asked] == ["n-3"] * 4


def test_a_node_that_cannot_is_not_the_last_one_that_is_asked() -> None:
    lead = Lead(*(a_lister(f"n-{number}") for number in range(1, 6)))
    lead.submit(asks())
    lead.run(0.0)
    for now in (1.0, 2.0):
        lead.answer(now, files=0, problem="http://s3-eu:7070 cannot be reached", code="input-unavailable")
        assert lead.run(now) == []
    assert len({each.node_id for each in lead.asked}) == 3
    lead.answer(3.0, files=7)
    assert lead.run(3.0) == ["listed", "plan"]
    assert lead.view.jobs["j-1"].manifests[("main", 0)].files == 7
    (told,) = [item for _, changes in lead.commits for item in changes.history if item.message.startswith("Listed")]
    assert told.details == {"NodeID": lead.asked[-1].node_id}, "whose list it is"


@pytest.mark.parametrize("code", ["input-unavailable", "input-denied", "exhausted", "node-trouble", "internal"])
def test_only_so_many_are_asked_and_the_first_ones_word_is_told(code: str) -> None:
    lead = Lead(*(a_lister(f"n-{number}") for number in range(1, 6)))
    lead.submit(asks())
    lead.run(0.0)
    for number in range(MOST_NODES):
        lead.answer(float(number), problem=f"no way from here ({number})", code=code)
        planned = lead.run(float(number))
    assert planned == ["listed", "plan"]
    assert len(lead.asked) == MOST_NODES
    assert any("without a list of its inputs: no way from here (0)" in text for text in lead.history)


@pytest.mark.parametrize("code", ["input-missing", "input-invalid", "input-too-large"])
def test_what_the_server_itself_says_is_asked_once(code: str) -> None:
    lead = Lead(a_lister("n-1"), a_lister("n-2"))
    lead.submit(asks())
    lead.run(0.0)
    lead.answer(1.0, problem="there is no bucket gone", code=code)
    assert lead.run(1.0) == ["listed", "plan"]
    assert len(lead.asked) == 1


@pytest.mark.parametrize("type_", ["s3", "ipfs"])
def test_what_a_node_s_own_server_says_is_not_what_another_s_would(type_: str) -> None:
    """A job that names no server asks that of whichever node lists: the bucket may be in another region's."""
    lists = {"storages": (Plugin(name=type_, lists=True),)}
    nodes = [a_lister("n-1"), a_lister("n-2")]
    lead = Lead(*(replace(node, info=node.info.model_copy(update=lists)) for node in nodes))
    servers = {"s3": ("", "https://s3.us-east-1.amazonaws.com"), "ipfs": ()}[type_]
    plan = TaskPlan("main", 2, a_requirement(storages=[type_]), fetched=((0, type_),))
    lead.submit(asks(tasks=(replace(plan, inputs=(KeyedInput("k", 0, servers=servers),)),)))
    lead.run(0.0)
    lead.answer(1.0, problem="what is wanted is not at http://s3-us:7070")
    assert lead.run(1.0) == []
    assert {each.node_id for each in lead.asked} == {"n-1", "n-2"}
    lead.answer(2.0)
    assert lead.run(2.0) == ["listed", "plan"]


def test_another_is_asked_beside_one_that_finds_nothing_and_who_is_first_counts() -> None:
    """A server whose packets nobody answers is tried for a minute by the node that does not reach it."""
    lead = Lead(a_lister("n-1"), a_lister("n-2"))
    lead.submit(asks())
    lead.run(0.0)
    lead.say(1.0, 0)
    lead.tick(OTHERS_SECONDS - 1)
    assert {each.node_id for each in lead.asked} == {lead.asked[0].node_id}
    lead.tick(OTHERS_SECONDS)
    assert {each.node_id for each in lead.asked} == {"n-1", "n-2"}
    lead.answer(OTHERS_SECONDS + 1, files=9)
    assert lead.run(OTHERS_SECONDS + 1) == ["listed", "plan"]
    lead.answer(OTHERS_SECONDS + 2, 0, files=1)
    assert lead.run(OTHERS_SECONDS + 2) == []
    assert lead.view.jobs["j-1"].manifests[("main", 0)].files == 9


def test_one_that_finds_files_is_left_alone() -> None:
    lead = Lead(a_lister("n-1"), a_lister("n-2"))
    lead.submit(asks())
    lead.run(0.0)
    for second in range(1, 30):
        lead.say(float(second), 250 * second)
        lead.tick(float(second))
    assert len({each.node_id for each in lead.asked}) == 1


def test_nodes_that_come_too_late_are_asked_no_more() -> None:
    lead = Lead(a_lister("n-1"))
    lead.submit(asks())
    lead.run(0.0)
    for second in range(1, int(PATIENCE_SECONDS) + 1):
        lead.say(float(second), second)
        lead.tick(float(second))
    lead.view.apply(Changes(nodes=(a_lister("n-2"),)))
    lead.tick(PATIENCE_SECONDS + 1)
    assert {each.node_id for each in lead.asked} == {"n-1"}
    lead.answer(PATIENCE_SECONDS + 2, problem="cannot be reached", code="input-unavailable")
    assert lead.run(PATIENCE_SECONDS + 2) == ["listed", "plan"]


def test_nodes_that_speak_each_second_and_find_nothing_are_given_up() -> None:
    lead = Lead(a_lister("n-1"), a_lister("n-2"))
    lead.submit(asks())
    lead.run(0.0)
    for second in range(1, int(PATIENCE_SECONDS)):
        for number in range(len(lead.asked)):
            lead.say(float(second), 0, number)
        assert lead.tick(float(second)) == []
    assert {each.node_id for each in lead.asked} == {"n-1", "n-2"}
    lead.say(PATIENCE_SECONDS, 0)
    assert lead.tick(PATIENCE_SECONDS) == ["listed", "plan"]
    assert any(f"without a list of its inputs: {listings.NOTHING_YET}" in text for text in lead.history)


def test_what_one_had_found_that_then_could_not_go_on_is_nothing_that_another_finds() -> None:
    lead = Lead(*(a_lister(f"n-{number}") for number in range(1, 4)))
    lead.submit(asks())
    lead.run(0.0)
    lead.answer(1.0, files=500, problem="its line is cut", code="input-unavailable")
    lead.run(1.0)
    lead.say(1.0 + OTHERS_SECONDS, 0)
    lead.tick(1.0 + OTHERS_SECONDS)
    assert len({each.node_id for each in lead.asked}) == 3
    lead.say(PATIENCE_SECONDS, 0)
    assert lead.tick(PATIENCE_SECONDS) == ["listed", "plan"]
    assert any("without a list of its inputs: its line is cut" in text for text in lead.history)


def test_the_node_of_a_first_execution_may_find_nothing_for_longer() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    lead.tick(PATIENCE_SECONDS)
    for second in range(1, 30):
        lead.tick(PATIENCE_SECONDS + second)
        lead.say(PATIENCE_SECONDS + second, 0)
    lead.answer(PATIENCE_SECONDS + 30)
    assert lead.run(PATIENCE_SECONDS + 30) == ["listed"]


def test_a_node_that_has_measured_the_server_is_asked_first() -> None:
    lead = Lead(
        *(a_lister(f"n-{number}", near={"http://s3:7070": 300} if number == 4 else {}) for number in range(1, 6))
    )
    reads = (KeyedInput("k", 0, servers=("http://s3:7070",)),)
    for number in range(8):
        lead.submit(asks(f"j-{number}", tasks=(replace(a_plan(), inputs=reads),)), f"v-{number}")
    lead.run(0.0)
    assert [each.node_id for each in lead.asked] == ["n-4"] * 8


def test_a_stop_is_carried_out_at_once() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    stopped = asks(state=JobState.STOPPED, generation=2)
    lead.core.on_evaluations([Evaluation("v-2", "j-1", "stop", stopped)])
    assert lead.run(1.0, state=JobState.STOPPED) == ["plan"]
    assert set(lead.commits[-1][1].evaluations_done) == {"v-1", "v-2"}
    lead.answer(2.0)
    assert lead.run(2.0) == []


def test_a_stop_that_the_leader_has_not_heard_of_pins_nothing() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    lead.answer(1.0)
    lead.run(1.0, state=JobState.STOPPED)
    assert lead.commits[0][1].jobs == ()


def test_the_next_version_is_listed_anew() -> None:
    lead = Lead()
    lead.submit(asks())
    lead.run(0.0)
    lead.submit(asks(version=2, generation=2), "v-2")
    lead.run(1.0)
    assert [each.job.version for each in lead.asked] == [1, 2]
    lead.answer(2.0, 0)
    assert lead.view.jobs["j-1"].manifests == {}
    lead.answer(2.0, 1)
    lead.run(2.0)
    assert lead.view.jobs["j-1"].version == 2
    assert len(lead.view.jobs["j-1"].manifests) == 1


def test_a_new_leader_asks_again_and_what_is_pinned_stays_so() -> None:
    job = asks()
    first = Lead(view=ClusterView.load([a_lister()], [job], []))
    first.run(0.0)
    assert len(first.asked) == 1, "the takeover looks at every open job"
    pinned = replace(job, manifests={("main", 0): ManifestRef(digest=DIGEST, parts=2, files=1, size_bytes=1)})
    second = Lead(view=ClusterView.load([a_lister()], [pinned], []))
    assert "plan" in second.run(0.0)
    assert second.asked == []


def test_one_that_runs_is_not_stopped_later_for_a_listing() -> None:
    old = asks(state=JobState.RUNNING, attempts={("main", 0): 1})
    view = ClusterView.load([a_lister()], [old], [an_execution("e-0", job=old)])
    lead = Lead(view=view)
    lead.submit(asks(version=2, generation=2))
    assert "plan" in lead.run(0.0)
    assert lead.asked == []


def test_every_input_of_every_task_is_listed() -> None:
    lead = Lead()
    lead.submit(asks(tasks=(a_plan("one", inputs=2), a_plan("two"))))
    lead.run(0.0)
    assert [(each.task, each.input) for each in lead.asked] == [("one", 0), ("one", 1), ("two", 0)]
    for number in range(3):
        assert lead.run(1.0) == []
        lead.answer(1.0, number)
    assert lead.run(1.0) == ["listed", "plan"]
    assert len(lead.view.jobs["j-1"].manifests) == 3


def test_only_so_many_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "MOST_JOBS", 1)
    lead = Lead()
    lead.submit(asks("j-1"))
    lead.submit(asks("j-2"), "v-2")
    assert lead.run(0.0) == ["plan"]
    assert [each.job.id for each in lead.asked] == ["j-1"]
