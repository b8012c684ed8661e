"""Nodes outside of the cluster's network at a chart's release, as docs/KUBERNETES.md tells."""

import base64
import json
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wasmtime
import yaml

from scripts.environment import ROOT
from skrei_embedded.installs import find_nats_server
from skrei_embedded.nats import free_port
from tests.kubernetes.test_release import block
from tests.support.certificates import make_certificate
from tests.support.edge_machine import EdgeMachine
from tests.support.kubernetes_node import CLASS, KubernetesNode
from tests.support.release import Release

SPACE = "edge"
VOLUMES = {"edge-0": "20Gi", "edge-1": "10Gi", "edge-2": "6Gi"}
KEPT: dict[str, Any] = {"persistence": {"storageClass": CLASS}}
API, RESULTS, TRANSPORT, SITES = 31234, 31235, 31422, 31742
HTTPS = 8443
WORDS = 30_000
INLINE_BYTES = 65_536
"""What is larger does not fit into a fact: it is brought to the door of results."""
LASTS_SECONDS = 20
LATE = """
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 17)
  (func (export "_start")
    (i32.store (i32.const 1040) (i32.const 1))
    (i64.store (i32.const 1048) (i64.const {nanoseconds}))
    (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 3072)))
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const 1048576))
    (drop (call $random (i32.const 65536) (i32.const 1048576)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))
"""
"""Sleeps, then says a mebibyte that nobody can pack smaller."""

pytestmark = pytest.mark.timeout(1200)


def values(door: str) -> dict[str, Any]:
    """What docs/KUBERNETES.md says to ask of the chart, at the address of this cluster's node."""
    return {
        "api": {
            "url": f"http://{door}:{API}",
            "resultsUrl": f"http://{door}:{RESULTS}",
            "service": {"type": "NodePort", "nodePort": API},
        },
        "publisher": {"service": {"type": "NodePort", "nodePort": RESULTS}} | KEPT,
        "nats": {
            "publicUrl": f"tls://{door}:{TRANSPORT}",
            "service": {"type": "NodePort", "nodePort": TRANSPORT},
        }
        | KEPT,
        "postgres": KEPT,
        "scheduler": {"replicas": 1},
        "agents": {
            "kubernetes": {"enabled": False},
            "wasm": {"settings": {"SKREI_SERVICES": "inside=127.0.0.1:1236"}, "persistence": {"enabled": False}},
        },
    }


def nodes(release: Release) -> dict[str, dict[str, Any]]:
    """The nodes by their name."""
    told = json.loads(release.skrei("node", "list", "--output", "json"))["Nodes"]
    return {one["Info"]["Labels"].get("site", "inside"): one for one in told}


def connected(release: Release, site: str) -> bool:
    found = nodes(release)
    return site in found and found[site]["Connection"] == "CONNECTED"


