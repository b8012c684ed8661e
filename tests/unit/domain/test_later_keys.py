"""Specs that an earlier version stored: keys that meant nothing then are read, or still mean nothing."""

import json

import pytest
from pydantic import ValidationError

from skrei_domain.job import decode, encode, parse_job
from skrei_domain.retention import Asked
from skrei_domain.spec import retention_asked

TASK = {"Name": "t", "Engine": {"Type": "docker", "Params": {"Image": "i"}}}
SPEC = json.loads(encode(parse_job({"Name": "j", "Type": "batch", "Tasks": [TASK]})[0]))


def stored(**keys: object) -> str:
    """A spec as an earlier version kept it: what it did not know it did not look at."""
    return json.dumps(SPEC | keys)


@pytest.mark.parametrize(
    "kept", ["7d", 7, [], {"Results": "7d"}, {"Days": 7}, {"Results": None}, {"Results": {}}, None]
)
def test_a_key_of_no_meaning_then_ends_nobody_now(kept: object) -> None:
    assert decode(stored(Retention=kept)).tasks[0].name == "t"
    assert (retention_asked(stored(Retention=kept)) or Asked()) == Asked()


def test_one_that_says_something_is_read() -> None:
    assert retention_asked(stored(Retention={"Results": 60})) == Asked(60, None, None)


@pytest.mark.parametrize("kept", ["s3", 1, {"Type": 1}, {"Type": "s3", "Params": "no"}])
def test_a_publisher_of_a_path_that_was_none_is_none(kept: object) -> None:
    task = SPEC["Tasks"][0] | {
        "ResultPaths": [{"Name": "a", "Path": "/a"}, {"Name": "b", "Path": "/b", "Publisher": kept}]
    }
    found = decode(stored(Tasks=[task], Retention="7d")).tasks[0].result_paths
    assert [(each.name, each.publisher) for each in found] == [("a", None), ("b", None)]


def test_what_was_never_right_is_still_not() -> None:
    with pytest.raises(ValidationError):
        decode(stored(Retention="7d", Count="many"))
