"""Hello, said until it is answered: page by page, again after a while, and never two at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from skrei_domain.envelope import unwrap, wrap
from skrei_domain.errors import SkreiError, Unavailable
from skrei_domain.messages import Hello, HelloReply, Problem
from skrei_kit.observability import get_logger

log = get_logger()

ANSWER_SECONDS = 5.0
"""How long a leader may take for one page: it reads the node's executions from the record for it."""
AGAIN_SECONDS = 0.25
"""First pause before a hello is said again; doubles. A leader that is being replaced is there within 5 s."""
AGAIN_MAX_SECONDS = 5.0
FINAL = frozenset({"duplicate-node", "protocol"})
"""Refusals that no second try can change."""
REFUSED_HINTS = {
    "duplicate-node": "stop the other process, or give this one its own --data-dir and credentials",
    "protocol": "install a version of Skrei that the orchestrator knows",
    "node-rejected": "ask the orchestrator's operator to approve this node",
}
"""What to do about a refusal."""
HELLO_TYPE = "skrei.hello.v1"


class NodeRefused(SkreiError):
    """The control plane does not take this process as a node, whatever it says."""

    code = "node-refused"


class Ask(Protocol):
    """Sends a request and returns the answer's payload."""

    def __call__(self, payload: bytes, timeout_seconds: float) -> Awaitable[bytes]:
        """Raises Unavailable when nobody answers."""


class Greeter:
    """Says the last hello that it was given. `answered` gets the reply; `again` asks for fresh pages.

    `unheard` is told why the node has not been greeted, and what to do about it.
    """

    def __init__(
        self,
        node_id: str,
        ask: Ask,
        *,
        answered: Callable[[HelloReply], None],
        again: Callable[[], None],
        unheard: Callable[[str, str], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._node_id = node_id
        self._ask = ask
        self._answered = answered
        self._again = again
        self._unheard = unheard
        self._fail = fail
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause = AGAIN_SECONDS

    def say(self, pages: tuple[Hello, ...]) -> None:
        """Begin a hello with these pages; an earlier one ends unheard."""
        self.close()
        self._task = asyncio.get_running_loop().create_task(self._say(pages), name="hello")
        self._task.add_done_callback(self._done)

    def refused(self, problem: Problem) -> None:
        """Take a refusal: end the process, or say hello again after a while."""
        self._unheard(problem.message, REFUSED_HINTS.get(problem.code, "it tries again by itself"))
        if problem.code in FINAL:
            self._fail(NodeRefused(problem.message, node_id=self._node_id))
            return
        log.info("hello_refused", code=problem.code, reason=problem.message)
        self._later()

    def close(self) -> None:
        """End a hello that is under way, and a pause before the next."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _say(self, pages: tuple[Hello, ...]) -> None:
        reply = HelloReply(more=True)
        for page in pages:
            identity = f"{page.boot_id}-{page.incarnation}-{page.sequence}-{page.page}"
            payload = wrap(page, type_=HELLO_TYPE, source=self._node_id, id_=identity)
            try:
                reply = unwrap(HelloReply, await self._ask(payload, ANSWER_SECONDS))
            except Unavailable as error:
                log.debug("hello_unanswered", reason=error.message)
                self._unheard(
                    "NATS is there, but no scheduler answers", "start the orchestrator; it tries again by itself"
                )
                self._later()
                return
            if reply.refusal is not None:
                break
        if reply.refusal is None and not reply.more:
            self._pause = AGAIN_SECONDS
        elif reply.refusal is None:
            self._later()  # the leader was replaced between two pages: begin again
            return
        self._task = None  # the answer may begin another hello, which must not end this one
        self._answered(reply)

    def _later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._again)
        self._pause = min(self._pause * 2, AGAIN_MAX_SECONDS)

    def _done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