def wasm(name: str, words: list[str], *sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A task that counts words."""
    module = {"Type": "inline", "Params": {"File": str(ROOT / "examples/wordcount/wordcount.wasm")}}
    return {
        "Name": name,
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "/wordcount.wasm", "Parameters": words}},
        "InputSources": [{"Target": "/wordcount.wasm", "Source": module}, *sources],
        "ResultPaths": [{"Name": "out", "Path": "/out"}],
        "Resources": {"CPU": "100m", "Memory": "64Mb"},
    } | more


def there_and_back() -> str:
    """Counts at the edge what lies there, merges that inside, and merges the outcome at the edge again."""
    data = {"Target": "/texts", "Source": {"Type": "data", "Params": {"Name": "texts"}}}

    def left(task: str) -> dict[str, Any]:
        return {"Target": "/parts/one", "Source": {"Type": "task", "Params": {"Task": task, "Path": "out"}}}

    tasks = [
        wasm("count", ["--all", "/texts", "/out"], data),
        wasm("merge", ["--merge", "/parts", "/out"], left("count"), Uses=["inside"]),
        wasm("again", ["--merge", "/parts", "/out"], left("merge"), data),
    ]
    return json.dumps({"Name": "there-and-back", "Type": "batch", "Tasks": tasks})


def at_the_edge(name: str, seconds: float = 0.0, *, site: str = "farm") -> str:
    """A job for the edge alone that sleeps, and leaves more than fits into a fact."""
    module = bytes(wasmtime.wat2wasm(LATE.format(nanoseconds=int(seconds * 1e9))))
    url = "data:application/wasm;base64," + base64.b64encode(module).decode()
    task = {
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "main.wasm", "Entrypoint": "_start"}},
        "InputSources": [{"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": "main.wasm"}],
        "Resources": {"CPU": "100m", "Memory": "64Mb"},
    }
    where = [{"Key": "site", "Operator": "=", "Values": [site]}]
    return json.dumps({"Name": name, "Type": "batch", "Constraints": where, "Tasks": [task]})


def submit(release: Release, job: str) -> str:
    path = release.folder / "job.yaml"
    path.write_text(job)
    return release.skrei("job", "run", "--id-only", str(path)).strip()


def ended_once(release: Release, job: str, folder: Path) -> None:
    """A job of `at_the_edge` ended at its first try, and what it left is whole."""
    release.cluster.until("it has ended", lambda: state(release, job) in ("Completed", "Failed"), 180)
    told = json.loads(release.skrei("describe", job, "--output", "json"))
    assert told["Job"]["State"]["StateType"] == "Completed", told
    assert len(told["Executions"]["Items"]) == 1, told
    release.skrei("job", "get", job, "--output-dir", str(folder))
    assert (folder / "stdout").stat().st_size == 1_048_576


def state(release: Release, job: str) -> str:
    return str(json.loads(release.skrei("describe", job, "--output", "json"))["Job"]["State"]["StateType"])


@pytest.fixture(scope="module")
def release(stocked: KubernetesNode, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The tests of this file go on where the one before ended."""
    for name, size in VOLUMES.items():
        stocked.volume(name, size)
    return Release(stocked, tmp_path_factory.mktemp("edge"), SPACE, values(stocked.door))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeMachine]:
    """A machine that is no part of the cluster, with data of its own."""
    home = tmp_path_factory.mktemp("farm")
    (home / "texts").mkdir()
    chosen, letters = random.Random(7), "abcdefghijklmnopqrstuvwxyz"
    words = ("".join(chosen.choices(letters, k=9)) for _ in range(WORDS))
    (home / "texts/all.txt").write_text("\n".join(words))
    machine = EdgeMachine(home, {"SKREI_LABELS": "site=farm", "SKREI_DATA": f"texts={home / 'texts'}"})
    try:
        yield machine
    finally:
        machine.stop()


def test_a_machine_outside_joins_by_the_line_that_is_printed(
    release: Release, farm: EdgeMachine, record: Callable[[str], None]
) -> None:
    notes = release.put("install")
    release.shell(block(notes, "The command line finds it after this:"))
    assert "skrei node join-line" in notes
    line = release.skrei("node", "join-line").strip()
    assert f"--join http://{release.cluster.door}:{API} --token " in line
    began = time.monotonic()
    farm.run(line)
    release.cluster.until("the farm is connected", lambda: connected(release, "farm"))
    record(f"a machine outside of the cluster is a node {time.monotonic() - began:.1f} s after its line was run")


def test_what_it_leaves_and_what_others_left_goes_by_the_ways_that_it_has(
    release: Release, farm: EdgeMachine, tmp_path: Path
) -> None:
    release.cluster.until("so is the node inside", lambda: connected(release, "inside"))
    job = submit(release, there_and_back())
    release.skrei("job", "wait", job)
    told = json.loads(release.skrei("describe", job, "--output", "json"))
    ran = {one["Task"]: one["NodeID"] for one in told["Executions"]["Items"]}
    here = {name: one["Info"]["NodeID"] for name, one in nodes(release).items()}
    assert ran == {"count": here["farm"], "merge": here["inside"], "again": here["farm"]}
    release.skrei("job", "get", job, "--output-dir", str(tmp_path / "got"))
    counts = (tmp_path / "got/again/out/words.txt").read_text().splitlines()
    assert len(counts) > WORDS * 0.99
    results = json.loads(release.skrei("job", "results", job, "--output", "json"))
    sizes = [one["Params"]["Size"] for one in results["Items"]]
    assert min(sizes) > INLINE_BYTES, "they went by the door"


