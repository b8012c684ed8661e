"""What of the network executions get on this node: the kind, by its owner's leave, and ports that are theirs alone."""

import errno
import ipaddress
import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from skrei_domain.errors import SkreiError
from skrei_domain.messages import PortObserved
from skrei_domain.spec import NetworkConfig, Port
from skrei_plugin_api.engine import PortBinding

HOST_KINDS = ("host", "full")
"""Networks in which a program itself listens on the node's port."""
ANYWHERE = ("0.0.0.0", "::")


class PortUnavailable(SkreiError):
    """No port for an execution here, now: another node, or a later time, may do better."""

    code = "port-unavailable"
    retryable = True


class NetworkRefused(SkreiError):
    """This node's owner does not let jobs have that: another node's may."""

    code = "network-refused"
    retryable = True


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """What the node's owner allows. Ports from `first` to `last` are given out, opened at `address` and told as `host`
    (empty: the address, or this machine's name where that is every address)."""

    first: int = 20_000
    last: int = 32_000
    address: str = "127.0.0.1"
    host: str = ""
    networked: bool = True

    def told(self, address: str) -> str:
        """Return what others call this node where a port is opened at `address`."""
        if address not in (self.address, *ANYWHERE):
            return address
        if self.host:
            return self.host
        return socket.gethostname() if address in ANYWHERE else address

    def near(self, host: str) -> str:
        """Return where this machine itself reaches a port that others are told of at `host`."""
        if host != self.told(self.address):
            return host
        return "127.0.0.1" if self.address in ANYWHERE else self.address

    def may_open(self, address: str) -> bool:
        """Whether a job may ask for a port at this address: loopback, the owner's choice, or any if that is any."""
        return self.address in (address, *ANYWHERE) or ipaddress.ip_address(address).is_loopback


class Networks:
    """Gives networks and ports, and knows whose each port is. Which port comes next has no meaning."""

    def __init__(self, policy: NetworkPolicy, free: "Callable[[str, int], bool] | None" = None) -> None:
        self._policy = policy
        self._free = free or is_free
        self._holders: dict[int, str] = {}
        self._next = random.randint(policy.first, policy.last)

    def kind(self, network: NetworkConfig) -> str:
        """Return the kind of network that a task gets. Raises NetworkRefused where this node gives it none."""
        if self._policy.networked or network.type.casefold() == "none":
            return network.type
        if network.type.casefold() == "default":
            return "None"
        raise NetworkRefused(
            f"this node's owner lets no job use the network (Network.Type {network.type})",
            hint="SKREI_REJECT_NETWORKED_JOBS=false on the node allows it",
        )

    def open(self, execution_id: str, network: NetworkConfig) -> tuple[PortBinding, ...]:
        """Give an execution the ports that its task asks for. Raises PortUnavailable or NetworkRefused: then none."""
        own = network.type.casefold() in HOST_KINDS
        try:
            # Those with a number of their own first: they have no choice.
            given = {port.name: self._give(execution_id, port, own=own) for port in _static_first(network.ports)}
        except SkreiError:
            self.close(execution_id)
            raise
        return tuple(given[port.name] for port in network.ports)

    def keep(self, execution_id: str, ports: Iterable[PortObserved]) -> None:
        """Let an execution go on with the ports that it had before this process."""
        self._holders.update((port.port, execution_id) for port in ports)

    def close(self, execution_id: str) -> None:
        """Take an execution's ports back; nothing happens where it has none."""
        self._holders = {port: holder for port, holder in self._holders.items() if holder != execution_id}

    def observed(self, bindings: Iterable[PortBinding]) -> tuple[PortObserved, ...]:
        """Return what is told of ports."""
        return tuple(
            PortObserved(name=one.name, host=self._policy.told(one.address), port=one.port, target=one.target)
            for one in bindings
        )

    def _give(self, execution_id: str, port: Port, *, own: bool) -> PortBinding:
        address = port.host_network or self._policy.address
        if port.host_network and not self._policy.may_open(address):
            raise NetworkRefused(
                f"this node opens no port at {address} (Network.Ports {port.name}), only at {self._policy.address}",
                hint="leave HostNetwork out, or set SKREI_PORT_ADDRESS on the node",
            )
        checked = ANYWHERE[0] if own else address  # a program of the node's own network may bind any address
        number = self._static(port, checked) if port.static else self._any(port, checked)
        self._holders[number] = execution_id
        return PortBinding(port.name, address, number, number if own else port.target or number)

    def _static(self, port: Port, address: str) -> int:
        holder = self._holders.get(port.static)
        if holder is None and self._free(address, port.static):
            return port.static
        whose = f"is {holder}'s" if holder is not None else "is in use"
        raise PortUnavailable(
            f"port {port.static} of this node {whose} (Network.Ports {port.name})",
            hint="leave Static out: then the node chooses a free one, and tells it",
        )

    def _any(self, port: Port, address: str) -> int:
        policy = self._policy
        for _ in range(policy.last - policy.first + 1):
            number = self._next
            self._next = number + 1 if number < policy.last else policy.first
            if number not in self._holders and self._free(address, number):
                return number
        raise PortUnavailable(
            f"no port from {policy.first} to {policy.last} of this node is free (Network.Ports {port.name})",
            hint="SKREI_PORT_RANGE on the node names more of them",
        )


def is_free(address: str, port: int) -> bool:
    """Whether nobody of this machine listens there now. Raises NetworkRefused for an address that is none of its."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what only lingers is no listener
        try:
            trial.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            if error.errno == errno.EADDRNOTAVAIL:
                raise NetworkRefused(f"{address} is no address of this node: no port can be opened there") from error
            raise
    return True


def _static_first(ports: Iterable[Port]) -> list[Port]:
    return sorted(ports, key=lambda port: not port.static)
