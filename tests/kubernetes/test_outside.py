"""The chart with a Postgres and a nats-server that are somebody else's, and with all that is off by default."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from scripts.tools_k8s import KINDS_FOLDER, unknown
from skrei_embedded.nats import NatsOptions, NatsServer, free_port
from skrei_embedded.postgres import Postgres
from tests.kubernetes.test_release import job
from tests.support.certificates import make_certificate
from tests.support.kubernetes_node import KubernetesNode
from tests.support.release import Release
from tests.support.servers import FAST, server_folder, spawner

SPACE = "outside"
NO_VOLUME: dict[str, Any] = {"persistence": {"enabled": False}}
STARTED = ("deployment/skrei-api", "deployment/skrei-scheduler", "statefulset/skrei-publisher",
           "statefulset/skrei-agent-kubernetes")  # fmt: skip

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def record(stocked: KubernetesNode) -> Iterator[str]:
    """The address of a database of this machine, by the network and with a password."""
    port, password = free_port(), secrets.token_hex(8)
    listening = {"listen_addresses": stocked.host, "port": str(port)}
    with server_folder() as folder, spawner() as children:
        postgres = Postgres(folder, children, settings={**FAST, **listening})
        postgres.settle()
        postgres.prepare()
        with (folder / "postgres/pg_hba.conf").open("a") as rules:
            rules.write("host outside outside samenet scram-sha-256\n")
        postgres.spawn()
        stocked.until("Postgres is there", postgres.is_ready)
        try:
            asyncio.run(make_database(f"{postgres.url.partition('&')[0]}&port={port}", password))
            yield f"postgresql://outside:{password}@{stocked.host}:{port}/outside"
        finally:
            postgres.stop()


async def make_database(url: str, password: str) -> None:
    link = await asyncpg.connect(url)
    try:
        await link.execute(f"CREATE ROLE outside LOGIN PASSWORD '{password}'")
        await link.execute("CREATE DATABASE outside OWNER outside")
    finally:
        await link.close()


@pytest.fixture(scope="module")
def kinds(stocked: KubernetesNode) -> None:
    """The cluster knows gateways and monitors, as clusters do that have them."""
    if missing := unknown():
        pytest.skip(f"not here: the kinds of {', '.join(each.module for each in missing)} (`make tools-k8s`)")
    for file in sorted(KINDS_FOLDER.glob("*.yaml")):
        stocked.kubectl("apply", "--server-side", "-f", str(file))
    for name in ("httproutes.gateway.networking.k8s.io", "servicemonitors.monitoring.coreos.com"):
        stocked.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")


def given(host: str, port: int) -> dict[str, Any]:
    names = {"apiHost": "api.test", "resultsHost": "results.test"}
    scaled = {"enabled": True, "minReplicas": 1, "maxReplicas": 2}
    return {
        "api": {"autoscaling": scaled},
        "scheduler": {"replicas": 1},
        "publisher": NO_VOLUME,
        "postgres": {"bundled": False, "external": {"secret": "record"}},
        "nats": {"bundled": False, "external": {"url": f"tls://{host}:{port}", "caSecret": "outside-ca"}},
        "agents": {"kubernetes": NO_VOLUME | {"autoscaling": scaled}, "wasm": {"enabled": False}},
        "ingress": {"enabled": True, **names},
        "gateway": {"enabled": True, "name": "front", **names},
        "serviceMonitor": {"enabled": True},
    }


def test_it_works_with_a_database_and_a_transport_from_outside_and_every_object_is_taken(
    stocked: KubernetesNode, kinds: None, record: str, tmp_path: Path
) -> None:
    port = free_port()
    release = Release(stocked, tmp_path, SPACE, given(stocked.host, port))
    certificate = make_certificate(tmp_path, "nats.test", addresses=[stocked.host])
    release.kubectl("create", "secret", "generic", "record", f"--from-literal=url={record}")
    release.kubectl("create", "secret", "generic", "outside-ca", f"--from-file=ca.crt={certificate.file}")
    release.put("install", wait=False)  # it makes the keys, by which the nats-server then knows whom to trust
    trust = release.secret("skrei-keys-nats", "trust.conf")
    tls = f'tls {{ cert_file: "{certificate.file}", key_file: "{certificate.key}" }}\n'
    with server_folder() as folder, spawner() as children:
        nats = NatsServer(folder, NatsOptions(port, host=stocked.host, trust=tls + trust), children)
        nats.start()
        try:
            for one in STARTED:
                release.kubectl("rollout", "status", one, "--timeout=240s", seconds=250)
            release.helm("test", "skrei")
            with release.forwarded():
                release.skrei(
                    "profile", "save", "outside", "--endpoint", f"http://127.0.0.1:{release.api_port}", "--select",
                    "--token-file", "/dev/stdin", data=release.secret("skrei-keys-orchestrator-api", "owner.token"),
                )  # fmt: skip
                assert "hello" in release.skrei("job", "run", "-", data=job())
            there = release.kubectl("get", "hpa,ingress,httproutes,servicemonitors,statefulsets", "-o", "name").split()
            assert {"horizontalpodautoscaler.autoscaling/skrei-api",
                    "horizontalpodautoscaler.autoscaling/skrei-agent-kubernetes",
                    "ingress.networking.k8s.io/skrei", "httproute.gateway.networking.k8s.io/skrei-api",
                    "httproute.gateway.networking.k8s.io/skrei-publisher",
                    "servicemonitor.monitoring.coreos.com/skrei"} <= set(there)  # fmt: skip
            assert not {"statefulset.apps/skrei-postgres", "statefulset.apps/skrei-nats"} & set(there)
            release.helm("uninstall", "skrei", "--wait", "--timeout", "5m")
        finally:
            nats.stop()
    stocked.until(
        "only what was there before is left", lambda: release.left() == {"secret/outside-ca", "secret/record"}
    )
