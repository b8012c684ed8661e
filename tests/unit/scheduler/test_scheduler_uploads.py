"""An uploaded result on its way to be seen: what the leader believes, tells the publisher, and lets nodes forget."""

import pytest

from skrei_domain.bounds import sound_fact
from skrei_domain.lifecycle import ExecutionState, JobState, Want
from skrei_domain.messages import (
    ExecutionObserved,
    FactBatch,
    Hello,
    HelloExecution,
    Problem,
    PublishedAt,
    PublisherFact,
    PublishRefused,
    PublishWaits,
    ResultRef,
    StagedResult,
)
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import Receipt, TokenSigner, TokenVerifier
from skrei_scheduler.core import Core
from skrei_scheduler.receipts import check
from skrei_scheduler.work import Commit, Fetch, Outgoing, Reply, SendCommands, SendPublisher
from skrei_scheduling import texts
from skrei_scheduling.changes import AuditNew, Place
from skrei_scheduling.settle import settle
from tests.support.builders import NOW, a_fact, a_job, a_node, an_execution, counting_ids, locked
from tests.support.ledger import Ledger

PRIVATE, PUBLIC = new_key()
DIGEST = f"sha256:{'a' * 64}"
SIZE = 200_000_000


def receipt(execution_id: str = "e-0", *, digest: str = DIGEST, size: int = SIZE, key: bytes = PRIVATE) -> str:
    return TokenSigner(key).receipt(Receipt(execution_id, digest, size, "store", "there"))


def uploaded(signed: str | None, state: ExecutionState = ExecutionState.COMPLETED, **given: str) -> ExecutionObserved:
    fact = a_fact("e-0", state, **given)  # type: ignore[arg-type]
    return fact.model_copy(update={"result": ResultRef(digest=DIGEST, size=SIZE, receipt=signed)})


class Bench:
    """A leader of one node that runs the one unit of one job."""

    def __init__(self) -> None:
        self.record = Ledger()
        self.node = a_node("n-1")
        job = a_job("j-1", state=JobState.RUNNING)
        self.record.submit(job, "v-1")
        self.record.evaluations.clear()
        self.record.nodes["n-1"] = self.node
        self.record.executions["e-0"] = an_execution("e-0", job=job, seen_revision=1)
        self.audit: list[AuditNew] = []
        self.sequence = 0
        self.lead()
        self.hello(HelloExecution(execution_id="e-0", revision=1, state=ExecutionState.OFFERED))

    def lead(self) -> None:
        """A leader takes over."""
        self.core = Core(
            self.record.view(),
            timeline=1,
            epoch=1,
            now=0.0,
            ids=counting_ids(),
            verify=TokenVerifier(PUBLIC).receipt,
        )

    def hello(self, *listed: HelloExecution) -> list[Outgoing]:
        hello = Hello(
            node_id="n-1",
            boot_id=self.node.boot_id,
            timeline=1,
            epoch=1,
            incarnation=1,
            sequence=self.sequence,
            confirmed=self.sequence,
            executions=listed,
            info=self.node.info,
        )
        self.core.on_hello(hello, "inbox")
        return self.work()

    def work(self) -> list[Outgoing]:
        out: list[Outgoing] = []
        while (work := self.core.next_work(0.0, NOW)) is not None:
            if isinstance(work, Commit):
                changes = self.record.commit(work.lock, work.evaluations, work.decide)
                self.audit += changes.audit
                out += work.after(changes, 0.0)
            elif isinstance(work, Fetch):
                known = self.record.executions
                self.core.fetched(work.executions, {each: known[each] for each in work.executions if each in known})
            else:
                out += work
        return out

    def tell(self, *facts: ExecutionObserved) -> list[Outgoing]:
        batch = FactBatch(node_id="n-1", boot_id=self.node.boot_id, incarnation=1, first=self.sequence + 1, facts=facts)
        self.sequence += len(facts)
        self.core.on_facts(batch, None)
        return self.work()

    def published(self, fact: PublisherFact) -> list[Outgoing]:
        self.core.on_publisher_fact(fact)
        return self.work()

    def refuse(self, code: str) -> list[Outgoing]:
        problem = Problem(code=code, message="no such bucket")
        refused = PublishRefused(execution_id="e-0", digest=DIGEST, problem=problem)
        return self.published(PublisherFact(refused=(refused,)))

    @property
    def state(self) -> tuple[str, str]:
        return self.record.executions["e-0"].state.value, self.record.jobs["j-1"].state.value