def test_a_job_goes_on_there_while_nats_and_all_apis_are_gone_and_nothing_of_it_is_lost(
    release: Release, farm: EdgeMachine, tmp_path: Path
) -> None:
    job = submit(release, at_the_edge("lasting", LASTS_SECONDS))
    release.skrei("job", "wait", "--for", "running", job)
    release.kubectl("delete", "pod", "skrei-nats-0", "--grace-period=1", seconds=120)
    release.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=orchestrator-api", seconds=120)
    for one in ("statefulset/skrei-nats", "deployment/skrei-api"):
        release.kubectl("rollout", "status", one, "--timeout=120s", seconds=130)
    ended_once(release, job, tmp_path / "got")
    release.cluster.until("the farm is back", lambda: connected(release, "farm"))


def test_nothing_new_comes_to_it_while_it_is_cordoned(release: Release, farm: EdgeMachine, tmp_path: Path) -> None:
    node = nodes(release)["farm"]["Info"]["NodeID"]
    release.skrei("node", "cordon", node)
    job = submit(release, at_the_edge("waiting"))
    release.cluster.until("it waits", lambda: state(release, job) == "Queued")
    assert "cordon" in release.skrei("describe", job)
    release.skrei("node", "uncordon", node)
    ended_once(release, job, tmp_path / "got")


def test_an_upgrade_to_other_doors_finds_it_at_work_and_leaves_it_there(
    release: Release, farm: EdgeMachine, tmp_path: Path
) -> None:
    """NATS starts again: it listens for sites too, and its certificate names another host."""
    door = release.cluster.door
    job = submit(release, at_the_edge("through-an-upgrade", LASTS_SECONDS))
    release.skrei("job", "wait", "--for", "running", job)
    before = release.kubectl("get", "pod", "skrei-nats-0", "-o", "jsonpath={.metadata.uid}")
    site = {"enabled": True, "nodePort": SITES, "hub": f"tls://{door}:{SITES}", "sites": {"barn": ["127.0.0.1"]}}
    ways = f"tls://{door}:{TRANSPORT},tls://nats.example.org:{TRANSPORT}"
    more = {"nats": {"leaf": site, "publicUrl": ways, "websocket": {"enabled": True}}, "logLevel": "debug"}
    (release.folder / "more.yaml").write_text(yaml.safe_dump(more))
    release.put("upgrade", "-f", str(release.folder / "more.yaml"))
    assert release.kubectl("get", "pod", "skrei-nats-0", "-o", "jsonpath={.metadata.uid}") != before
    assert "nats.example.org" in names_of(f"{door}:{TRANSPORT}")
    ended_once(release, job, tmp_path / "got")
    release.cluster.until("the farm is connected", lambda: connected(release, "farm"))


def names_of(server: str) -> str:
    """What the certificate at an address of NATS names: TLS begins after its greeting, which `nats` says openssl."""
    host, _, port = server.partition(":")
    script = (
        "import socket,ssl,sys;s=socket.create_connection((sys.argv[1],int(sys.argv[2])),10);s.recv(65536);"
        "c=ssl._create_unverified_context().wrap_socket(s);print(ssl.DER_cert_to_PEM_cert(c.getpeercert(True)))"
    )
    python = str(ROOT / ".venv/bin/python")
    certificate = subprocess.run(
        [python, "-c", script, host, port], check=True, capture_output=True, text=True, timeout=30
    ).stdout
    shown = ("openssl", "x509", "-noout", "-ext", "subjectAltName")
    return subprocess.run(shown, input=certificate, check=True, capture_output=True, text=True, timeout=30).stdout


