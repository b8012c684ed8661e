"""A stretch of a node's log as the leader has read it: what it could make nothing of stands in its place.

None of this travels: a node that says it is `Unreadable` is not read either.
"""

from dataclasses import dataclass
from typing import TypeAlias

from skrei_domain.messages import Fact, FactBatch


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A fact that could not be read: its JSON, to be kept aside and confirmed.

    `ended` is the execution whose end it told, as far as that can be read: nobody will tell of it again.
    """

    raw: str
    ended: str = ""


ReadFact: TypeAlias = Fact | Unreadable
"""What stands at one place of a log."""


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """A batch of which something could not be read; the rest is as in the message."""

    node_id: str
    boot_id: str
    incarnation: int
    first: int
    facts: tuple[ReadFact, ...]
    writer: str = ""

    @classmethod
    def of(cls, batch: FactBatch, facts: tuple[ReadFact, ...]) -> "ReadBatch":
        """Return what a message said, with these facts in place of its own."""
        return cls(batch.node_id, batch.boot_id, batch.incarnation, batch.first, facts, batch.writer)

    @property
    def last(self) -> int:
        """The sequence of the last fact."""
        return self.first + len(self.facts) - 1


AnyBatch: TypeAlias = FactBatch | ReadBatch
"""A batch that was read whole, as it came, or one that was not."""
