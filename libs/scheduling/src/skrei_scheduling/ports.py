"""Which ports of nodes are taken, and by whose executions.

A port that a task asks for by its number (`Static`) is taken from the plan that places it until its reservation ends,
as memory is; one that a node chose is, from the fact that tells of it. Work that asks for no number costs nothing here.
"""

from collections.abc import Iterable, Sequence

from skrei_scheduling.labels import Mask


class PortLedger:
    """Ports by number, the rows of nodes on which each is taken, and the jobs that have it there.

    A node may have given a port away of which the leader learns too late; so there may be two.
    """

    def __init__(self) -> None:
        self._taken: dict[int, dict[int, tuple[str, ...]]] = {}

    def take(self, row: int, ports: Iterable[int], job_id: str) -> None:
        """Give ports of a node to an execution of a job."""
        for port in ports:
            rows = self._taken.setdefault(port, {})
            rows[row] = (*rows.get(row, ()), job_id)

    def give_back(self, row: int, ports: Iterable[int], job_id: str) -> None:
        """Take back what `take` gave, once."""
        for port in ports:
            rows = self._taken[port]
            left = list(rows[row])
            left.remove(job_id)
            if left:
                rows[row] = tuple(left)
            else:
                del rows[row]
            if not rows:
                del self._taken[port]

    def free(self, row: int, ports: Iterable[int]) -> bool:
        """Whether nobody has any of these ports of a node."""
        return not any(row in self._taken.get(port, ()) for port in ports)

    def close(self, mask: Mask, ports: Iterable[int]) -> None:
        """Take the rows out of `mask` on which one of these ports is taken."""
        for port in ports:
            if rows := self._taken.get(port):
                mask[list(rows)] = False

    def holders(self, row: int, ports: Sequence[int]) -> list[tuple[int, str]]:
        """Return those of these ports that are taken on a node, each with the job that has it."""
        return [(port, self._taken[port][row][0]) for port in ports if row in self._taken.get(port, ())]