@pytest.fixture
def bench() -> Bench:
    return Bench()


def forgotten(out: list[Outgoing]) -> list[tuple[str, int]]:
    rows = [row for each in out if isinstance(each, SendCommands) for row in each.rows if row.want is Want.FORGET]
    return [(row.id, row.revision) for row in rows]


def test_a_winner_is_publishing_until_its_result_is_final(bench: Bench) -> None:
    out = bench.tell(uploaded(receipt()))
    assert bench.state == ("publishing", "Running")
    asked = [each.command.finalise for each in out if isinstance(each, SendPublisher)]
    wanted = StagedResult(execution_id="e-0", digest=DIGEST, size=SIZE, publisher="store", place="there")
    assert asked == [(wanted,)]
    out = bench.published(PublisherFact(finalised=(("e-0", DIGEST),)))
    assert bench.state == ("completed", "Completed")
    assert forgotten(out) == [("e-0", 2)]


def waits(reason: str, digest: str = DIGEST) -> PublisherFact:
    return PublisherFact(waits=(PublishWaits(execution_id="e-0", digest=digest, reason=reason),))


def test_a_result_that_cannot_be_made_final_says_for_what_it_waits_and_its_history_does_once(bench: Bench) -> None:
    bench.tell(uploaded(receipt()))
    for _ in range(2):
        bench.published(waits("s3://results: refused"))
    said = "Its result waits: s3://results: refused; it is tried again"
    assert bench.record.executions["e-0"].message == said
    bench.published(waits("s3://results: no route"))
    bench.published(waits("another result", digest=f"sha256:{'b' * 64}"))
    assert bench.record.executions["e-0"].message == said.replace("refused", "no route")
    assert [item.message for item in bench.record.history if "waits:" in item.message] == [said]
    bench.published(PublisherFact(finalised=(("e-0", DIGEST),)))
    assert bench.state == ("completed", "Completed")
    assert bench.record.executions["e-0"].message == ""


def test_a_node_that_cannot_bring_its_result_says_what_it_waits_for(bench: Bench) -> None:
    publishing = a_fact("e-0", ExecutionState.PUBLISHING)
    bench.tell(publishing.model_copy(update={"note": "http://store:9000 cannot be reached by this node"}))
    said = "Its result waits: http://store:9000 cannot be reached by this node; it is tried again"
    assert bench.record.executions["e-0"].message == said
    assert said in [item.message for item in bench.record.history]
    bench.tell(publishing.model_copy(update={"note": ""}))
    assert bench.record.executions["e-0"].message == ""
    bench.tell(uploaded(receipt()))
    assert bench.state == ("publishing", "Running")


def test_what_the_publisher_says_twice_or_late_changes_nothing(bench: Bench) -> None:
    bench.tell(uploaded(receipt()))
    for _ in range(2):
        bench.published(PublisherFact(finalised=(("e-0", DIGEST),)))
    bench.refuse("publish-failed")
    assert bench.state == ("completed", "Completed")


def test_a_publisher_that_names_another_result_than_is_staged_makes_nothing_final(bench: Bench) -> None:
    other = f"sha256:{'b' * 64}"
    bench.tell(uploaded(receipt()))
    problem = Problem(code="publish-failed", message="no such bucket")
    refused = PublishRefused(execution_id="e-0", digest=other, problem=problem)
    for fact in (PublisherFact(finalised=(("e-0", other),)), PublisherFact(refused=(refused,))):
        assert forgotten(bench.published(fact)) == []
        assert bench.state == ("publishing", "Running")
    assert len(forgotten(bench.published(PublisherFact(finalised=(("e-0", DIGEST),))))) == 1


def test_a_new_leader_goes_on_with_what_is_staged(bench: Bench) -> None:
    bench.tell(uploaded(receipt()))
    bench.lead()
    bench.hello()  # the node has lost its journal: what it uploaded is not lost with it
    assert bench.state == ("publishing", "Running")
    bench.published(PublisherFact(finalised=(("e-0", DIGEST),)))
    assert bench.state == ("completed", "Completed")


