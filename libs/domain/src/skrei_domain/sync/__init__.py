"""The protocol between a node and the leader, both halves, pure: hello, ordered facts, confirmations, fencing.

`NodeSide` lives in the agent over its journal, `LeaderSide` in the scheduler over the record. Neither reads a
clock or sends anything: they take messages and the time, and return acts and messages. docs/PROTOCOL.md tells
the rules with the scenario that each one closes.
"""

from skrei_domain.sync.acts import Act, Denied, Drop, Halt, Run, SayHello, Write
from skrei_domain.sync.digest import digest
from skrei_domain.sync.judging import Greeting, NodeLog, Recorded
from skrei_domain.sync.known import Known, KnownExecutions
from skrei_domain.sync.leader import Answer, LeaderSide
from skrei_domain.sync.memory import (
    DropFacts,
    DropKnown,
    JournalRow,
    Meta,
    NodeMemory,
    PutFact,
    PutKnown,
    PutMeta,
    replay,
)
from skrei_domain.sync.node import PRUNE_ROWS, NodeSide

__all__ = [
    "PRUNE_ROWS",
    "Act",
    "Answer",
    "Denied",
    "Drop",
    "DropFacts",
    "DropKnown",
    "Greeting",
    "Halt",
    "JournalRow",
    "Known",
    "KnownExecutions",
    "LeaderSide",
    "Meta",
    "NodeLog",
    "NodeMemory",
    "NodeSide",
    "PutFact",
    "PutKnown",
    "PutMeta",
    "Recorded",
    "Run",
    "SayHello",
    "Write",
    "digest",
    "replay",
]
