"""Who may call whom: the chart's NetworkPolicies, worked out as a cluster's network does that enforces them."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.unit.helm.test_chart import EVERYTHING, HELM, rendered

pytestmark = pytest.mark.skipif(HELM is None, reason="no helm here: `make tools` builds it")

TOLD = re.compile(r"//(?:\w+@)?(skrei-[a-z]+)(?:\.[\w.]+)?:(\d+)")
AGENTS = {"agent-docker", "agent-kubernetes", "agent-wasm"}
HOOKS = {"keys", "forget-keys", "migrate", "test"}
OURS = {"orchestrator-api", "scheduler", "publisher", "postgres", "nats", "keep-out"} | HOOKS | AGENTS
EVERYBODY = OURS | {"open-job", "stranger"}
DOORS = {
    ("orchestrator-api", 1234): EVERYBODY,  # who shows no token is let in nowhere
    ("publisher", 1235): EVERYBODY,
    **{
        (component, 1236): EVERYBODY
        for component in ("orchestrator-api", "scheduler", "publisher", "keep-out", *AGENTS)
    },
    ("postgres", 5432): {"orchestrator-api", "scheduler", "migrate"},
    ("nats", 4222): OURS,
    ("nats", 7422): EVERYBODY,  # a site's server
    ("nats", 8080): EVERYBODY,  # by a WebSocket, with a key of one's own as well
    ("nats", 8222): set(),  # its kubelet, which no policy keeps away
}
"""Every port that something listens on, and who may call it."""


@dataclass(frozen=True)
class Pod:
    space: str
    labels: Mapping[str, str]
    address: str = "10.1.2.3"


def pods() -> dict[str, Pod]:
    """All kinds of pods that may be in a cluster with a release, by their component."""
    found = {
        "open-job": Pod("n-jobs", {"skrei.execution": "e-1", "skrei.network": "open"}),
        "closed-job": Pod("n-jobs", {"skrei.execution": "e-2", "skrei.network": "none"}),
        "stranger": Pod("elsewhere", {"app.kubernetes.io/component": "orchestrator-api"}),
    }
    for labels, _ in templates():
        found[labels["app.kubernetes.io/component"]] = Pod("n", labels)
        found["migrate"] = Pod("n", labels | {"app.kubernetes.io/component": "migrate"})  # of an upgrade alone
    return found


def templates() -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """The labels and specs of the chart's pods."""
    for one in rendered(*EVERYTHING):
        template = one if one["kind"] == "Pod" else one.get("spec", {}).get("template", {})
        if "containers" in template.get("spec", {}):
            yield template["metadata"]["labels"], template["spec"]


def meets(labels: Mapping[str, str], selector: Mapping[str, Any]) -> bool:
    """Whether labels meet a selector."""
    for one in selector.get("matchExpressions", ()):
        there = one["key"] in labels
        if not (there if one["operator"] == "Exists" else labels.get(one["key"]) in one["values"]):
            return False
        assert one["operator"] in ("Exists", "In")
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def is_peer(pod: Pod, peer: Mapping[str, Any], space: str) -> bool:
    """Whether a pod (or an address without one) is meant by a rule of a policy in a namespace."""
    if "ipBlock" in peer:
        address = ipaddress.ip_address(pod.address)
        block = peer["ipBlock"]
        inside = [address in ipaddress.ip_network(one) for one in (block["cidr"], *block.get("except", ()))]
        return inside[0] and not any(inside[1:])
    assert peer.get("namespaceSelector", {}) == {}
    return bool(pod.space) and ("namespaceSelector" in peer or pod.space == space) and (
        meets(pod.labels, peer.get("podSelector", {}))
    )  # fmt: skip


def passes(way: str, of: Pod, other: Pod, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies of a pod let a connection out of it or into it. Policies add up; none lets everything."""
    peers = {"Ingress": "from", "Egress": "to"}[way]
    policies = [
        one for one in rendered(*EVERYTHING)
        if one["kind"] == "NetworkPolicy" and one["metadata"].get("namespace", "n") == of.space
        and way in one["spec"]["policyTypes"] and meets(of.labels, one["spec"]["podSelector"])
    ]  # fmt: skip
    return not policies or any(
        (peers not in rule or any(is_peer(other, peer, of.space) for peer in rule[peers]))
        and ("ports" not in rule or (port, protocol) in {(p["port"], p.get("protocol", "TCP")) for p in rule["ports"]})
        for policy in policies
        for rule in policy["spec"].get(way.lower(), ())
    )


def connects(source: Pod, target: Pod, port: int) -> bool:
    return passes("Egress", source, target, port) and passes("Ingress", target, source, port)


def test_every_address_that_a_component_is_told_it_may_call() -> None:
    known = pods()
    services = {
        one["metadata"]["name"]: one["spec"]["selector"] for one in rendered(*EVERYTHING) if one["kind"] == "Service"
    }
    told = {
        (labels["app.kubernetes.io/component"], services[name]["app.kubernetes.io/component"], int(port))
        for labels, spec in templates()
        for name, port in TOLD.findall(str([*spec.get("initContainers", ()), *spec["containers"]]))
    }
    told |= {(agent, "publisher", 1235) for agent in AGENTS}  # whose address the API tells them
    assert len({(target, port) for _, target, port in told}) == 4
    assert len(told) > 12
    assert [one for one in sorted(told) if not connects(known[one[0]], known[one[1]], one[2])] == []


def test_nothing_else_is_let_through() -> None:
    known = pods()
    assert set(known) == EVERYBODY | {"closed-job"}
    for (target, port), callers in DOORS.items():
        found = {name for name, pod in known.items() if connects(pod, known[target], port)}
        assert found == callers, (target, port)


def test_every_port_that_a_pod_names_is_one_of_these() -> None:
    named = {
        (labels["app.kubernetes.io/component"], port["containerPort"])
        for labels, spec in templates()
        for container in spec["containers"]
        for port in container.get("ports", ())
    }
    assert named == set(DOORS)


def test_pods_of_jobs_call_the_world_or_nobody_and_are_called_by_nobody() -> None:
    known = pods()
    world, cloud, names = Pod("", {}, "203.0.113.7"), Pod("", {}, "169.254.169.254"), Pod("", {}, "169.254.20.10")
    opened, closed = known["open-job"], known["closed-job"]
    assert [passes("Egress", pod, world, 443) for pod in (opened, closed)] == [True, False]
    assert [passes("Egress", pod, cloud, 80) for pod in (opened, closed)] == [False, False]
    assert [passes("Egress", pod, names, 53, "UDP") for pod in (opened, closed)] == [True, False]
    assert [name for name, pod in known.items() for job in (opened, closed) if connects(pod, job, 8080)] == []
