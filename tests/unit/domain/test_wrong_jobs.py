"""The table of what people get wrong (`wrong_jobs.yaml`): each case is answered with the lines that stand beside it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from skrei_domain import job_parse, job_task
from skrei_domain.job import InvalidJob, parse_job

TABLE = Path(__file__).with_name("wrong_jobs.yaml")
KEYS = {"{job keys}": job_parse._JOB.names, "{task keys}": job_task._TASK.names}
LEAST = 150


def cases() -> dict[str, dict[str, Any]]:
    """The cases by name; a name that is there twice is none."""
    listed = yaml.safe_load(TABLE.read_text("utf-8"))
    found = {name: case for entry in listed for name, case in entry.items()}
    assert len(found) == len(listed)
    return found


def spelt_out(value: Any) -> Any:
    """Write `n×257` as what it stands for."""
    match value:
        case str():
            return re.sub(r"(\w)×(\d+)", lambda found: found[1] * int(found[2]), value)
        case dict():
            return {spelt_out(key): spelt_out(item) for key, item in value.items()}
        case list():
            return [spelt_out(item) for item in value]
    return value


def sent(case: dict[str, Any]) -> Any:
    if "whole" in case:
        return case["whole"]
    task = {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "ubuntu"}}} | case.get("task", {})
    return {"Type": "batch", "Tasks": [task]} | case.get("job", {})


@pytest.mark.row(
    "2.7/names", "2.6/operators", "2.5/sum", "2.3/amounts", "2.1/type", "2.1/name", "2.2/inputs", "2.2/result-rules"
)
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in cases().items()])
def test_what_is_wrong_is_said_in_these_words(case: dict[str, Any]) -> None:
    expected = spelt_out(case["says"])
    for name, keys in KEYS.items():
        expected = expected.replace(name, ", ".join(keys))
    with pytest.raises(InvalidJob) as raised:
        parse_job(spelt_out(sent(case)))
    assert raised.value.message.splitlines() == expected.splitlines()


def test_the_job_of_the_table_is_right_where_nothing_is_changed() -> None:
    assert parse_job(sent({}))[1] == ()
    assert len(cases()) >= LEAST
