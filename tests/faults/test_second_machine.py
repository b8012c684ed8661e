"""A second machine by one pasted line: control plane, node and client each in a network namespace of their own."""

import base64
import contextlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skrei_kit import nats_auth
from tests.support.live_stack import sleeper_job
from tests.support.netns import Host, hosts

pytestmark = pytest.mark.root

SKREI = str(Path(sys.executable).with_name("skrei"))
SECONDS = 60.0
LIFETIME_SECONDS = 14.0
"""What a node is given ends by itself: so soon that all that happens here happens across renewals."""
ASK = """
import json, sys, urllib.error, urllib.request
method, url, token, body = sys.argv[1:]
request = urllib.request.Request(url, data=body.encode() or None, method=method)
if token:
    request.add_header("Authorization", "Bearer " + token)
try:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        status, raw = answer.status, answer.read()
except urllib.error.HTTPError as error:
    status, raw = error.code, error.read()
sys.stdout.buffer.write(str(status).encode() + b"\\n" + raw)
"""


class Started:
    """`skrei serve` on one machine."""

    def __init__(self, host: Host, folder: Path, *options: str) -> None:
        self.host, self.data, self.log = host, folder / "data", folder / "serve.log"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                host.inside(SKREI, "serve", "--data-dir", str(self.data), *options),
                stdout=out,
                stderr=out,
                env=os.environ | {"SKREI_NODE_CREDENTIALS_HOURS": str(LIFETIME_SECONDS / 3_600)},
            )

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)

    def state(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.data / "stack.json").read_text())
        except (OSError, ValueError):
            return {}
        return found


