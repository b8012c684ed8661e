"""How soon what must never end is started again after it did: the same rule for the leader and for a cut-off node."""

FIRST_DELAY_SECONDS = 1.0
"""After the first bad end: long enough for a node to say that it is full, short enough not to be noticed."""
MAX_DELAY_SECONDS = 60.0
"""The longest pause: a node that restarts is back within a minute."""
STABLE_SECONDS = 60.0
"""A program of a service that ran for so long ran well: when it ends, its pauses begin anew at the shortest."""


def restart_seconds(streak: int) -> float:
    """Return the pause before what must never end is started again, after so many bad ends in a row."""
    return min(FIRST_DELAY_SECONDS * 2.0 ** (min(streak, 32) - 1), MAX_DELAY_SECONDS) if streak else 0.0


def streak_after(streak: int, ran_seconds: float) -> int:
    """Return how many bad ends in a row there are with the end of a start that ran for so long."""
    return 1 if ran_seconds >= STABLE_SECONDS else streak + 1
