"""The API of a live stack under thousands of requests that its own description makes up, good ones and bad ones.

Nothing may be answered by a server error, by a status that is not documented, or in another shape than is promised.
`SEED=n` makes the same requests again.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skrei_domain import subjects
from skrei_embedded.environment import OWN_STREAM_BYTES
from skrei_kit import topology
from skrei_kit.bus import Bus
from tests.support.live_stack import LiveStack, live_stack, sleeper_job

LEAST_CASES = 5_000
"""As many requests as a run has to make: what the job API is judged by."""
JOB_EXAMPLES, OTHER_EXAMPLES = 54, 170
"""Made up for each operation, beside those of the document and its edges: some 6,200 in all. A job takes ten times
as long to make up as anything else, so these numbers let both fuzzers end together."""
MOST_SECONDS = 600
"""A run that has not ended by then hangs; what it may take is the suite's budget."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
)
ENDLESS = "/api/v1/events"
"""Its answers have no end, which the tool would wait for; `tests/integration/test_api_events.py` asks it bad things."""
LINES, LINE = 200, 500
"""Lines of what was found that are shown, and characters of each: the seed brings back the rest."""
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """A stack that has something to show: jobs that ran, with results."""
    with live_stack() as running:
        jobs = [running.submit(sleeper_job(0.01)) for _ in range(3)]
        running.wait_for(jobs, 60)
        yield running


def fuzzer(url: str, folder: Path, *which: str) -> "subprocess.Popen[str]":
    """Start schemathesis over some operations; its report will be in `folder`."""
    folder.mkdir()
    command = [
        str(Path(sys.executable).with_name("st")),
        "--config-file",
        str(HERE / "schemathesis.toml"),
        "run",
        f"{url}/openapi.json",
        "--phases=examples,coverage,fuzzing",
        f"--checks={','.join(CHECKS)}",
        *which,
        "--continue-on-failure",
        "--generation-database=none",
        "--no-shrink",
        "--warnings=off",
        "--no-color",
        "--report=json",
        f"--report-json-path={folder / 'run.json'}",
    ]
    if seed := os.environ.get("SEED"):
        command.append(f"--seed={seed}")
    with (folder / "output").open("w") as output:
        return subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, text=True)


def fuzz(url: str, folder: Path) -> list[dict[str, Any]]:
    """Run two fuzzers side by side, one of them over jobs; return their reports. What they found is printed.

    Two processes: two threads of one meet a fault of CPython 3.11, whose parser counts its depth for all threads.
    """
    parts = {
        "jobs": ("--include-tag=Jobs", f"--exclude-path={ENDLESS}", f"--max-examples={JOB_EXAMPLES}"),
        "others": ("--exclude-tag=Jobs", f"--max-examples={OTHER_EXAMPLES}"),
    }
    running = {name: fuzzer(url, folder / name, *which) for name, which in parts.items()}
    try:
        for process in running.values():
            process.wait(MOST_SECONDS)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    for name in parts:
        output = (folder / name / "output").read_text("utf-8", "replace")
        wrong = output.partition("= ERRORS =")[2] or output.partition("= FAILURES =")[2]
        sys.stdout.write("\n".join(line[:LINE] for line in wrong.splitlines()[:LINES]))
    return [json.loads((folder / name / "run.json").read_text("utf-8")) for name in parts]


async def test_what_happened_to_the_jobs_is_kept_in_the_feed(stack: LiveStack) -> None:
    """Here because this stack is a real one: leader and API publish with their own rights."""
    bus = await Bus.connect(stack.state()["nats_url"], name="fuzz", creds=stack.keys / "scheduler.creds")
    try:
        found = await bus.stream_info(subjects.STREAM_FEED)
        assert found is not None
        assert found.state.messages >= 3
        assert (found.config.max_age, found.config.max_bytes) == (topology.A_WEEK, OWN_STREAM_BYTES)
        facts = await bus.stream_info(subjects.STREAM_FACTS)
        assert facts is not None
        assert facts.config.max_bytes == OWN_STREAM_BYTES, "whoever reads it keeps the bound too"
    finally:
        await bus.close()
    assert "bus_refused" not in stack.log.read_text(errors="replace")


@pytest.mark.timeout(MOST_SECONDS + 60)
def test_nothing_that_can_be_asked_breaks_a_promise(
    stack: LiveStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(stack.state()["api_url"])
    before = dict(stack.state()["children"])
    reports = fuzz(url, tmp_path)
    cases = sum(report["test_cases"]["generated"] for report in reports)
    seconds = max(report["running_time"] for report in reports)
    seeds = " and ".join(str(report["seed"]) for report in reports)
    with capsys.disabled():
        sys.stdout.write(f"\n{cases:,} requests in {seconds:.0f} s, seeds {seeds}\n")
    assert [report["failures"] for report in reports] == [[], []], f"seeds {seeds}"
    assert [report["errors"] for report in reports] == [[], []], f"seeds {seeds}"
    assert cases >= LEAST_CASES
    assert all(report["complete"] for report in reports)
    assert stack.state()["children"] == before, "a service ended and was started again"
    assert '"event": "request_failed"' not in stack.log.read_text(errors="replace")
