"""The lifecycles: which state may follow which, what each is called outside, and why a move is refused.

Executions follow facts: a fact carries the whole observed state, so one may jump over steps that were never
sent, and an older one changes nothing. Jobs follow intent and settlement.
"""

from enum import StrEnum

from skrei_domain.errors import InvalidTransition


class ExecutionState(StrEnum):
    """Where an execution is. The value is the name on the wire and in the record; `number` is what API clients read."""

    PENDING = "pending"  # planned; not sent yet
    OFFERED = "offered"  # sent; the node has not answered
    STAGING = "staging"  # accepted; inputs are being fetched
    RUNNING = "running"  # the engine has started the workload
    PUBLISHING = "publishing"  # the workload ended, whatever its exit code; the result is being handed over
    UNKNOWN = "unknown"  # the node is silent: not terminal, may return to anywhere
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    REFUSED = "refused"  # the node said no, with a reason
    LOST = "lost"  # replaced or given up while unknown, or gone from its node's journal

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can follow."""
        return self in TERMINAL

    def number(self, observed: "ExecutionState | None" = None) -> int:
        """Return the number that API clients know; an unknown one shows that of the last observed state."""
        return NUMBERS[observed or ExecutionState.OFFERED] if self is ExecutionState.UNKNOWN else NUMBERS[self]


TERMINAL = frozenset(
    {
        ExecutionState.COMPLETED,
        ExecutionState.FAILED,
        ExecutionState.STOPPED,
        ExecutionState.REFUSED,
        ExecutionState.LOST,
    }
)
LIVE = frozenset(ExecutionState) - TERMINAL

NUMBERS = {
    ExecutionState.PENDING: 1,
    ExecutionState.OFFERED: 2,
    ExecutionState.REFUSED: 4,
    ExecutionState.STAGING: 5,
    ExecutionState.RUNNING: 6,
    ExecutionState.PUBLISHING: 7,
    ExecutionState.COMPLETED: 9,
    ExecutionState.FAILED: 10,
    ExecutionState.LOST: 10,
    ExecutionState.STOPPED: 11,
}

ORDER = {
    ExecutionState.PENDING: 0,
    ExecutionState.OFFERED: 1,
    ExecutionState.STAGING: 2,
    ExecutionState.RUNNING: 3,
    ExecutionState.PUBLISHING: 4,
} | dict.fromkeys(TERMINAL, 5)


def advance(current: ExecutionState, observed: ExecutionState) -> ExecutionState:
    """Return the state after a fact says `observed`; an older or repeated fact is a no-op.

    Raises InvalidTransition where the fact names another terminal state than the one that holds.
    """
    if observed is current:
        return current
    if current.is_terminal:
        if observed.is_terminal:
            raise InvalidTransition(f"{current.value} cannot become {observed.value}")
        return current
    if current is not ExecutionState.UNKNOWN and ORDER[observed] <= ORDER[current]:
        return current  # also a local restart: its start number is in the steps
    return observed


class Want(StrEnum):
    """What the control plane wants of an execution."""

    RUN = "run"
    STOP = "stop"
    FORGET = "forget"


class JobState(StrEnum):
    """Where a job is; the value is the text that API clients read."""

    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"

    @property
    def is_terminal(self) -> bool:
        """Whether only a new version can follow."""
        return self in JOB_TERMINAL


JOB_TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.STOPPED})


class Membership(StrEnum):
    """Whether a node may take work at all."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


class NodeAction(StrEnum):
    """What users may want of a node; the value is the word that API clients send."""

    APPROVE = "approve"
    REJECT = "reject"
    DELETE = "delete"
    CORDON = "cordon"
    UNCORDON = "uncordon"
    DRAIN = "drain"
    LABEL = "label"


class Intake(StrEnum):
    """What its operator lets be placed on a node; the value is the word that API clients read."""

    OPEN = "open"
    CORDONED = "cordoned"  # nothing new; what runs stays
    DRAINING = "draining"  # nothing new, and what runs is to go


class Connection(StrEnum):
    """Whether a node is heard."""

    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"
