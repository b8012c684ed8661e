"""Commands that are written while the record commits what they say: sent once it has, once, and never otherwise."""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import cast

from skrei_domain.clock import ManualClock
from skrei_domain.messages import ManifestRef
from skrei_domain.spec import JobSpec, SpecConfig, TaskSpec, encode
from skrei_kit.bus import Bus
from skrei_kit.tokens import TokenSigner
from skrei_scheduler.core import Core
from skrei_scheduler.departures import MOST_AHEAD, Departures
from skrei_scheduler.sender import Sender
from skrei_scheduler.specs import SpecCache
from skrei_scheduler.work import Commit, SendCommands
from skrei_scheduling.changes import Changes, JobChange
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_hello, a_job, a_node, an_execution, counting_ids, locked

JOB = a_job("j-1", count=MOST_AHEAD + 1)
ROWS = tuple(an_execution(f"e-{number}", job=JOB, partition=number) for number in range(MOST_AHEAD + 1))
LONE = Changes(executions_new=ROWS[:1])


class Told:
    """A bus that takes nothing at once, and whom it was to tell of which executions."""

    def __init__(self) -> None:
        self.executions: list[str] = []

    def publish_now(self, *_: tuple[str, bytes]) -> bool:
        return False

    async def publish(self, subject: str, payload: bytes) -> None:
        assert subject.endswith(".command")
        self.executions += [each["execution_id"] for each in json.loads(payload)["data"]["commands"]]


class Tokens:
    """Signs, and counts."""

    def __init__(self) -> None:
        self.signed = 0

    def run(self, *_: object, **__: object) -> str:
        self.signed += 1
        return "token"


class Leading:
    """A leader's departures, with one node; whether it was `greeted`."""

    def __init__(self, *, greeted: bool = True) -> None:
        self.bus, self.tokens = Told(), Tokens()
        node = a_node("n-1")
        core = Core(ClusterView.load([node], [JOB], []), timeline=1, epoch=1, now=0.0, ids=counting_ids())
        if greeted:
            core.on_hello(a_hello(node), "reply")
            work = core.next_work(0.0, NOW)
            assert isinstance(work, Commit)
            work.after(work.decide(locked(JOB)), 0.0)
        specs = SpecCache()
        task = TaskSpec(name="main", engine=SpecConfig(type="wasm", params={}))
        specs.put("j-1", 1, encode(JobSpec(count=len(ROWS), tasks=(task,))))
        sender = Sender(
            cast("Bus", self.bus),
            core,
            specs=specs,
            signer=cast("TokenSigner", self.tokens),
            clock=ManualClock(NOW),
            token=timedelta(hours=1),
        )
        self.departures = Departures(sender, specs, fetch_specs=self._fetch, look=lambda: None)

    async def _fetch(self, missing: Collection[tuple[str, int]]) -> None:
        assert not missing

    async def committed(self, changes: Changes) -> list[str]:
        """What is said of a commit that was made, in order."""
        await self.departures.send_ahead(changes)
        await self.departures.send([SendCommands("n-1", changes.executions_new)])
        return self.bus.executions


async def test_a_command_that_was_written_is_sent_once_and_repeated_when_it_is_asked_for() -> None:
    leading = Leading()
    leading.departures.write_ahead(LONE)
    assert (leading.bus.executions, leading.tokens.signed) == ([], 1), "nothing leaves before the commit"
    assert await leading.committed(LONE) == ["e-0"]
    assert leading.tokens.signed == 1
    await leading.departures.send([SendCommands("n-1", ROWS[:1])])
    assert leading.bus.executions == ["e-0", "e-0"]


async def test_one_whose_node_said_hello_meanwhile_is_said_with_the_answer() -> None:
    leading = Leading()
    leading.departures.write_ahead(LONE)
    await leading.departures.send_ahead(LONE)
    await leading.departures.send([])  # nothing to a node whose hello is not answered
    await leading.departures.send([SendCommands("n-1", ROWS[:1])])
    assert leading.bus.executions == ["e-0", "e-0"]


async def test_what_was_written_of_a_commit_that_was_decided_anew_is_never_sent() -> None:
    leading = Leading()
    leading.departures.write_ahead(LONE)
    assert await leading.committed(Changes(executions_new=ROWS[:1])) == ["e-0"], "written again, as it is now"
    assert leading.tokens.signed == 2


async def test_many_are_written_afterwards_and_so_are_those_whose_job_the_commit_changes() -> None:
    pinned = JobChange(
        "j-1", 2, manifests=((("main", 0), ManifestRef(digest="sha256:" + "a" * 64, parts=1, files=1, size_bytes=1)),)
    )
    for changes in (
        Changes(executions_new=ROWS),
        replace(LONE, jobs=(JobChange("j-1", 2, targets=(("n-1", 0),)),)),
        replace(LONE, jobs=(pinned,)),
        Changes(),
    ):
        leading = Leading()
        leading.departures.write_ahead(changes)
        assert leading.tokens.signed == 0
        assert await leading.committed(changes) == [row.id for row in changes.executions_new]


async def test_a_node_that_was_not_greeted_is_told_nothing_ahead() -> None:
    leading = Leading(greeted=False)
    leading.departures.write_ahead(LONE)
    await leading.departures.send_ahead(LONE)
    assert (leading.bus.executions, leading.tokens.signed) == ([], 0)
