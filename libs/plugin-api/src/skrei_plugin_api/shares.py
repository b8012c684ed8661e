"""How much one node may take of what all nodes share: a part of what the others have left, never the last of it.

A node that announces all that it can, by mistake or by malice, leaves the next one half, and that one the next again a
half: no number of nodes closes a door to another. Pure.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What one node may hold of `total`: `percent` of what nobody else holds."""

    total: int
    percent: int

    def most(self, *, others: int) -> int:
        """Return how much a node may hold in all while others hold `others`."""
        return max(0, self.total - others) * self.percent // 100
