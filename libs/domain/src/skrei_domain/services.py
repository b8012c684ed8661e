"""Services: what a task that uses some is told of where they are reached, and under which names. Pure."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skrei_domain.job_reading import Reading
from skrei_domain.messages import PortObserved
from skrei_domain.spec import MAX_NAME_BYTES

PREFIX = "SKREI_SERVICE_"
"""What the names of the variables begin with."""
MAX_USES = 16
"""Services that a task uses: each is a few variables of its environment, and looked at when the task is placed."""
MOST_ENDPOINTS = 32
"""Addresses in one variable: enough to share a load; who wants all of a large service reads its endpoints."""
MOST_BYTES = 32 * 1024
"""Of all these variables of one execution: a command stays far below what a message may hold."""

_OTHER = re.compile(r"[^A-Z0-9]")
_CUTS = (MOST_ENDPOINTS, 8, 1)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One ready execution of a service; `order` is its place among those of its job, `task` which program it is."""

    order: tuple[int, int, str]
    task: str
    ports: tuple[PortObserved, ...]


def variable(name: str) -> str:
    """Return the variable in which a service of that name is told: upper case, `_` for what is no letter or digit."""
    return PREFIX + _OTHER.sub("_", name.upper())


def address(host: str, port: int) -> str:
    """Return `host:port` as URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_near(host: str) -> bool:
    """Whether an address is reached on its own machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_uses(reading: Reading, raw: object, path: str) -> list[str] | None:
    """Return the names of services that a task uses; None where it says nothing."""
    if raw is None:
        return None
    items = reading.items(raw, path)
    if len(items) > MAX_USES:
        reading.missing(path, f"at most {MAX_USES} services", f"{len(items)} services")
    found: dict[str, str] = {}
    for index, item in enumerate(items[:MAX_USES]):
        where = f"{path}[{index}]"
        name = reading.needed(item, where, limit=MAX_NAME_BYTES).strip()
        if (other := found.setdefault(variable(name), where)) != where and name:
            reading.wrong(where, name, f"a name that makes another variable than {other} ({variable(name)})")
    return [str(item).strip() for item in items] or None


def check_uses(reading: Reading, tasks: Sequence[Mapping[str, Any]], name: str) -> None:
    """Note every task that uses its own job: it would wait for itself."""
    for index, task in enumerate(tasks):
        for place, each in enumerate(task.get("Uses") or ()):
            if name and each == name:
                reading.wrong(
                    f"Tasks[{index}].Uses[{place}]", each, "the name of another job: this one waits for itself"
                )


def variables(services: Mapping[str, Sequence[Endpoint]], *, turn: int = 0) -> dict[str, str]:
    """Return the variables that tell where services are reached, by name; each has an endpoint with a port at least.

    `SKREI_SERVICE_<NAME>` lists `host:port` of each ready execution: of the first port of the first task that has any.
    `SKREI_SERVICE_<NAME>_<PORT>` does so for each port by its name. Lists begin with another one for each `turn`, so
    that those who take the first share the load. The same endpoints and turn give the same text, whatever their order.
    """
    for most in _CUTS:
        found = _variables(services, turn, most)
        if _size(found) <= MOST_BYTES:
            return found
    return {variable(name): found[variable(name)] for name in services}


def _variables(services: Mapping[str, Sequence[Endpoint]], turn: int, most: int) -> dict[str, str]:
    plain: dict[str, str] = {}
    named: dict[str, str] = {}
    for name, endpoints in services.items():
        rows = sorted(endpoints, key=lambda each: each.order)
        first = variable(name)
        plain[first] = _list([row.ports[0] for row in rows if row.task == rows[0].task], turn, most)
        of: dict[str, tuple[str, list[PortObserved]]] = {}  # port -> the first task that has it, and where
        for row in rows:
            for port in row.ports:
                task, where = of.setdefault(f"{first}_{_OTHER.sub('_', port.name.upper())}", (row.task, []))
                if task == row.task:
                    where.append(port)
        for key, (_, where) in of.items():
            named.setdefault(key, _list(where, turn, most))
    return named | plain  # a service by its own name goes before a port of another


def _list(ports: Sequence[PortObserved], turn: int, most: int) -> str:
    start = turn % len(ports)
    return ",".join(address(port.host, port.port) for port in (*ports[start:], *ports[:start])[:most])


def _size(found: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) + 2 for name, value in found.items())
