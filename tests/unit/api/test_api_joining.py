"""What a joining machine must send, and which addresses it is told."""

from typing import Any

import pytest

from skrei_domain.errors import Invalid
from skrei_domain.lifecycle import JobState
from skrei_kit import nats_auth
from skrei_orchestrator_api.joining import (
    CLOCK_SECONDS,
    MAX_NODE_NAME,
    JoinRequest,
    nobody_joined,
    read_join,
    seen_from,
    waits_for_any_node,
)

NOW = 1_800_000_000.0
NODE = "n-0b9f3c1e-7a44-4a54-9d7e-0c8f3f1f2a10"
KEY = nats_auth.public_key(nats_auth.new_user_seed())


def body(**changes: Any) -> dict[str, Any]:
    return {"NodeID": NODE, "PublicKey": KEY, "Name": "edge-1", "Time": NOW} | changes


def test_a_whole_request_is_read() -> None:
    assert read_join(body(), now=NOW) == JoinRequest(NODE, KEY, "edge-1", take_over=False)
    assert read_join(body(Name=None, TakeOver=True), now=NOW) == JoinRequest(NODE, KEY, "", take_over=True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"NodeID": None}, "NodeID"),
        ({"NodeID": "*"}, "NodeID"),
        ({"NodeID": "n-1.>"}, "NodeID"),
        ({"NodeID": NODE.upper()}, "NodeID"),
        ({"NodeID": NODE + "\n"}, "NodeID"),
        ({"NodeID": ["n"]}, "NodeID"),
        ({"PublicKey": None}, "PublicKey"),
        ({"PublicKey": KEY[:-1] + ("A" if KEY[-1] != "A" else "B")}, "PublicKey"),
        ({"PublicKey": KEY.lower()}, "PublicKey"),
        ({"PublicKey": "U" * 56}, "PublicKey"),
        ({"PublicKey": nats_auth.Authority.new().account_id}, "PublicKey"),
        ({"Name": "x" * (MAX_NODE_NAME + 1)}, "Name"),
        ({"Name": "a\nb"}, "Name"),
        ({"Name": "\x00"}, "Name"),
        ({"Name": 7}, "Name"),
        ({"Time": None}, "Time"),
        ({"Time": "now"}, "Time"),
        ({"Time": True}, "Time"),
        ({"Time": float("nan")}, "Time"),
        ({"Time": float("inf")}, "Time"),
        ({"TakeOver": "yes"}, "TakeOver"),
    ],
)
def test_each_wrong_field_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid, match=f"^{field}: allowed"):
        read_join(body(**changes), now=NOW)


@pytest.mark.parametrize(
    ("off", "said"),
    [
        (-CLOCK_SECONDS - 1, "5 minutes behind"),
        (3 * 3_600.0, "3 hours ahead of"),
        (-40 * 86_400.0, "40 days behind"),
    ],
)
def test_a_clock_that_is_far_off_is_told_by_how_much(off: float, said: str) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        read_join(body(Time=NOW + off), now=NOW)
    assert "timedatectl" in caught.value.hint


@pytest.mark.parametrize("off", [-CLOCK_SECONDS, 0.0, 12.5, CLOCK_SECONDS])
def test_a_clock_that_is_near_is_good_enough(off: float) -> None:
    assert read_join(body(Time=NOW + off), now=NOW).node_id == NODE


@pytest.mark.parametrize(
    ("url", "asked", "told"),
    [
        ("nats://127.0.0.1:4222", "10.0.0.1:1234", "nats://10.0.0.1:4222"),
        ("http://127.0.0.1:1235", "skrei.example", "http://skrei.example:1235"),
        ("http://[::1]:1235", "[fd00::7]:1234", "http://[fd00::7]:1235"),
        ("http://localhost:1235", "10.0.0.1", "http://10.0.0.1:1235"),
        ("http://127.0.0.1:1235", "127.0.0.1:1234", "http://127.0.0.1:1235"),
        ("http://127.0.0.1", "10.0.0.1:1234", "http://10.0.0.1"),
        # An address that is told on purpose stays.
        ("https://results.example/door", "10.0.0.1:1234", "https://results.example/door"),
        ("nats://10.0.0.9:4222", "10.0.0.1:1234", "nats://10.0.0.9:4222"),
        # What is no host names nothing.
        ("http://127.0.0.1:1235", "", "http://127.0.0.1:1235"),
        ("http://127.0.0.1:1235", "a b", "http://127.0.0.1:1235"),
        ("http://127.0.0.1:1235", "evil/@x", "http://evil:1235"),
        ("http://127.0.0.1:1235", "[", "http://127.0.0.1:1235"),
    ],
)
def test_an_address_of_this_machine_alone_is_told_by_the_name_that_the_caller_used(
    url: str, asked: str, told: str
) -> None:
    assert seen_from(url, asked) == told


WAITS = "not enough nodes to run job. requested: 1, available: 0, suitable: 0."


@pytest.mark.parametrize(
    ("state", "message", "expected"),
    [
        (JobState.QUEUED, WAITS, True),
        (JobState.QUEUED, f"{WAITS}\n\N{BULLET} Node n-1: node is disconnected", False),
        (JobState.QUEUED, "1 of 2 executions queued.", False),
        (JobState.STOPPED, WAITS, False),
        (JobState.PENDING, "", False),
    ],
)
def test_only_a_job_that_waits_for_any_node_at_all_is_told_how_to_add_one(
    state: JobState, message: str, expected: bool
) -> None:
    assert waits_for_any_node(state, message) is expected


def test_the_line_is_told_whole_to_the_owner_alone() -> None:
    whole = nobody_joined("http://10.0.0.1:1234", "secret")
    assert whole.endswith("run: skrei serve --compute --join http://10.0.0.1:1234 --token secret")
    assert "--token TOKEN" in nobody_joined("http://10.0.0.1:1234", "")
    assert "--listen ADDR" in nobody_joined("", "secret")
    assert "secret" not in nobody_joined("", "secret")
