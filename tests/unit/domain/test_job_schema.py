"""The schema that editors get and the reader of jobs agree: what the one accepts the other reads."""

import json
from collections.abc import Sequence
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skrei.cli.init_texts import KINDS, init_text
from skrei_domain.errors import Unsupported
from skrei_domain.job import InvalidJob, JobSpec, parse_job
from skrei_domain.job_schema import SAYS, job_schema, name_of
from skrei_domain.spec import Part
from tests.support.schema_cases import fitting
from tests.unit.domain.test_job_reading_rules import WRONG, a_job, a_task

FITTING = fitting(job_schema())
BEYOND = (
    "base64",
    "where Network.Type",
    "no circle",
    "one of HTTP, TCP and Exec",
    "Network.Ports",
    "an engine that runs commands",
    "as in a URL",
    " with Type ",  # what a type of job rules out
    ".DependsOn[",  # whether there are such tasks, and no circle of them
    "another task",
    "partitions",
    "seen before",  # two inputs at one target, two tasks of one name: no schema says that
    "that is not also at",
    "a name that makes another variable",
    "at least ExecutionTimeout + QueueTimeout",
    "none unless Network.Type",
    "0 with Network.Type Host",
    "an IP address",
    "a domain such as",
    "a data URL",
    "not a data URL",
    "bytes",  # lengths are bytes there, characters here
    "an absolute path on the node",  # a file may say it relative to itself
    "registry",
    "NAME=value",
    "does not begin with",
    "limit of",
    "no more than",
    "surrogates",
    "NUL",
    "does not look like a job's id",
    "spec",
    "that is a data set",
    "that is a path of its node",
    "none beside Split",
    "has its data by itself",
    "it never ends",
)
"""What the reader checks beyond any schema: words of its messages."""


def wrong_with(job: Any) -> list[str]:
    validator = jsonschema_rs.Draft7Validator(job_schema())
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(job)]


def test_the_schema_is_one() -> None:
    assert jsonschema_rs.meta.is_valid(job_schema())


@given(st.data())
@settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck), deadline=None)
def test_what_the_schema_accepts_is_read(data: st.DataObject) -> None:
    job = data.draw(FITTING)
    left = [line for line in refused(job) if not any(word in line for word in BEYOND)]
    assert left == [], json.dumps(job)


def refused(job: dict[str, Any]) -> list[str]:
    """What the reader has against a job; what later versions bring counts as read."""
    try:
        parse_job(job)
    except Unsupported:
        return []
    except InvalidJob as error:
        return error.message.splitlines()
    return []


@pytest.mark.parametrize("change", [{}, {"Count": 3}, {"Labels": {"a": "b"}}, {"FailOn": "exit-code"}])
def test_what_was_read_fits_when_it_is_written_again(change: dict[str, Any]) -> None:
    try:
        spec, warnings = parse_job(a_job(**change))
    except Unsupported:
        return
    assert warnings == ()
    written = json.loads(spec.model_dump_json(exclude_none=True, exclude_defaults=True))
    assert wrong_with({"Type": spec.type, **written}) == []


def beyond(told: Sequence[str]) -> bool:
    """Whether no schema can say any of these rules."""
    return all(any(word in line for word in BEYOND) for line in told)


@pytest.mark.parametrize(("name", "job"), [(name, job) for name, job, told in WRONG if not beyond(told)])
def test_what_is_no_job_for_the_reader_is_none_for_an_editor(name: str, job: dict[str, Any]) -> None:
    """Each rule that a schema can say is said: the others stand in BEYOND."""
    assert wrong_with(job) != [], name


def test_a_typo_is_underlined() -> None:
    assert "'Typ' was unexpected" in wrong_with({"Typ": "batch", **a_job()})[0]
    assert "'Imag' was unexpected" in " ".join(
        wrong_with(a_job(Tasks=[a_task(Engine={"Type": "docker", "Params": {"Imag": "x"}})]))
    )


def test_every_field_is_explained() -> None:
    parts = [JobSpec, *(part for part in Part.__subclasses__() if part is not JobSpec)]
    fields = {f"{name_of(part)}.{field.alias or key}" for part in parts for key, field in part.model_fields.items()}
    assert {field for field in fields if field not in SAYS} == set(), "say in job_schema.SAYS what it means"


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_file_fits_is_read_and_points_to_the_schema(kind: str) -> None:
    import yaml

    text = init_text(kind, name="mine", file="mine.yaml", schema_url="http://x/schemas/job.json")
    assert text.startswith("# yaml-language-server: $schema=http://x/schemas/job.json\n")
    job = yaml.safe_load(text)
    assert wrong_with(job) == []
    assert job["Name"] == "mine"
    assert refused(job) == []
