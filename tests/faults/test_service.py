"""A service asked ten times a second: nothing fails while it is updated, loses a replica, and goes back."""

import http.client
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.docker_daemon import BUSYBOX, DockerDaemon, running_docker, why_no_docker
from tests.support.live_stack import LiveStack, live_stack

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()),
]

PACE_SECONDS = 0.1
SERVE = """
mkdir -p /tmp/www && echo {says} > /tmp/www/index.html
httpd -f -p 127.0.0.1:$BACALHAU_PORT_web -h /tmp/www & server=$!
trap 'sleep 1; kill $server; exit 0' TERM
wait
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[DockerDaemon]:
    with running_docker() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def stack(docker: DockerDaemon) -> Iterator[LiveStack]:
    with live_stack(env={"DOCKER_HOST": docker.url}) as running:
        yield running


def a_service(says: str, *, path: str = "/index.html") -> dict[str, Any]:
    task = {
        "Name": "main",
        "Engine": {
            "Type": "docker",
            "Params": {"Image": BUSYBOX, "Entrypoint": ["/bin/sh"], "Parameters": ["-c", SERVE.format(says=says)]},
        },
        "Network": {"Type": "Host", "Ports": [{"Name": "web"}]},
        "Resources": {"CPU": "20m", "Memory": "20mb"},
        "Check": {"HTTP": {"Path": path}, "Interval": "1s", "Unhealthy": 2},
    }
    update = {"ProgressDeadline": "10s"}
    return {"Job": {"Name": "web", "Type": "service", "Count": 2, "Update": update, "Tasks": [task]}}


class Visitors:
    """Ten requests a second, each to the endpoints in turn: an address that does not answer is no failed request as
    long as another one does. Addresses are read once a second, as a load balancer does.
    """

    def __init__(self, stack: LiveStack, job_id: str) -> None:
        self._stack, self._job_id = stack, job_id
        self._over = threading.Event()
        self.said: list[str] = []
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Visitors":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        known: list[str] = []
        for number in range(100_000):
            if number % 10 == 0:
                known = endpoints(self._stack, self._job_id)
            self._ask([*known[number % 2 :], *known[: number % 2]])
            if self._over.wait(PACE_SECONDS):
                return

    def _ask(self, addresses: list[str]) -> None:
        problems = []
        for address in addresses:
            try:
                host, port = address.rsplit(":", 1)
                link = http.client.HTTPConnection(host, int(port), timeout=5)
                link.request("GET", "/index.html")
                answer = link.getresponse()
                said = answer.read().decode().strip()
                link.close()
            except OSError as error:
                problems.append(f"{address}: {error}")
                continue
            if answer.status == 200:
                self.said.append(said)
                return
            problems.append(f"{address}: {answer.status}")
        self.failed.append("; ".join(problems) or "nobody was ready")


def endpoints(stack: LiveStack, job_id: str) -> list[str]:
    return [item["Address"] for item in stack.call("GET", f"/jobs/{job_id}/endpoints")["Items"]]


def messages(stack: LiveStack, job_id: str) -> list[str]:
    asked = {"limit": 1000, "event_type": "all", "all_job_versions": "true"}
    found = stack.call("GET", f"/jobs/{job_id}/history", params=asked)
    return [item["Event"]["Message"] for item in found["Items"]]


def test_no_request_fails_while_a_service_is_updated_loses_a_replica_and_goes_back(
    stack: LiveStack, docker: DockerDaemon
) -> None:
    job_id = stack.submit(a_service("one"))
    stack.wait_until(lambda: len(endpoints(stack, job_id)) == 2, 60, "two are ready")
    began = time.monotonic()
    with Visitors(stack, job_id) as visitors:
        stack.wait_until(lambda: "one" in visitors.said, 10, "the first version answers")

        stack.submit(a_service("two"))
        ready = "Version 2 is ready: 2 of 2"
        stack.wait_until(lambda: ready in messages(stack, job_id), 60, "the second version is ready")
        stack.wait_until(lambda: set(visitors.said[-10:]) == {"two"}, 30, "only the second version answers")

        lost = next(one["Names"] for one in docker.named() if one["State"] == "running")
        docker.cli("kill", lost)
        stack.wait_until(lambda: len(endpoints(stack, job_id)) == 1, 30, "the killed one is not named any more")
        stack.wait_until(lambda: len(endpoints(stack, job_id)) == 2, 60, "it is there again")

        stack.submit(a_service("three", path="/never-there"))
        back = "Job updated: back to version 2, because nothing more of version 3 became ready within 10s"
        stack.wait_until(lambda: back in messages(stack, job_id), 60, "it goes back")
        again = "Version 4 is ready: 2 of 2"
        stack.wait_until(lambda: stack.call("GET", f"/jobs/{job_id}")["Job"]["Version"] == 4, 10, again)
        stack.wait_until(lambda: _versions(stack, job_id) == {4}, 60, "only the fourth version runs")
    assert not visitors.failed, visitors.failed[:5]
    assert len(visitors.said) > (time.monotonic() - began) * 5, "they came too slowly to prove anything"
    assert "three" not in visitors.said, "what is not ready was asked"
    stack.call("DELETE", f"/jobs/{job_id}", json={"reason": "over"})
    stack.wait_until(lambda: not endpoints(stack, job_id), 30, "nothing is ready any more")


def _versions(stack: LiveStack, job_id: str) -> set[int]:
    """The versions of what is ready."""
    return {item["JobVersion"] for item in stack.call("GET", f"/jobs/{job_id}/endpoints")["Items"]}
