"""The compose file's profile `edge`: what it opens, at which address, and what other machines are told of it."""

import re
from typing import Any

import pytest
import yaml

from scripts.environment import ROOT
from skrei_cluster_init.__main__ import read
from skrei_domain.errors import Invalid

ADDRESS = "10.0.0.1"


def shipped(address: str) -> dict[str, Any]:
    """The services as Compose reads them with this address."""
    text = (ROOT / "docker-compose.yml").read_text()
    told = re.sub(r"\$\{SKREI_EDGE_ADDRESS:-([^}]*)\}", lambda found: address or found[1], text)
    services: dict[str, Any] = yaml.safe_load(told)["services"]
    return services


def test_the_way_in_is_asked_for_and_leads_to_every_door_that_a_node_or_a_site_has() -> None:
    services = shipped(ADDRESS)
    door = services["way-in"]
    assert door["profiles"] == ["edge"]
    ways = dict(way.split(":") for way in door["command"][1:])
    assert door["ports"] == [f"{ADDRESS}:{port}:{port}" for port in ways]
    listens = re.findall(r'listen: "0\.0\.0\.0:(\d+)"', (ROOT / "deploy/nats.conf").read_text())
    assert {port for port, host in ways.items() if host == "nats"} == set(listens)
    assert (ways["1234"], ways["1235"]) == ("orchestrator-api", "publisher")
    published = [name for name, each in services.items() if "ports" in each and "profiles" not in each]
    assert published == ["orchestrator-api", "publisher"]


def test_other_machines_are_told_of_it_and_the_clusters_own_services_go_on_as_they_were() -> None:
    told = {name: each.get("environment", {}) for name, each in shipped(ADDRESS).items()}
    assert told["orchestrator-api"]["SKREI_JOIN_URL"] == f"http://{ADDRESS}:1234"
    assert told["orchestrator-api"]["SKREI_NATS_PUBLIC_URL"] == f"tls://{ADDRESS}:4222"
    assert told["scheduler"]["SKREI_PUBLISHER_URL"] == f"http://{ADDRESS}:1235"
    assert ADDRESS in read({"SKREI_NATS_HOSTS": told["init"]["SKREI_NATS_HOSTS"]}).nats_hosts
    closed = {name: each.get("environment", {}) for name, each in shipped("").items()}
    assert "" not in read({"SKREI_NATS_HOSTS": closed["init"]["SKREI_NATS_HOSTS"]}).nats_hosts
    assert told["nats"] != closed["nats"], "it starts again, with the certificate that names the address"
    inside = closed["scheduler"]["SKREI_PUBLISHER_URL"]
    for name, agent in told.items():
        if "SKREI_JOIN" in agent:
            assert agent == closed[name]
            assert agent["SKREI_PUBLISHER_URL"] == inside
            assert bool(agent["SKREI_NATS_URL"]) != ("SKREI_SITE_FILE" in agent), "a site has its own server"


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "edge.lan"])
def test_an_address_that_nodes_cannot_be_told_is_refused_by_its_variable(address: str) -> None:
    with pytest.raises(Invalid, match=f"SKREI_EDGE_ADDRESS={address}"):
        read({"SKREI_EDGE_ADDRESS": address})
