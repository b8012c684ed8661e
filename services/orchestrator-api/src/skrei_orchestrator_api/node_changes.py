"""What users want of nodes: written down, hinted at, and waited for a moment."""

import asyncio

from skrei_domain.errors import Exhausted
from skrei_orchestrator_api.record import Record
from skrei_orchestrator_api.submissions import Submissions
from skrei_store.node_intents import Wanted

LOOK_SECONDS = 0.02
"""How often it is looked whether the leader has carried out what was asked: it takes some milliseconds."""


class NodeChanges:
    """Takes what is wanted of nodes. `seconds`: how long an answer waits for the leader, who does it all the same."""

    def __init__(self, record: Record, submissions: Submissions, seconds: float) -> None:
        self._record = record
        self._submissions = submissions
        self._seconds = seconds

    async def ask(self, node_id: str, wanted: Wanted, *, actor: str) -> None:
        """Write it down and wait a moment for the leader to do it. Raises Exhausted where too much waits."""
        number = await self._record.ask_of_node(node_id, wanted, actor=actor)
        if number is None:
            raise Exhausted("too many changes of nodes wait for the scheduler", component="NodeManager")
        self._submissions.hint_to_look()
        end = asyncio.get_running_loop().time() + self._seconds
        while asyncio.get_running_loop().time() < end:
            if not await self._record.node_intent_waits(number):
                return
            await asyncio.sleep(LOOK_SECONDS)
