"""Which services a stack is made of, and where each says how it is."""

from skrei_embedded.roster import health_of, roster
from skrei_embedded.whereabouts import StackOptions


def test_every_service_has_a_port_of_health_of_its_own_whatever_else_runs() -> None:
    whole = {each.name: each.place for each in roster(StackOptions(schedulers=3))}
    assert whole == {"api": 0, "publisher": 1, "agent": 2, "scheduler": 3, "scheduler-2": 4, "scheduler-3": 5}
    assert {each.name: each.place for each in roster(StackOptions(orchestrator=False))} == {"agent": 2}


def test_ports_are_counted_from_the_one_that_was_named() -> None:
    assert health_of("127.0.0.1:1236", 3) == "127.0.0.1:1239"
    assert health_of("[::1]:1236", 1) == "[::1]:1237"
    assert health_of("127.0.0.1:0", 3) == "127.0.0.1:0"
    assert health_of("", 3) == ""
