"""What happens after an attempt that did not end by its own doing: how often, and how soon, its unit is tried again."""

from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import Problem
from skrei_domain.restarts import restart_seconds
from skrei_scheduling import texts

MAX_ATTEMPTS = 10
"""Attempts of one unit. Refusals and losses are the cluster's doing; ten in a row is no longer bad luck."""

ATTEMPTS_WITHOUT_REGISTRY = 4
"""Attempts of one unit whose image's registry leads nowhere: on other nodes where there are some. It is a typo, or a
cluster without DNS, and who waits for it wants to know in seconds."""

ATTEMPTS_ON_OTHER_NODES = 4
"""Attempts of one unit that its node will not take however often it is asked, while another might."""

_GIVEN_UP_AFTER = {
    texts.REGISTRY_NOT_FOUND_CODE: ATTEMPTS_WITHOUT_REGISTRY,
    texts.IMAGE_PLATFORM_CODE: ATTEMPTS_ON_OTHER_NODES,
    texts.GPU_NOT_GIVEN_CODE: ATTEMPTS_ON_OTHER_NODES,
    texts.NETWORK_REFUSED_CODE: ATTEMPTS_ON_OTHER_NODES,
    texts.INPUT_BEYOND_DISK_CODE: ATTEMPTS_ON_OTHER_NODES,
    texts.INPUT_HOST_UNKNOWN_CODE: ATTEMPTS_ON_OTHER_NODES,
}


def backoff_seconds(attempt: int) -> float:
    """Return the pause after the n-th attempt: 1 s doubling, at most 60 s; none after the last."""
    if attempt >= MAX_ATTEMPTS:
        return 0.0
    return restart_seconds(attempt)


def given_up(attempt: int, problem: Problem | None) -> bool:
    """Whether the n-th attempt ended in what a few more would hardly end otherwise."""
    return problem is not None and attempt >= _GIVEN_UP_AFTER.get(problem.code, MAX_ATTEMPTS + 1)


def by_own_doing(state: ExecutionState, problem: Problem | None) -> bool:
    """Whether an attempt that ended in `state` failed by what it is (trap, timeout, input), not by where it ran."""
    return state is ExecutionState.FAILED and (problem is None or problem.code not in texts.RETRIED)
