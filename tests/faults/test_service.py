"""A service asked ten times a second: nothing fails while it is updated, loses a replica, and goes back.

And what others have of it: its addresses by its name, and a port that is theirs when it is free.
"""

import http.client
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from skrei_embedded.nats import free_port
from tests.support.docker_daemon import BUSYBOX, DockerDaemon, running_docker, why_no_docker
from tests.support.live_stack import LiveStack, live_stack

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()),
]

A_SECOND = 10
"""Requests that are to be asked in each second, whatever becomes of those before."""
PACE_SECONDS = 1 / (A_SECOND + 1)
ASKERS = 24
"""Requests under way at once: with a timeout of two seconds as many as may hang."""
HOST, BRIDGE = (
    {"Type": "Host", "Ports": [{"Name": "web"}]},
    {"Type": "Bridge", "Ports": [{"Name": "web", "Target": 80}]},
)
SERVE = """
mkdir -p /tmp/www && echo {says} > /tmp/www/index.html
httpd -f -p {at}:$BACALHAU_PORT_web -h /tmp/www & server=$!
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


def a_task(script: str, network: dict[str, Any], **more: Any) -> dict[str, Any]:
    engine = {"Type": "docker", "Params": {"Image": BUSYBOX, "Entrypoint": ["/bin/sh"], "Parameters": ["-c", script]}}
    resources = {"CPU": "20m", "Memory": "20mb"}
    return {"Name": "main", "Engine": engine, "Network": network, "Resources": resources} | more


def a_service(
    says: str, *, name: str = "web", path: str = "/index.html", network: dict[str, Any] = HOST, count: int = 2
) -> dict[str, Any]:
    at = "127.0.0.1" if network["Type"] == "Host" else "0.0.0.0"
    check = {"HTTP": {"Path": path}, "Interval": "1s", "Unhealthy": 2}
    task = a_task(SERVE.format(says=says, at=at), network, Check=check)
    update = {"MinReady": "2s", "ProgressDeadline": "10s"}
    return {"Job": {"Name": name, "Type": "service", "Count": count, "Update": update, "Tasks": [task]}}


class Visitors:
    """At least ten requests a second, at their own pace, each to the endpoints in turn: an address that does not answer
    is no failed request as long as another one does. Addresses are read once a second, as a load balancer does.
    """

    def __init__(self, stack: LiveStack, job_id: str) -> None:
        self._stack, self._job_id = stack, job_id
        self._over = threading.Event()
        self._known: list[str] = []
        self.asked = 0
        self.seconds = 0.0
        self.said: list[str] = []
        self.failed: list[str] = []
        self._threads = [threading.Thread(target=self._look), threading.Thread(target=self._run)]

    def __enter__(self) -> "Visitors":
        self._known = endpoints(self._stack, self._job_id)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _look(self) -> None:
        while not self._over.wait(1.0):
            self._known = endpoints(self._stack, self._job_id)

    def _run(self) -> None:
        """Ask at moments that are set beforehand: a slow answer delays nobody, and who came late catches up."""
        began = time.monotonic()
        with ThreadPoolExecutor(ASKERS) as askers:
            for number in itertools.count():
                if self._over.wait(max(0.0, began + number * PACE_SECONDS - time.monotonic())):
                    break
                self.asked += 1
                known = self._known
                first = number % max(len(known), 1)
                askers.submit(self._ask, [*known[first:], *known[:first]])
            self.seconds = time.monotonic() - began

    def _ask(self, addresses: list[str]) -> None:
        problems = []
        for address in addresses:
            try:
                status, said = get(address)
            except OSError as error:
                problems.append(f"{address}: {error}")
                continue
            if status == 200:
                self.said.append(said)
                return
            problems.append(f"{address}: {status}")
        self.failed.append("; ".join(problems) or "nobody was ready")

    def check(self) -> None:
        """Nothing failed, and enough was asked to say so."""
        assert not self.failed, self.failed[:5]
        assert len(self.said) == self.asked
        assert self.asked >= A_SECOND * self.seconds, f"only {self.asked} in {self.seconds:.1f} s"


def get(address: str) -> tuple[int, str]:
    host, port = address.rsplit(":", 1)
    link = http.client.HTTPConnection(host, int(port), timeout=2)
    try:
        link.request("GET", "/index.html")
        answer = link.getresponse()
        return answer.status, answer.read().decode().strip()
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    finally:
        link.close()


def says(port: int) -> str:
    """What answers on a port of this machine; nothing where nobody does."""
    try:
        return get(f"127.0.0.1:{port}")[1]
    except OSError:
        return ""


def endpoints(stack: LiveStack, job_id: str) -> list[str]:
    return [item["Address"] for item in stack.call("GET", f"/jobs/{job_id}/endpoints")["Items"]]


def messages(stack: LiveStack, job_id: str) -> list[str]:
    asked = {"limit": 1000, "event_type": "all", "all_job_versions": "true"}
    found = stack.call("GET", f"/jobs/{job_id}/history", params=asked)
    return [item["Event"]["Message"] for item in found["Items"]]


def stop(stack: LiveStack, job_id: str) -> None:
    stack.call("DELETE", f"/jobs/{job_id}", json={"reason": "over"})
    stack.wait_until(lambda: not endpoints(stack, job_id), 30, "nothing is ready any more")


def roll(stack: LiveStack, visitors: Visitors, job: dict[str, Any], *, version: int) -> None:
    """Submit the next version, and see it through."""
    says = str(job["Job"]["Tasks"][0]["Engine"]["Params"]["Parameters"]).split("echo ")[1].split(" ")[0]
    job_id = stack.submit(job)
    ready = f"Version {version} is ready: 2 of 2"
    stack.wait_until(lambda: ready in messages(stack, job_id), 60, f"version {version} is ready")
    stack.wait_until(lambda: set(visitors.said[-10:]) == {says}, 30, f"only version {version} answers")


def lose_one(stack: LiveStack, docker: DockerDaemon, job_id: str) -> None:
    """Kill one of two replicas, and wait until there are two again."""
    lost = next(one["Names"] for one in docker.named() if one["State"] == "running")
    docker.cli("kill", lost)
    stack.wait_until(lambda: len(endpoints(stack, job_id)) == 1, 30, "the killed one is not named any more")
    stack.wait_until(lambda: len(endpoints(stack, job_id)) == 2, 60, "it is there again")


def test_no_request_fails_while_a_service_is_updated_loses_a_replica_and_goes_back(
    stack: LiveStack, docker: DockerDaemon
) -> None:
    job_id = stack.submit(a_service("one"))
    stack.wait_until(lambda: len(endpoints(stack, job_id)) == 2, 60, "two are ready")
    with Visitors(stack, job_id) as visitors:
        stack.wait_until(lambda: "one" in visitors.said, 10, "the first version answers")
        roll(stack, visitors, a_service("two"), version=2)
        lose_one(stack, docker, job_id)

        stack.submit(a_service("three", path="/never-there"))
        back = "Job updated: back to version 2, because nothing more of version 3 became ready within 10s"
        stack.wait_until(lambda: back in messages(stack, job_id), 60, "it goes back")
        stack.wait_until(lambda: stack.call("GET", f"/jobs/{job_id}")["Job"]["Version"] == 4, 10, "it is version 4")
        stack.wait_until(lambda: _versions(stack, job_id) == {4}, 60, "only the fourth version runs")
        kept = "Execution kept for version 4, which runs the same"
        assert kept in messages(stack, job_id), "what ran well was begun anew"

        nowhere = a_service("four")
        nowhere["Job"]["Constraints"] = [{"Key": "zone", "Operator": "=", "Values": ["mars"]}]
        stack.submit(nowhere)
        stack.wait_until(lambda: stack.call("GET", f"/jobs/{job_id}")["Job"]["Version"] == 6, 60, "it goes back")
        stack.wait_until(lambda: _versions(stack, job_id) == {6}, 60, "what runs is version 6")
        assert any("version 5 found no place within 10s" in each for each in messages(stack, job_id))
        assert stack.call("GET", f"/jobs/{job_id}")["Job"]["State"]["StateType"] == "Running"
    visitors.check()
    assert "three" not in visitors.said, "what is not ready was asked"
    stop(stack, job_id)


def test_nor_does_one_where_ports_lead_into_networks_of_their_own(stack: LiveStack, docker: DockerDaemon) -> None:
    """On a bridge the daemon leads a port of the node to the program; it opens and closes with the container."""
    job_id = stack.submit(a_service("one", network=BRIDGE, name="inside"))
    stack.wait_until(lambda: len(endpoints(stack, job_id)) == 2, 60, "two are ready")
    with Visitors(stack, job_id) as visitors:
        stack.wait_until(lambda: "one" in visitors.said, 10, "the first version answers")
        roll(stack, visitors, a_service("two", network=BRIDGE, name="inside"), version=2)
        lose_one(stack, docker, job_id)
    visitors.check()
    stop(stack, job_id)


def test_a_job_that_uses_a_service_waits_for_it_and_finds_it_by_its_name(stack: LiveStack) -> None:
    script = (
        'echo "$SKREI_SERVICE_MY_API is $SKREI_SERVICE_MY_API_WEB"; '
        'for at in $(echo "$SKREI_SERVICE_MY_API" | tr , " "); do wget -qO- "http://$at/index.html"; done'
    )
    task = a_task(script, {"Type": "Host"}, Uses=["my-api"])
    asks = stack.submit({"Job": {"Name": "asks", "Type": "batch", "Count": 1, "Tasks": [task]}})
    stack.wait_until(lambda: stack.state_of(asks) == "Queued", 30, "it waits")
    why = stack.call("GET", f"/jobs/{asks}")["Job"]["State"]["Message"]
    assert why == (
        "waiting for what it uses: service my-api: no job of type service or daemon with that name has a port that is "
        "ready in namespace default, and no node has the service"
    )
    serves = stack.submit(a_service("hello", name="my-api"))
    assert stack.wait_for([asks], 60) == {asks: "Completed"}
    told = stack.call("GET", f"/jobs/{asks}/executions")["Items"][0]["RunOutput"]["Stdout"].splitlines()
    whole, _, named = told[0].partition(" is ")
    assert whole == named
    assert set(whole.split(",")) <= set(endpoints(stack, serves))
    assert told[1:] == ["hello"] * len(whole.split(","))
    stop(stack, serves)


def test_a_port_that_is_taken_is_waited_for_had_once_it_is_free_and_kept_by_later_versions(stack: LiveStack) -> None:
    number = free_port()
    network = {"Type": "Host", "Ports": [{"Name": "web", "Static": number}]}
    first = stack.submit(a_service("first", name="first", network=network, count=1))
    stack.wait_until(lambda: endpoints(stack, first) == [f"127.0.0.1:{number}"], 60, "the first has it")
    second = stack.submit(a_service("second", name="second", network=network, count=1))
    stack.wait_until(lambda: stack.state_of(second) == "Queued", 30, "the second waits")
    why = stack.call("GET", f"/jobs/{second}")["Job"]["State"]["Message"]
    assert f"port {number} is in use on it by job {first[:10]}" in why
    stack.call("DELETE", f"/jobs/{first}", json={"reason": "over"})
    stack.wait_until(lambda: endpoints(stack, second) == [f"127.0.0.1:{number}"], 60, "the second has it")
    assert get(f"127.0.0.1:{number}") == (200, "second")
    executions = stack.call("GET", f"/jobs/{second}/executions")["Items"]
    assert len(executions) == 1, "it was offered to the node while the port was taken"

    stack.submit(a_service("third", name="second", network=network, count=1))
    stack.wait_until(lambda: says(number) == "third", 60, "the old version has made way for the new one")
    assert any(f"the new version needs its port {number}" in each for each in messages(stack, second))
    stack.wait_until(lambda: "Version 2 is ready: 1 of 1" in messages(stack, second), 30, "it is good")
    stack.submit(a_service("fourth", name="second", network=network, count=1, path="/never-there"))
    stack.wait_until(lambda: "Version 4 is ready: 1 of 1" in messages(stack, second), 90, "it is back, and ready again")
    assert says(number) == "third"
    stop(stack, second)


def test_a_port_that_docker_opens_is_ready_when_something_listens_behind_it(stack: LiveStack) -> None:
    """Where docker has a proxy, that takes every connection, whether or not the program listens."""
    listens = "sleep 4; mkdir -p /tmp/www; httpd -f -p 8080 -h /tmp/www"
    network = {"Type": "Bridge", "Ports": [{"Name": "web", "Target": 8080}]}
    task = a_task(listens, network, Check={"TCP": {"Port": "web"}, "Interval": "1s", "Unhealthy": 1})
    job_id = stack.submit({"Job": {"Name": "behind", "Type": "service", "Count": 1, "Tasks": [task]}})
    told: set[str] = set()

    def ready() -> bool:
        found = stack.call("GET", f"/jobs/{job_id}/executions")["Items"]
        told.update(each["ComputeState"].get("Message", "") for each in found)
        return bool(endpoints(stack, job_id))

    stack.wait_until(ready, 60, "it listens")
    assert any("nothing listens" in each for each in told), told
    stop(stack, job_id)


def _versions(stack: LiveStack, job_id: str) -> set[int]:
    """The versions of what is ready."""
    return {item["JobVersion"] for item in stack.call("GET", f"/jobs/{job_id}/endpoints")["Items"]}
