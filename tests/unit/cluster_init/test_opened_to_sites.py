"""What docs/EDGE.md says to write so that sites reach a cluster of containers, laid over what we ship."""

import re

import yaml

from scripts.environment import ROOT
from skrei_cluster_init.__main__ import read


def test_what_opens_a_cluster_to_sites_adds_ports_and_a_name_to_what_is_shipped() -> None:
    told = re.search(r"^```yaml\n(services:\n.*?)^```", (ROOT / "docs/EDGE.md").read_text(), re.M | re.S)
    assert told is not None
    opened = yaml.safe_load(told[1])["services"]
    shipped = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(opened) == {"init", "nats", "orchestrator-api", "publisher"} <= set(shipped)
    named = read(opened["init"]["environment"]).nats_hosts
    before = read({"SKREI_NATS_HOSTS": shipped["init"]["environment"]["SKREI_NATS_HOSTS"]}).nats_hosts
    assert set(before) < set(named), "it replaces the variable"
    (address,) = set(named) - set(before)
    inside = {name: each["ports"][0].rpartition(":")[2] for name, each in shipped.items() if "ports" in each}
    listens = re.search(r"leafnodes \{\s*listen: \"0\.0\.0\.0:(\d+)\"", (ROOT / "deploy/nats.conf").read_text())
    assert listens is not None
    inside["nats"] = listens[1]
    for name in ("nats", "orchestrator-api", "publisher"):
        assert opened[name]["ports"] == [f"{address}:{inside[name]}:{inside[name]}"]
