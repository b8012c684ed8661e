"""What a caller wants of a node, read from a body. Pure."""

from collections.abc import Mapping
from typing import Any

from skrei_domain.bounds import NAME_CHARACTERS, is_name
from skrei_domain.errors import Invalid
from skrei_domain.job_reading import parse_seconds, printable
from skrei_domain.lifecycle import NodeAction
from skrei_orchestrator_api import schemas
from skrei_orchestrator_api.http import text_in
from skrei_store.node_intents import Wanted

MAX_MESSAGE = 1_024
"""Characters of why something was done to a node: it stands beside the node, and people read it."""
MOST_LABELS = 100
"""Labels that an operator gives one node: as many as a job may have."""
MOST_DRAIN_SECONDS = 31_622_400
"""The longest deadline of a drain, a year: what is longer is none."""

_ALLOWED_DEADLINE = 'whole seconds from 0 to 31,622,400, or a duration such as "30m"'


def read_change(body: Mapping[str, Any]) -> Wanted:
    """Return what is wanted. Raises Invalid for what nobody can want of a node."""
    action, message = _action(body.get("Action")), text_in(body, "Message")[:MAX_MESSAGE]
    for name, of in (("Deadline", NodeAction.DRAIN), ("Labels", NodeAction.LABEL)):
        if body.get(name) is not None and action is not of:
            raise _wrong(name, body[name], f"nothing: it belongs to the action {of}")
    seconds = _deadline(body["Deadline"]) if body.get("Deadline") is not None else None
    labels = _labels(body.get("Labels")) if action is NodeAction.LABEL else {}
    return Wanted(action, message, seconds, labels)


def check_labels(wanted: Mapping[str, str | None], own: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Refuse to take back labels that are the node's own, and to give it too many. Raises Invalid."""
    for key in sorted(wanted):
        if wanted[key] is None and key not in given and key in own:
            raise Invalid(
                f"Labels: {printable(key)} is the node's own label, which it brings with each start",
                hint="change SKREI_LABELS on that machine, or give the label another value here",
                component="NodeManager",
            )
    if sum(1 for value in ({**given, **wanted}).values() if value is not None) > MOST_LABELS:
        raise Invalid(f"Labels: an operator may give a node {MOST_LABELS} labels", component="NodeManager")


def _action(value: object) -> NodeAction:
    if isinstance(value, str) and value.lower() in set(NodeAction):
        return NodeAction(value.lower())
    raise _wrong("Action", value, ", ".join(NodeAction))


def _deadline(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds: float | None = float(value)
    else:
        seconds = parse_seconds(value) if isinstance(value, str) else None
    if seconds is None or not 0 <= seconds <= MOST_DRAIN_SECONDS:
        raise _wrong("Deadline", value, _ALLOWED_DEADLINE)
    return seconds


def _labels(value: object) -> dict[str, str | None]:
    if not isinstance(value, Mapping) or not value:
        raise _wrong("Labels", value, "labels with their values; null takes one back")
    found: dict[str, str | None] = {}
    for key, text in value.items():
        if not (isinstance(key, str) and is_name(key) and key == key.strip()):
            raise _wrong("Labels", key, f"a key of at most {NAME_CHARACTERS} printable characters")
        if not (text is None or text == "" or (isinstance(text, str) and is_name(text))):
            raise _wrong(f"Labels.{key}", text, f"a printable text of at most {NAME_CHARACTERS} characters, or null")
        found[key] = text
    return found


def _wrong(name: str, value: object, allowed: str) -> Invalid:
    told = "missing" if value is None else schemas.dump(value)[:80]
    return Invalid(f"{printable(name)}: {printable(told)}; allowed: {allowed}", component="NodeManager")
