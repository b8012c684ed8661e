"""A link that comes back while a new leader still reads its view."""

from typing import Any

from skrei_domain.clock import SystemClock
from skrei_scheduler.leader import Leader


def test_a_leader_that_has_heard_nobody_yet_takes_a_reconnect_calmly() -> None:
    nothing: Any = None  # it does no more with its parts than keep them
    leader = Leader(nothing, nothing, nothing, nothing, SystemClock(), epoch=1, verify=nothing)
    leader.on_reconnect()
