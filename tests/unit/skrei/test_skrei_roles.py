"""What `skrei serve` runs for which flags, and which of them cannot go together."""

from typing import Any

import pytest

from skrei.cli.serve import roles
from skrei.errors import Rejected

CONTROL = "http://10.0.0.1:1234"


def of(orchestrator: bool = False, compute: bool = False, **flags: Any) -> tuple[bool, bool]:
    return roles(orchestrator, compute, **({"join": None, "listen": None, "nats_url": None} | flags))


@pytest.mark.row("7.3/serve")
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, (True, True)),
        ({"orchestrator": True}, (True, False)),
        ({"compute": True}, (False, True)),
        ({"orchestrator": True, "compute": True, "listen": "0.0.0.0"}, (True, True)),
        ({"listen": "10.0.0.1"}, (True, True)),
        ({"join": CONTROL}, (False, True)),
        ({"join": CONTROL, "compute": True}, (False, True)),
    ],
)
def test_what_runs(flags: dict[str, Any], expected: tuple[bool, bool]) -> None:
    assert of(**flags) == expected


@pytest.mark.parametrize(
    "flags",
    [
        {"join": CONTROL, "orchestrator": True},
        {"join": CONTROL, "listen": "0.0.0.0"},
        {"join": CONTROL, "nats_url": "nats://10.0.0.1:4222"},
        {"join": "10.0.0.1:1234"},
        {"compute": True, "listen": "0.0.0.0"},
    ],
)
def test_what_cannot_go_together_says_what_to_leave_out(flags: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        of(**flags)
    assert caught.value.hint
