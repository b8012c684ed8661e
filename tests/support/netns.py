"""Network namespaces as machines, one bridge between them, gone with the test. They need root, and `ip`.

The bridge lies in a namespace of its own, where rules of this machine's firewall do not hold: Docker leaves one that
forwards nothing.
"""

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Host:
    """A machine: processes started with `inside` see its network alone."""

    name: str
    address: str

    def inside(self, *command: str) -> list[str]:
        """Return the command as run on this machine."""
        return ["ip", "netns", "exec", self.name, *command]


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Machines that reach each other; skips, with the reason, where none can be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need `ip` (Debian: iproute2)")
    tag = uuid.uuid4().hex[:6]
    made = [Host(f"skrei-{tag}-{number}", f"10.97.{int(tag[:2], 16)}.{number}") for number in range(1, count + 1)]
    hub, bridge = f"skrei-{tag}-hub", f"skb{tag}"
    try:
        try:
            _ip("netns", "add", hub)
            _ip("-n", hub, "link", "add", bridge, "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine makes no network namespaces: {error.stderr.strip()}")
        _ip("-n", hub, "link", "set", bridge, "up")
        for number, host in enumerate(made, 1):
            _connect(host, hub, bridge, f"skv{tag}{number}")
        yield made
    finally:
        for host in made:
            _ip("netns", "delete", host.name, check=False)  # its end of the cable goes with it, and so does ours
        _ip("netns", "delete", hub, check=False)


def _connect(host: Host, hub: str, bridge: str, cable: str) -> None:
    _ip("netns", "add", host.name)
    _ip("-n", hub, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    _ip("-n", hub, "link", "set", cable, "master", bridge, "up")
    for command in (
        ("addr", "add", f"{host.address}/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("link", "set", "lo", "up"),
    ):
        _ip("-n", host.name, *command)


def _ip(*arguments: str, check: bool = True) -> None:
    command: Sequence[str] = ("ip", *arguments)
    subprocess.run(command, check=check, capture_output=True, text=True, timeout=10)
