"""bacalhau-sdk and bacalhau-apiclient as they are published, over a real stack: each row of what programs do with them.

Rows are those of the map's sections 1.4, 1.5 and 1.9.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts import clients
from tests.conformance.clients.python_sdk import ROWS
from tests.support.docker_daemon import BUSYBOX, why_no_docker
from tests.support.live_stack import LiveStack, sleeper_job

SECONDS = 90
DOCKER = {"sdk put: a docker job is accepted, and completes"}


def docker_job() -> dict[str, Any]:
    params = {"Image": BUSYBOX, "Entrypoint": ["/bin/echo"], "Parameters": ["hello from docker"]}
    task = {
        "Name": "main",
        "Engine": {"Type": "docker", "Params": params},
        "Resources": {"CPU": "20m", "Memory": "10mb"},
    }
    return {"Type": "batch", "Count": 1, "Tasks": [task]}


@pytest.fixture(scope="module")
def told(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The problem of each row, by its name."""
    folder = tmp_path_factory.mktemp("sdk")
    host, _, port = stack.state()["api_url"].removeprefix("http://").partition(":")
    jobs = {"wasm": sleeper_job(0)["Job"], "sleep": sleeper_job(60)["Job"], "docker": docker_job()}
    done = subprocess.run(
        [clients.python(), Path(__file__).parent / "clients/python_sdk.py", folder / "rows"],
        input=json.dumps(jobs),
        text=True,
        capture_output=True,
        check=False,
        timeout=SECONDS,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "BACALHAU_API_HOST": host, "BACALHAU_API_PORT": port},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (folder / "rows").read_text().splitlines()]
    return {each["row"]: each["problem"] for each in rows}


@pytest.mark.row(
    "1.9/python-sdk", "1.9/python-errors", "1.9/python-nodes", "1.10/python-body", "1.9/sdk-host", "1.5/order"
)
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", ROWS)
def test_the_sdk_s_row(name: str, told: dict[str, str]) -> None:
    if name in DOCKER and (why := why_no_docker()):
        pytest.skip(why)
    if problem := told[name]:
        pytest.fail(problem, pytrace=False)