def test_a_site_with_a_server_of_its_own_comes_in_by_what_lies_in_its_secret(release: Release, tmp_path: Path) -> None:
    jsonpath = r"jsonpath={.data.barn\.tar}"
    packed = release.kubectl("get", "secret", "skrei-keys-sites", "-o", jsonpath)
    (tmp_path / "barn.tar").write_bytes(base64.b64decode(packed))
    subprocess.run(["tar", "-xf", "barn.tar"], cwd=tmp_path, check=True)
    port, conf, site = free_port(), tmp_path / "barn/nats.conf", tmp_path / "barn/site.json"
    text = (
        conf.read_text().replace("/etc/skrei/barn", str(tmp_path / "barn")).replace("0.0.0.0:4222", f"127.0.0.1:{port}")
    )
    conf.write_text(re.sub("(?m)^http:.*$", "", text))
    site.write_text(site.read_text().replace(":4222", f":{port}"))
    token = release.skrei("node", "join-line").split()[-1]
    machine = EdgeMachine(tmp_path / "home", {"SKREI_LABELS": "site=barn", "SKREI_JOIN_TOKEN": token})
    with (tmp_path / "nats.log").open("wb") as log:
        server = subprocess.Popen([str(find_nats_server()), "-c", str(conf)], stdout=log, stderr=log)
    try:
        machine.run(f"skrei-compute-agent --join http://{release.cluster.door}:{API} --site {site}")
        release.cluster.until("the barn is connected", lambda: connected(release, "barn"))
        ended_once(release, submit(release, at_the_edge("in-the-barn", site="barn")), tmp_path / "got")
        release.put("upgrade", "-f", str(release.folder / "more.yaml"), "--set", "nats.leaf.sites.barn=null")
        release.cluster.until("the barn is out", lambda: not connected(release, "barn"), 240)
    finally:
        machine.stop()
        server.terminate()
        server.wait(20)
    assert "Authentication Revoked" in (tmp_path / "nats.log").read_text()


def test_where_only_https_leaves_a_machine_comes_by_the_ingress_alone(release: Release, tmp_path: Path) -> None:
    """The API, the door of results and NATS by one port with TLS, each by a name of its own."""
    hosts = {each: f"{each}.edge.test" for each in ("api", "results", "nats")}
    certificate = make_certificate(tmp_path, *hosts.values())
    files = (f"--cert={certificate.file}", f"--key={certificate.key}")
    release.kubectl("create", "secret", "tls", "skrei-tls", *files)
    named = {f"{each}Host": host for each, host in hosts.items()}
    way = f"tls://{release.cluster.door}:{TRANSPORT}"  # of the farm, which goes on by it
    by_https = {
        "api": {"url": f"https://{hosts['api']}:{HTTPS}", "resultsUrl": f"https://{hosts['results']}:{HTTPS}"},
        "nats": {"publicUrl": f"wss://{hosts['nats']}:{HTTPS},{way}", "websocket": {"enabled": True}},
        "ingress": {"enabled": True, "tlsSecret": "skrei-tls", **named},
    }
    (release.folder / "https.yaml").write_text(yaml.safe_dump(by_https))
    release.put("upgrade", "-f", str(release.folder / "https.yaml"))
    known = dict.fromkeys(hosts.values(), release.cluster.door)
    told = {"SKREI_LABELS": "site=shed", "SSL_CERT_FILE": str(certificate.file)}
    machine = EdgeMachine(tmp_path / "shed", told, known)
    line = release.skrei("node", "join-line").strip()
    assert f"--join https://{hosts['api']}:{HTTPS} " in line
    with release.cluster.ingress(HTTPS):
        try:
            machine.run(line)
            release.cluster.until("the shed is connected", lambda: connected(release, "shed"))
            there = replace(release, before=[*machine.knowing(), "env", f"SSL_CERT_FILE={certificate.file}"])
            ended_once(there, submit(there, at_the_edge("in-the-shed", site="shed")), tmp_path / "got")
            joined = json.loads((machine.folder / "keys/joined.json").read_text())
            assert joined["nats_url"] == f"wss://{hosts['nats']}:{HTTPS}"
        finally:
            machine.stop()
    release.kubectl("delete", "secret", "skrei-tls")


def test_a_machine_that_is_revoked_is_cut_off_and_there_is_nothing_left_to_do(
    release: Release, farm: EdgeMachine, record: Callable[[str], None]
) -> None:
    assert farm.standing()[0] == "greeted"
    told = release.shell(f"skrei node revoke {nodes(release)['farm']['Info']['NodeID']} 2>&1")
    assert "kubectl" not in told, told
    began = time.monotonic()
    release.cluster.until("it is cut off", lambda: "link_ended" in farm.said())
    record(f"a revoked machine is cut off {time.monotonic() - began:.1f} s later")
    refused = "the transport refuses this node, and its key cannot be renewed"
    release.cluster.until("it knows why", lambda: refused in farm.standing()[1])
    release.cluster.until("it is out", lambda: not connected(release, "farm"))


def test_it_is_uninstalled_with_what_let_them_in(release: Release) -> None:
    release.helm("uninstall", "skrei", "--wait", "--timeout", "5m")
    release.cluster.until("nothing is left", lambda: not release.left())
