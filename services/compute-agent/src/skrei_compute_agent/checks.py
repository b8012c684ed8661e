"""Whether what runs here is ready: each start with a check is asked again and again, and changes are told.

`Verdicts` counts answers and decides, pure; `Checks` asks, by `asking`, and posts what changed. One that is slow to
answer holds up nobody: each start has a task of its own, and each question its time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from skrei_compute_agent.asking import Ask, AskInside, Inside, Reply, ask_port, nobody_inside
from skrei_compute_agent.events import Adopt, Answer, Checked, Stage, Staged
from skrei_domain.messages import PortObserved
from skrei_domain.spec import Check
from skrei_kit.observability import get_logger

log = get_logger()

FIRST_ASK_SECONDS = 0.2
"""After a start, doubling up to the check's interval until it is ready: most programs listen within a second, and
whoever waits for a new version waits for this."""


@dataclass(slots=True)
class Verdicts:
    """What the answers so far come to. A start is not ready until it has said so `healthy` times in a row."""

    healthy: int
    unhealthy: int
    ready: bool = False
    streak: int = 0
    """So many good answers came in a row last; below 0: bad ones."""

    def count(self, good: bool) -> bool:
        """Take in an answer; returns whether that is worth telling: it changed what the answers come to, or there were
        so many bad ones in a row that whoever waits for it wants to know why.
        """
        self.streak = max(self.streak, 0) + 1 if good else min(self.streak, 0) - 1
        if good is self.ready:
            return self.streak == -self.unhealthy
        if abs(self.streak) < (self.healthy if good else self.unhealthy):
            return False
        self.ready = good
        return True


@dataclass(frozen=True, slots=True)
class _Watched:
    check: Check
    engine: str
    ports: tuple[PortObserved, ...] = ()


class Checks:
    """Asks the starts that have a check. A `Listener` of the runner; it never waits."""

    def __init__(
        self,
        post: Callable[[Checked], None],
        ask: Ask = ask_port,
        *,
        inside: AskInside = nobody_inside,
        near: Callable[[str], str] = str,
    ) -> None:
        """Ask ports by `ask` and programs by `inside`; `near` says where this machine reaches a port that others are
        told of at a host.
        """
        self._post = post
        self._near = near
        self._ask = ask
        self._inside = inside
        self._watched: dict[str, _Watched] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def staged(self, wanted: Stage, answer: Staged) -> None:
        """An execution is staged."""
        if wanted.task.check is not None:
            engine = wanted.task.engine.type
            self._watched[wanted.execution_id] = _Watched(wanted.task.check, engine, answer.ports)

    def begun(self, execution_id: str, start: int) -> None:
        """A staged execution is about to run."""
        if (watched := self._watched.get(execution_id)) is not None:
            self._watch(execution_id, start, watched)

    def adopted(self, wanted: Adopt) -> None:
        """A start that an earlier process began is about to be taken up."""
        if wanted.task.check is not None:
            engine = wanted.task.engine.type
            self._watch(wanted.execution_id, wanted.start, _Watched(wanted.task.check, engine, wanted.ports))

    def ended(self, execution_id: str, answer: Answer | None) -> None:
        """A start has ended."""
        if (task := self._tasks.pop(execution_id, None)) is not None:
            task.cancel()

    def dropped(self, execution_id: str) -> None:
        """What an execution left is about to go."""
        self._watched.pop(execution_id, None)

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self, execution_id: str, start: int, watched: _Watched) -> None:
        self.ended(execution_id, None)
        work = self._look(execution_id, start, watched)
        self._tasks[execution_id] = asyncio.get_running_loop().create_task(work, name=f"check {execution_id}")

    async def _look(self, execution_id: str, start: int, watched: _Watched) -> None:
        check = watched.check
        question = self._question(execution_id, start, watched)
        if question is None:
            log.warning("check_without_port", execution_id=execution_id)
            return
        verdicts = Verdicts(check.healthy, check.unhealthy)
        pause = FIRST_ASK_SECONDS
        while True:
            await asyncio.sleep(pause)
            answer = await self._answer(execution_id, question)
            if verdicts.count(answer.good):
                why = "" if verdicts.ready else f"not ready: {answer.why}"
                log.info("check_changed", execution_id=execution_id, start=start, ready=verdicts.ready, why=why)
                self._post(Checked(execution_id, start, verdicts.ready, why))
            pause = check.interval if verdicts.ready else min(pause * 2, check.interval)

    async def _answer(self, execution_id: str, question: Callable[[], Awaitable[Reply]]) -> Reply:
        """Ask once. Whatever goes wrong is a bad answer: a check that ended would leave its verdict for ever."""
        try:
            return await question()
        except Exception as error:
            log.exception("check_broke", execution_id=execution_id)
            return Reply(False, f"the check itself went wrong: {error or type(error).__name__}")

    def _question(self, execution_id: str, start: int, watched: _Watched) -> Callable[[], Awaitable[Reply]] | None:
        """Return what asks once; None where there is nothing to ask."""
        check = watched.check
        if check.exec is not None:
            return partial(self._inside, Inside(execution_id, start, watched.engine, check.exec.command, check.timeout))
        port = _port(watched)
        return None if port is None else partial(self._ask, check, self._near(port.host), port.port)


def _port(watched: _Watched) -> PortObserved | None:
    way = watched.check.http or watched.check.tcp
    return None if way is None else next((port for port in watched.ports if port.name == way.port), None)