def test_a_silent_node_makes_nothing_of_a_staged_execution_unknown(bench: Bench) -> None:
    bench.tell(uploaded(receipt()))
    for second in range(60):
        bench.core.on_tick(float(second))
        bench.work()
    assert bench.state == ("publishing", "Running")


@pytest.mark.parametrize(
    "signed",
    [
        None,
        "no.receipt.at-all",
        receipt(key=new_key()[0]),
        receipt("e-other"),
        receipt(digest=f"sha256:{'b' * 64}"),
        receipt(size=SIZE - 1),
        TokenSigner(PRIVATE).run("e-0", "n-1", (), seconds=60),
    ],
    ids=["none", "nonsense", "forged", "another-execution", "another-digest", "another-size", "a-run-token"],
)
def test_a_receipt_that_is_not_for_this_result_is_refused_audited_and_tried_again(
    bench: Bench, signed: str | None
) -> None:
    bench.tell(uploaded(signed))
    assert bench.state == ("failed", "Running")
    assert [(entry.action, entry.object, entry.actor) for entry in bench.audit] == [("receipt.refused", "e-0", "n-1")]
    assert [each.evaluation.trigger for each in bench.record.evaluations.values()] == ["exec-retry"]
    assert bench.record.results == []


def test_a_destination_s_last_word_withdraws_the_winner_and_fails_the_job(bench: Bench) -> None:
    bench.tell(uploaded(receipt()))
    out = bench.refuse("publish-failed")
    assert bench.state == ("failed", "Failed")
    assert "no such bucket" in bench.record.messages["j-1"]
    assert forgotten(out) == [("e-0", 2)]


def test_a_result_that_was_lost_before_it_was_final_is_made_again(bench: Bench) -> None:
    bench.tell(uploaded(receipt()))
    bench.refuse("result-lost")
    assert bench.state == ("failed", "Running")
    assert [each.evaluation.trigger for each in bench.record.evaluations.values()] == ["exec-retry"]


def test_a_stop_withdraws_a_winner_whose_result_is_not_final(bench: Bench) -> None:
    bench.tell(uploaded(receipt()))
    bench.record.stop("j-1", "v-stop")
    bench.core.on_evaluations(bench.record.due())
    bench.work()
    assert bench.state == ("stopped", "Stopped")
    out = bench.published(PublisherFact(finalised=(("e-0", DIGEST),)))
    assert bench.state == ("stopped", "Stopped")
    assert forgotten(out) == [("e-0", 2)]


def test_what_a_failed_execution_left_is_kept_and_counts_for_nothing(bench: Bench) -> None:
    out = bench.tell(uploaded(receipt(), ExecutionState.FAILED, problem="trap"))
    assert bench.state == ("failed", "Failed")
    kept = [each.command for each in out if isinstance(each, SendPublisher)]
    assert [(command.finalise, [each.execution_id for each in command.keep]) for command in kept] == [((), ["e-0"])]
    assert forgotten(bench.published(PublisherFact(finalised=(("e-0", DIGEST),)))) == [("e-0", 2)]


def test_a_hello_repeats_what_is_to_be_forgotten(bench: Bench) -> None:
    kept = HelloExecution(execution_id="e-0", revision=1, state=ExecutionState.COMPLETED, kept=True)
    bench.tell(uploaded(receipt()))
    (reply,) = [each.reply for each in bench.hello(kept) if isinstance(each, Reply)]
    assert reply.wanted == ()
    bench.published(PublisherFact(finalised=(("e-0", DIGEST),)))
    (reply,) = [each.reply for each in bench.hello(kept) if isinstance(each, Reply)]
    assert [(each.execution_id, each.revision, each.want) for each in reply.wanted] == [("e-0", 2, Want.FORGET)]


