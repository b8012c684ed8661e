"""The services that this node's owner offers: what is declared, whether it is there, and how a program gets to it.

Now and then a connection that says nothing shows whether something listens at an address.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from skrei_domain.errors import SkreiError
from skrei_domain.node import SERVICE, Absent, NodeService
from skrei_domain.node_services import MAX_SERVICES, Offered, parse_offered
from skrei_domain.services import address, variable
from skrei_plugin_api.allow import usable
from skrei_plugin_api.declared import all_declared
from skrei_plugin_api.engine import Mount, ServiceWay

CONNECT_SECONDS = 1.5
"""How long a service may take to accept: it is near, and a look at the node takes 3 s at most."""
LOOK_SECONDS = 15.0
"""Between two looks at an address: each is a connection in its log, and work is placed by it."""


class ServiceAway(SkreiError):
    """A service is not here, or not any more: other nodes may have it, and this one may have it again."""

    code = "service-away"
    retryable = True


class Look(NamedTuple):
    """What a look finds: services that can be used, and why others cannot."""

    here: tuple[NodeService, ...] = ()
    away: tuple[Absent, ...] = ()


@dataclass(frozen=True, slots=True)
class Used:
    """What a program gets of the services that it uses: variables, files, and ways to addresses."""

    env: Mapping[str, str]
    mounts: tuple[Mount, ...] = ()
    ways: tuple[ServiceWay, ...] = ()


NOTHING = Used({})


class NodeServices:
    """What a node offers: `told` by its settings (`NAME: ADDRESS`), and in `file`; the settings count more."""

    def __init__(self, told: Mapping[str, str] | None = None, file: Path | None = None) -> None:
        self._told = {} if told is None else told
        self._file = file
        self._looked: dict[Offered, tuple[str, float]] = {}  # why it is away, and until when that counts

    def declared(self) -> tuple[dict[str, Offered], str]:
        """Return what is declared now, by name, and what is wrong with some of it; empty when nothing is. Blocks."""
        return all_declared(
            self._told,
            self._file,
            parse_offered,
            most=MAX_SERVICES,
            what="services",
            example='names with addresses, {"mongodb": "127.0.0.1:27017"}',
        )

    async def look(self) -> Look:
        """Return what can be used now. Blocks for as long as the disks do, so it is asked aside."""
        declared, wrong = self.declared()
        reasons = dict(zip(declared, await asyncio.gather(*map(self._why_away, declared.values())), strict=True))
        self._looked = {each: self._looked[each] for each in declared.values() if each in self._looked}
        here = [each for name, each in sorted(declared.items()) if not reasons[name]]
        away = [Absent(kind=SERVICE, name=name, reason=reason) for name, reason in sorted(reasons.items()) if reason]
        broken = [Absent(kind=SERVICE, name="declared", reason=wrong)] if wrong else []
        told = (NodeService(name=each.name, kind=each.kind, read_write=each.read_write) for each in here)
        return Look(tuple(told), (*away, *broken))

    def use(self, names: Collection[str]) -> Used:
        """Return what a program gets of these services. Raises ServiceAway for the first that is not declared here."""
        declared, _ = self.declared()
        for name in names:
            if name not in declared:
                raise ServiceAway(
                    f"this node does not offer service {name} any more",
                    hint=f"its owner can offer it: skrei node service add {name} ADDRESS",
                )
        used = [declared[name] for name in names]
        files = [each for each in used if each.path]
        for each in files:
            if reason := _no_file(each):
                raise ServiceAway(f"service {each.name} is not there now: {reason}")
        return Used(
            {variable(each.name): each.target if each.path else address(each.host, each.port) for each in used},
            tuple(Mount(Path(os.path.realpath(each.path)), each.target, each.read_write) for each in files),
            _ways(used),
        )

    def ways(self, names: Iterable[str]) -> tuple[ServiceWay, ...]:
        """Return the ways to those of these services that are declared now: for a program that is taken up again."""
        declared, _ = self.declared()
        return _ways(declared[name] for name in names if name in declared)

    async def _why_away(self, each: Offered) -> str:
        if each.path:
            return _no_file(each)
        reason, until = self._looked.get(each, ("", 0.0))
        if time.monotonic() >= until:
            reason = await _silent(each)
            self._looked[each] = (reason, time.monotonic() + LOOK_SECONDS)
        return reason


def _ways(used: Iterable[Offered]) -> tuple[ServiceWay, ...]:
    return tuple(ServiceWay(variable(each.name), each.host, each.port) for each in used if not each.path)


async def _silent(each: Offered) -> str:
    """Return why nobody can speak with a service; empty when somebody can."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(each.host, each.port)
    except TimeoutError:
        return f"nothing answers at its address within {CONNECT_SECONDS:g} s"
    except OSError as error:
        return f"nothing answers at its address{_because(error)}"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ""


def _because(error: OSError) -> str:
    """Return the system's word for an error, without the address, which is the node's own business."""
    if isinstance(error, socket.gaierror):
        return ": its host is not known"
    return f": {os.strerror(error.errno)}" if error.errno else ""


def _no_file(each: Offered) -> str:
    path = Path(each.path)
    if not path.exists():
        return "its file is not there"
    if not (path.is_dir() or path.is_file()):
        return "its path is neither a file nor a folder"
    if not usable(path, write=each.read_write):
        return f"the node's user cannot {'write' if each.read_write else 'read'} its file"
    return ""
