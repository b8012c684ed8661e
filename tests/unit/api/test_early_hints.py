"""Which submissions are hinted while the record commits them, and which are hinted (once more) afterwards."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from skrei_domain.errors import Unavailable
from skrei_domain.messages import HintedEvaluation
from skrei_domain.spec import InputSource, JobSpec, SpecConfig, TaskSpec, encode
from skrei_orchestrator_api.early import COMMITS, LATE_SECONDS, QUICK_SECONDS, EarlyHints
from skrei_store.submission import Submission, Submitted
from skrei_store.submit import hinted
from tests.support.builders import NOW

AHEAD = timedelta(hours=1)
"""How far the record's clock is ahead of this server's."""


def a_submission(number: int = 1, *, name: str = "", type_: str = "batch", source: str = "inline") -> Submission:
    brought = InputSource(source=SpecConfig(type=source), target="/x")
    task = TaskSpec(name="main", engine=SpecConfig(type="wasm"), input_sources=(brought,))
    spec = JobSpec(name=name or f"j-{number}", type=type_, tasks=(task,))
    return Submission(f"j-{number}", f"v-{number}", spec, encode(spec))


class Hints(EarlyHints):
    """What left early, by a bus that takes it or not."""

    def __init__(self) -> None:
        self.sent: list[HintedEvaluation] = []
        self.taken = True
        super().__init__(self._take, now=lambda: NOW)

    def _take(self, evaluation: HintedEvaluation) -> bool:
        self.sent.append(evaluation)
        return self.taken

    def stored(self, *batch: Submission, seconds: float = 0.0, error: Exception | None = None) -> None:
        """A commit that took so long."""
        done = [Submitted(each.job_id, each.evaluation_id, hinted(each, NOW + AHEAD)) for each in batch]
        self.committed(batch, [error] * len(batch) if error else done, asyncio.get_running_loop().time() - seconds)


async def test_a_lone_job_is_hinted_early_once_the_record_was_quick_and_by_its_clock() -> None:
    early, job = Hints(), a_submission(2)
    assert not early.pays([job]), "nobody knows yet how quick it is"
    early.stored(a_submission(1))
    assert early.pays([job])
    early.hint([job])
    assert [(each.evaluation_id, each.created_at >= NOW + AHEAD) for each in early.sent] == [("v-2", True)]
    early.stored(job)
    assert early.said("v-2")
    assert not early.said("v-1")


async def test_a_commit_that_took_long_has_its_hint_said_again() -> None:
    early, job = Hints(), a_submission(2)
    early.stored(a_submission(1))
    early.hint([job])
    early.stored(job, seconds=2 * LATE_SECONDS)
    assert not early.said("v-2")


async def test_a_slow_record_is_waited_for_until_it_is_quick_again() -> None:
    early = Hints()
    early.stored(a_submission(1))
    for number in range(COMMITS - 1):
        early.stored(a_submission(number), seconds=2 * QUICK_SECONDS)
        assert early.pays([a_submission(99)]), "one slow commit says more of the machine than of the record"
    early.stored(a_submission(98), seconds=2 * QUICK_SECONDS)
    assert not early.pays([a_submission(99)])
    early.stored(a_submission(99), error=Unavailable("the record is away"))
    assert not early.pays([a_submission(99)]), "what was refused says nothing of it"
    early.stored(a_submission(99))
    assert early.pays([a_submission(100)])


async def test_what_the_bus_did_not_take_was_not_said() -> None:
    early, job = Hints(), a_submission(2)
    early.stored(a_submission(1))
    early.taken = False
    early.hint([job])
    early.stored(job)
    assert not early.said("v-2")


async def test_only_a_lone_small_job_without_a_name_of_its_own_is_hinted_early() -> None:
    early = Hints()
    early.stored(a_submission(1))
    early.stored(a_submission(2), a_submission(3), seconds=1.0)  # says nothing of a lone one
    assert early.pays([a_submission(4)])
    assert not early.pays([a_submission(4), a_submission(5)])
    assert not early.pays([a_submission(4, name="mine")]), "it may be another version of one that is there"
    assert not early.pays([a_submission(4, type_="service")])
    assert not early.pays([a_submission(4, source="s3")]), "its inputs are listed first"
    assert early.pays([replace(a_submission(4), actor="me")])