@pytest.mark.parametrize("size", [7, "7", None, -1, 2**63, 1.5, []])
def test_what_a_publisher_tells_of_portions_ends_no_leader(bench: Bench, size: object) -> None:
    bench.tell(uploaded(receipt()))
    portion = {"ResultPaths": [], "Type": "store", "Params": {}, "Digest": DIGEST, "Size": size}
    at = PublishedAt(execution_id="e-0", type="resultPaths", params={"Portions": [portion]})
    bench.core.on_publisher_fact(PublisherFact(finalised=(("e-0", DIGEST),), published=(at,)))
    work = bench.core.next_work(0.0, NOW)
    assert isinstance(work, Commit)
    changes = bench.record.commit(work.lock, work.evaluations, work.decide)
    assert [own for _, _, own in changes.results_published] == [7 if size == 7 else None]


LEFT = ResultRef(digest=DIGEST, size=5, inline="dG9sZA==", left_at="/srv/e-0", left_bytes=9, left_unseen=True)


def left(**changed: object) -> ExecutionObserved:
    return a_fact("e-0").model_copy(update={"result": LEFT.model_copy(update=changed)})


def test_what_stays_on_its_node_is_publishing_until_that_has_shown_it(bench: Bench) -> None:
    out = bench.tell(left())
    assert bench.state == ("publishing", "Running")
    (asked,) = [each.command.finalise for each in out if isinstance(each, SendPublisher)]
    assert asked == (
        StagedResult(
            execution_id="e-0",
            digest=DIGEST,
            size=5,
            publisher="localDirectory",
            place="/srv/e-0",
            destination="node n-1",
        ),
    )
    ran, publishing = bench.record.history[-2:]
    assert (ran.message, publishing.message) == ("Running", texts.SHOWING.format(size=9))
    bench.published(PublisherFact(finalised=(("e-0", DIGEST),)))
    assert bench.state == ("completed", "Completed")


def test_no_node_says_where_the_result_of_another_s_execution_is(bench: Bench) -> None:
    signed = uploaded(receipt())
    places = check([("n-1", signed), ("n-2", left())], TokenVerifier(PUBLIC).receipt).places
    assert places["n-1", "e-0"] == Place("store", "there")
    job = bench.record.jobs["j-1"]
    changes = settle(bench.record.view(), [("n-1", signed)], locked(job), counting_ids(), places=places)
    assert [result.staged for result in changes.results] == [Place("store", "there")]


def test_where_a_result_stays_is_taken_in_however_long_the_path_is(bench: Bench) -> None:
    bench.tell(left())
    at = PublishedAt(execution_id="e-0", type="localDirectory", params={"Path": f"/{'x' * 4_094}", "Bytes": 9})
    bench.core.on_publisher_fact(sound_fact(PublisherFact(finalised=(("e-0", DIGEST),), published=(at,))))
    work = bench.core.next_work(0.0, NOW)
    assert isinstance(work, Commit)
    changes = bench.record.commit(work.lock, work.evaluations, work.decide)
    assert [execution_id for execution_id, *_ in changes.results_published] == ["e-0"]


def test_what_ends_after_its_execution_was_given_up_is_not_told_to_lie_where_it_is_removed(bench: Bench) -> None:
    row = bench.record.executions["e-0"]
    bench.record.executions["e-0"] = row.evolve(state=ExecutionState.FAILED)
    bench.lead()
    bench.hello(HelloExecution(execution_id="e-0", revision=1, state=ExecutionState.RUNNING))
    bench.tell(left())
    (kept,) = bench.record.results
    assert (kept.committed, kept.result.left_at) == (False, None)


def test_a_node_of_an_earlier_version_shows_it_by_itself(bench: Bench) -> None:
    bench.tell(left(left_unseen=False))
    assert bench.state == ("completed", "Completed")


def test_what_another_has_beaten_is_never_shown(bench: Bench) -> None:
    row = bench.record.executions["e-0"]
    bench.record.executions["e-0"] = row.evolve(revoked=True, want=Want.STOP, revision=2)
    bench.lead()
    bench.hello(HelloExecution(execution_id="e-0", revision=1, state=ExecutionState.RUNNING))
    out = bench.tell(left())
    assert bench.state[0] == "stopped"
    assert not [each for each in out if isinstance(each, SendPublisher)]
    (kept,) = bench.record.results
    assert (kept.committed, kept.result.left_at) == (False, None)
