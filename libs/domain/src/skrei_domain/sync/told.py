"""What facts, or a hello, have told the leader of a node: its executions that are not terminal, and their digest."""

from collections.abc import Iterable

from skrei_domain.lifecycle import ExecutionState
from skrei_domain.sync.digest import shown, weight_of, wrapped

MOST_TOLD = 100_000
"""Of one node: as many as its journal remembers at all, 20 MB here. A node that says more is not believed: it says
hello again, and again, and is commanded nothing meanwhile."""


class Told:
    """Executions with the revision and state that were told last; the digest of all is at hand, not summed up anew.

    At most `most`: what is beyond is not kept, and `full` from then on.
    """

    def __init__(self, entries: Iterable[tuple[str, int, ExecutionState]] = (), *, most: int | None = None) -> None:
        self.full = False
        self._most = MOST_TOLD if most is None else most
        self._entries: dict[str, tuple[int, ExecutionState]] = {}
        self._total = 0
        for execution_id, revision, state in entries:
            self.put(execution_id, revision, state)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def digest(self) -> str:
        """What a heartbeat of the node says where both know the same."""
        return shown(self._total)

    def put(self, execution_id: str, revision: int, state: ExecutionState) -> None:
        """An execution is so."""
        self.drop(execution_id)
        if len(self._entries) >= self._most:
            self.full = True
            return
        self._entries[execution_id] = (revision, state)
        self._total = wrapped(self._total + weight_of(execution_id, revision, state))

    def drop(self, execution_id: str) -> None:
        """An execution has ended."""
        entry = self._entries.pop(execution_id, None)
        if entry is not None:
            self._total = wrapped(self._total - weight_of(execution_id, *entry))
