"""Ports of a node: whose each is, which comes next, and what its owner does not allow."""

import socket
from collections.abc import Callable

import pytest

from skrei_compute_agent.networks import NetworkPolicy, NetworkRefused, Networks, PortUnavailable, is_free
from skrei_compute_agent.settings import Settings
from skrei_domain.messages import PortObserved
from skrei_domain.spec import NetworkConfig, Port
from skrei_plugin_api.engine import PortBinding

THREE = NetworkPolicy(first=30_000, last=30_002)


def networks(policy: NetworkPolicy = THREE, free: Callable[[str, int], bool] = lambda *_: True) -> Networks:
    return Networks(policy, free)


def asks(*ports: Port, kind: str = "Bridge") -> NetworkConfig:
    return NetworkConfig(type=kind, ports=ports)


WEB = Port(name="web", target=80)


def numbers(bindings: tuple[PortBinding, ...]) -> list[int]:
    return [one.port for one in bindings]


@pytest.mark.row("2.4/static-zero", "4.8/ports")
def test_executions_side_by_side_get_ports_of_their_own_until_none_is_left() -> None:
    node = networks()
    given = [numbers(node.open(f"e-{number}", asks(WEB))) for number in range(3)]
    assert sorted(given) == [[30_000], [30_001], [30_002]]
    with pytest.raises(PortUnavailable, match="no port from 30000 to 30002 of this node is free"):
        node.open("e-4", asks(WEB))
    node.close("e-1")
    assert numbers(node.open("e-4", asks(WEB))) == given[1]


@pytest.mark.row("2.4/static-zero")
def test_a_port_that_somebody_else_listens_on_is_passed_over() -> None:
    node = networks(free=lambda _, port: port == 30_001)
    assert numbers(node.open("e-1", asks(WEB))) == [30_001]


def test_what_cannot_be_given_whole_is_not_given() -> None:
    node = networks()
    with pytest.raises(PortUnavailable):
        node.open("e-1", asks(*(Port(name=f"p{number}") for number in range(4))))
    assert len(numbers(node.open("e-2", asks(*(Port(name=f"p{number}") for number in range(3)))))) == 3


@pytest.mark.row("4.8/ports")
def test_a_port_with_a_number_comes_before_those_that_take_any() -> None:
    node = networks()
    ports = asks(Port(name="any"), Port(name="own", static=30_001), Port(name="other"))
    any_port, own, other = node.open("e-1", ports)
    assert own == PortBinding("own", "127.0.0.1", 30_001, 30_001)
    assert {any_port.port, other.port} == {30_000, 30_002}
    with pytest.raises(PortUnavailable, match=r"port 30001 of this node is e-1's \(Network.Ports own\)"):
        node.open("e-2", asks(Port(name="own", static=30_001)))


def test_a_port_with_a_number_that_is_in_use_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortUnavailable, match=f"port {port} of this node is in use"):
            Networks(THREE).open("e-1", asks(Port(name="own", static=port)))
    assert is_free("127.0.0.1", port)


def test_in_the_nodes_own_network_the_program_listens_on_the_port_itself() -> None:
    asked: list[str] = []

    def free(address: str, _: int) -> bool:
        asked.append(address)
        return True

    (one,) = networks(free=free).open("e-1", asks(Port(name="web"), kind="Host"))
    assert (one.target, asked) == (one.port, ["0.0.0.0"])


@pytest.mark.row("5.2/bridge-ports")
def test_ports_are_opened_on_loopback_unless_the_owner_says_otherwise() -> None:
    (one,) = networks().open("e-1", asks(WEB))
    assert (one.address, one.target) == ("127.0.0.1", 80)
    for address in ("0.0.0.0", "10.0.0.7"):
        with pytest.raises(NetworkRefused, match=f"this node opens no port at {address}"):
            networks().open("e-1", asks(Port(name="web", host_network=address)))
    (two,) = networks().open("e-1", asks(Port(name="web", host_network="127.0.0.2")))
    assert two.address == "127.0.0.2"


def test_where_every_address_is_open_a_job_may_choose_one() -> None:
    node = networks(NetworkPolicy(30_000, 30_002, address="0.0.0.0", host="node-7.example"))
    bindings = node.open("e-1", asks(WEB, Port(name="one", host_network="10.0.0.7")))
    told = node.observed(bindings)
    assert [(one.host, one.target) for one in told] == [("node-7.example", 80), ("10.0.0.7", told[1].port)]


def test_without_a_name_for_every_address_the_machines_own_is_told() -> None:
    assert NetworkPolicy(address="0.0.0.0").told("0.0.0.0") == socket.gethostname()


def test_an_address_of_another_machine_is_refused() -> None:
    policy = NetworkPolicy(30_000, 30_002, address="192.0.2.1")
    with pytest.raises(NetworkRefused, match=r"192.0.2.1 is no address of this node"):
        Networks(policy).open("e-1", asks(WEB))


def test_what_an_earlier_process_gave_stays_given() -> None:
    node = networks()
    node.keep("e-1", [PortObserved(name="web", host="127.0.0.1", port=30_001, target=80)])
    assert sorted(numbers(node.open("e-2", asks(WEB, Port(name="two"))))) == [30_000, 30_002]
    node.close("e-1")
    assert numbers(node.open("e-3", asks(WEB))) == [30_001]


@pytest.mark.row("5.2/reject-networked-jobs")
def test_an_owner_may_let_no_job_use_the_network() -> None:
    node = networks(NetworkPolicy(networked=False))
    assert [node.kind(NetworkConfig(type=kind)) for kind in ("None", "Default")] == ["None", "None"]
    for kind in ("Host", "Full", "Bridge", "HTTP"):
        with pytest.raises(NetworkRefused, match=f"lets no job use the network .Network.Type {kind}."):
            node.kind(NetworkConfig(type=kind))
    assert networks().kind(NetworkConfig(type="Bridge")) == "Bridge"


@pytest.mark.parametrize("text", ["", "20000", "a-b", "80-90", "30000-20000", "20000-70000", "-5-10"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be two ports from 1024 to 65535"):
        Settings(port_range=text)


def test_the_range_is_a_setting() -> None:
    assert Settings(port_range="4000-4001").ports == (4_000, 4_001)
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        Settings(port_address="somewhere")