class Cluster:
    """A control plane that listens for others, and a client elsewhere."""

    def __init__(self, folder: Path, machines: list[Host]) -> None:
        self.folder = folder
        self.plane_host, self.node_host, self.client_host = machines
        self.plane = Started(self.plane_host, folder / "plane", "--orchestrator", "--listen", self.plane_host.address)
        self.url = f"http://{self.plane_host.address}:1234"
        self.until(lambda: self.plane.state().get("ready", False), self.plane)
        self.owner = (self.plane.data / "keys" / "owner.token").read_text()

    def until(self, check: Any, *watched: Started) -> None:
        end = time.monotonic() + SECONDS
        while not check():
            for each in watched:
                assert each.process.poll() is None, each.log.read_text()[-3000:]
            assert time.monotonic() < end, "\n".join(each.log.read_text()[-3000:] for each in watched)
            time.sleep(0.05)  # other processes are awaited: there is nothing in this one to wait for

    def ask(
        self, method: str, url: str, *, token: str = "", body: str = "", at: Host | None = None
    ) -> tuple[int, bytes]:
        """Ask as a program on a machine (the client's) does."""
        command = (at or self.client_host).inside(sys.executable, "-c", ASK, method, url, token, body)
        said = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
        status, _, raw = said.partition(b"\n")
        return int(status), raw

    def api(self, method: str, path: str, body: str = "") -> Any:
        status, raw = self.ask(method, f"{self.url}/api/v1/orchestrator{path}", token=self.owner, body=body)
        assert status == 200, raw
        return json.loads(raw)

    def join_line(self) -> list[str]:
        done = subprocess.run(
            [SKREI, "node", "join-line", "--data-dir", str(self.plane.data)],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return shlex.split(done.stdout)

    def connected(self) -> list[str]:
        nodes = self.api("GET", "/nodes")["Nodes"]
        return [node["Info"]["NodeID"] for node in nodes if node["Connection"] == "CONNECTED"]

    def state_of(self, job_id: str) -> str:
        return str(self.api("GET", f"/jobs/{job_id}")["Job"]["State"]["StateType"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with hosts(3) as machines, contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="skrei-join-", dir="/tmp"))
        folder.chmod(0o711)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        made = Cluster(folder, machines)
        stack.callback(made.plane.stop)
        yield made


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator["Node"]:
    """The second machine, joined by the line that the first one prints; a job waits for it."""
    job_id = cluster.api("PUT", "/jobs", json.dumps(waiting_job()))["JobID"]
    cluster.until(lambda: cluster.state_of(job_id) == "Queued", cluster.plane)
    told = str(cluster.api("GET", f"/jobs/{job_id}")["Job"]["State"]["Message"])
    local = f"http://127.0.0.1:1234/api/v1/orchestrator/jobs/{job_id}"
    told_others = cluster.ask("GET", local, at=cluster.plane_host)[1].decode()
    skrei, serve, *options = cluster.join_line()
    assert (skrei, serve) == ("skrei", "serve")
    started = Started(cluster.node_host, cluster.folder / "node", *options)
    try:
        cluster.until(cluster.connected, cluster.plane, started)
        cluster.until(lambda: cluster.state_of(job_id) == "Completed", cluster.plane, started)
        yield Node(started, job_id, told, told_others)
    finally:
        started.stop()


@dataclass(frozen=True)
class Node:
    """The second machine, and what the job that waited for it was told by the API before."""

    started: Started
    job_id: str
    told_owner: str
    told_others: str


def waiting_job() -> dict[str, Any]:
    """A job whose module is larger than what a command carries: its node must fetch it from the API."""
    job = sleeper_job(0.0)
    params = job["Job"]["Tasks"][0]["InputSources"][0]["Source"]["Params"]
    head, _, text = params["URL"].partition(",")
    padding = b"\x04none" + bytes(8_192 - 5)
    section = b"\x00" + bytes([len(padding) & 0x7F | 0x80, len(padding) >> 7]) + padding
    params["URL"] = f"{head},{base64.b64encode(base64.b64decode(text) + section).decode()}"
    return job


def test_a_job_that_waited_for_a_first_node_ran_there_and_its_result_is_the_owners(
    cluster: Cluster, node: "Node"
) -> None:
    job_id = node.job_id
    (item,) = cluster.api("GET", f"/jobs/{job_id}/results")["Items"]
    address = item["Params"]["URL"]
    assert address.startswith(f"http://{cluster.plane_host.address}:1235/")
    status, archive = cluster.ask("GET", address)  # signed: it needs no other token
    assert status == 200
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        said = found.extractfile("stdout")
        assert said is not None
        assert said.read() == b"slept\n"
    assert cluster.ask("GET", address.partition("?")[0])[0] == 401
    (execution,) = cluster.api("GET", f"/jobs/{job_id}/executions")["Items"]
    assert [execution["NodeID"]] == cluster.connected()


def test_a_job_that_waits_for_a_first_node_shows_the_line_whole_to_the_owner_alone(
    cluster: Cluster, node: "Node"
) -> None:
    token = cluster.join_line()[-1]
    assert f"on another machine run: skrei serve --compute --join {cluster.url} --token {token}" in node.told_owner
    assert f"--join {cluster.url} --token TOKEN" in node.told_others
    assert token not in node.told_others


@pytest.mark.parametrize("path", ["/orchestrator/nodes", "/orchestrator/jobs", "/agent/version", "/orchestrator/join"])
def test_without_the_owner_token_another_machine_sees_nothing(cluster: Cluster, path: str) -> None:
    for machine in (cluster.client_host, cluster.node_host):
        assert cluster.ask("GET", f"{cluster.url}/api/v1{path}", at=machine)[0] == 401
    assert cluster.ask("GET", f"{cluster.url}/api/v1/agent/alive")[0] == 200
    assert cluster.ask("GET", f"http://127.0.0.1:1234/api/v1{path}", at=cluster.plane_host)[0] == 200


def test_a_node_starts_again_without_the_token(cluster: Cluster, node: "Node") -> None:
    node.started.stop()
    cluster.until(lambda: not cluster.connected(), cluster.plane)
    again = Started(cluster.node_host, cluster.folder / "node", "--compute")
    try:
        cluster.until(cluster.connected, cluster.plane, again)
    finally:
        again.stop()


def test_a_node_that_was_cut_off_until_its_key_had_ended_renews_it_and_nothing_was_run_twice(
    cluster: Cluster, node: "Node"
) -> None:
    if shutil.which("iptables") is None:
        pytest.skip("a cut link needs `iptables`")
    node.started.stop()
    again = Started(cluster.node_host, cluster.folder / "node", "--compute")
    creds = again.data / "keys" / "node.creds"
    try:
        cluster.until(cluster.connected, cluster.plane, again)
        job_id = cluster.api("PUT", "/jobs", json.dumps(sleeper_job(25.0)))["JobID"]
        cluster.until(lambda: cluster.state_of(job_id) == "Running", cluster.plane, again)
        with cut_off(cluster.node_host):
            user, _ = nats_auth.read_creds(creds.read_text())
            assert user.expires is not None
            cluster.until(lambda: time.time() > (user.expires or 0), cluster.plane, again)
            cluster.until(lambda: not cluster.connected(), cluster.plane, again)
        cluster.until(cluster.connected, cluster.plane, again)
        assert nats_auth.read_creds(creds.read_text())[0].key != user.key
        cluster.until(lambda: cluster.state_of(job_id) == "Completed", cluster.plane, again)
        (execution,) = cluster.api("GET", f"/jobs/{job_id}/executions")["Items"]
        assert execution["ComputeState"]["StateType"] == 9  # Completed, by the one attempt that there was
    finally:
        again.stop()


@contextlib.contextmanager
def cut_off(host: Host) -> Iterator[None]:
    """Nothing reaches a machine, and nothing leaves it."""
    rules = [("INPUT", "-i", "lo", "-j", "ACCEPT"), ("OUTPUT", "-o", "lo", "-j", "ACCEPT")]
    rules += [("INPUT", "!", "-i", "lo", "-j", "DROP"), ("OUTPUT", "!", "-o", "lo", "-j", "DROP")]
    for chain, *rule in rules:
        subprocess.run(host.inside("iptables", "-A", chain, *rule), check=True, timeout=10)
    try:
        yield
    finally:
        for chain, *rule in rules:
            subprocess.run(host.inside("iptables", "-D", chain, *rule), check=True, timeout=10)


def test_a_wrong_token_ends_with_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    done = _serve(cluster.node_host, tmp_path, "--join", cluster.url, "--token", "guess")
    assert done.returncode == 1
    assert "the join token is not" in done.stderr
    assert "skrei node join-line" in done.stderr


def test_a_firewall_before_the_transport_is_named_with_its_port(cluster: Cluster, tmp_path: Path) -> None:
    if shutil.which("iptables") is None:
        pytest.skip("a firewall needs `iptables`")
    rule = ("INPUT", "-p", "tcp", "--dport", "4222", "-j", "DROP")
    subprocess.run(cluster.plane_host.inside("iptables", "-I", *rule), check=True, timeout=10)
    try:
        done = _serve(cluster.client_host, tmp_path, *cluster.join_line()[3:])
    finally:
        subprocess.run(cluster.plane_host.inside("iptables", "-D", *rule), check=True, timeout=10)
    assert done.returncode == 1
    assert f"NATS at {cluster.plane_host.address}:4222 cannot be reached" in done.stderr
    assert "TCP port 4222" in done.stderr


def _serve(host: Host, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = host.inside(SKREI, "serve", "--compute", "--data-dir", str(folder / "data"), *options)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, env=os.environ | {"COLUMNS": "300"}
    )
