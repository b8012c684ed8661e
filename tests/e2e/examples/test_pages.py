"""docs/SDK.md and docs/OUTPUT.md, line by line as they stand."""

import doctest
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from scripts.environment import ROOT
from skrei import Client
from tests.support.live_stack import LiveStack

SKREI = str(Path(sys.executable).with_name("skrei"))
SHAPES = re.compile(r"^\| `skrei (?P<command>[^`]+) -o json` \| `(?P<shape>\w+)` \|$", re.MULTILINE)
PAGE = (ROOT / "docs/OUTPUT.md").read_text("utf-8")


@pytest.mark.usefixtures("here")
def test_the_sdk_s_page_does_what_it_says() -> None:
    found = doctest.testfile(
        str(ROOT / "docs/SDK.md"),
        module_relative=False,
        optionflags=doctest.ELLIPSIS | doctest.REPORT_ONLY_FIRST_FAILURE,
        encoding="utf-8",
    )
    assert found.attempted > 20
    assert found.failed == 0


@pytest.fixture(scope="package")
def description(stack: LiveStack) -> Any:
    return httpx2.get(stack.state()["api_url"] + "/openapi.json").json()


@pytest.fixture
def ran(here: None) -> str:
    """The name of a job that has ended."""
    return ended()


@cache
def ended() -> str:
    with Client() as client:
        return client.jobs.run("examples/wasm/job.yaml", name="output").wait(timeout=60, check=True).name


def said(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SKREI, *words], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )


def validator(description: Any, name: str) -> Any:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": f"#/components/schemas/{name}"}
    return jsonschema_rs.validator_for(schema | {"components": description["components"]})


@pytest.mark.parametrize("command", [found["command"] for found in SHAPES.finditer(PAGE)])
def test_what_a_command_prints_for_programs_has_the_schema_that_the_page_names(
    command: str, ran: str, description: Any
) -> None:
    shape = next(found["shape"] for found in SHAPES.finditer(PAGE) if found["command"] == command)
    with Client() as client:
        words = command.replace("JOB", ran).replace("NODE", client.nodes.list()[0].id).split()
    done = said(*words, "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document.pop("apiVersion")
    assert [error.message for error in validator(description, shape).iter_errors(document)] == []
    compact = said(*words, "-o", "json", "--pretty=false")
    assert (compact.returncode, compact.stdout.count("\n")) == (0, 1)


@pytest.mark.row("7.3/dry-run")
def test_a_dry_run_prints_the_job_as_it_would_be_sent(ran: str, description: Any) -> None:
    done = said("job", "run", "--dry-run", "-o", "json", "examples/wasm/job.yaml")
    assert done.returncode == 0, done.stderr
    validator(description, "JobSpec").validate(json.loads(done.stdout))


def test_a_submission_that_is_sent_again_is_the_same_job(ran: str) -> None:
    words = ("job", "run", "--id-only", "--name", "once", "--idempotency-token", "pipeline-7")
    first, again = said(*words, "examples/wasm/job.yaml"), said(*words, "examples/wasm/job.yaml")
    assert (first.returncode, again.returncode, first.stdout) == (0, 0, again.stdout)
    another = said(*words, "examples/results/job.yaml")
    assert another.returncode == 125
    assert "token" in another.stderr


def test_without_a_terminal_there_is_no_colour_and_no_question(ran: str) -> None:
    for words in (
        ["list"],
        ["describe", ran],
        ["node", "list"],
        ["job", "run", "--name", "plain", "examples/env/job.yaml"],
        ["--help"],
    ):
        done = said(*words)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert "\r" not in done.stdout + done.stderr
