"""What jobs serve now: the ready executions with ports of those that never end, by namespace and name.

Kept by facts, as they are applied: nothing is looked for when work is placed or told where its services are. A port
that is open on loopback is reached on its own node alone, and counts for work there. A service that a node's owner
offers is reached on that node alone; where a job of the namespace serves by the same name and is reached, that goes
first (ADR 0037).
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeAlias

from skrei_domain.messages import PortObserved
from skrei_domain.services import Endpoint, is_near, variables
from skrei_scheduling.labels import Mask
from skrei_scheduling.rows import ExecutionRow, JobRow

Service: TypeAlias = tuple[str, str]
"""(namespace, name of the job)."""


@dataclass(frozen=True, slots=True)
class _Ready:
    row: int  # of the node that it runs on
    endpoint: Endpoint  # as it is reached from there
    far: Endpoint | None  # and from other nodes, if it is


class Services:
    """The ready endpoints of every service."""

    def __init__(self) -> None:
        self._ready: dict[Service, dict[str, _Ready]] = {}

    def put(self, job: JobRow, execution: ExecutionRow, row: int) -> Service | None:
        """Take in what an execution has become on the node of that row; return its service if more can reach it now."""
        service = (job.namespace, job.name)
        known = self._ready.get(service, {})
        ports = _open(execution)
        if not ports:
            if known.pop(execution.id, None) is not None and not known:
                del self._ready[service]
            return None
        order = (next((n for n, task in enumerate(job.tasks) if task.name == execution.task), 0), execution.partition)
        endpoint = Endpoint((*order, execution.id), execution.task, ports)
        ready = _Ready(row, endpoint, _far(endpoint))
        if known.get(execution.id) == ready:
            return None
        self._ready.setdefault(service, {})[execution.id] = ready
        return service

    def any(self, service: Service) -> bool:
        """Whether something of a service is ready, wherever it is reached."""
        return service in self._ready

    def reached(self, service: Service, row: int) -> bool:
        """Whether work on a node reaches something of a service."""
        return any(each.far is not None or each.row == row for each in self._ready.get(service, {}).values())

    def close(self, mask: Mask, uses: Sequence[Service], offered: Mapping[str, Mask]) -> None:
        """Take the rows out of `mask` from which one of these services is not reached; `offered`: by whom, by name."""
        for service in uses:
            ready = self._ready.get(service, {}).values()
            if any(each.far is not None for each in ready):
                continue
            there = offered.get(service[1])
            rows = [each.row for each in ready if mask[each.row]]
            if there is None:
                mask[:] = False
            else:
                mask &= there[: len(mask)]
            mask[rows] = True

    def told(
        self, uses: Sequence[Service], row: int, *, turn: int, own: Set[str] = frozenset()
    ) -> Mapping[str, str] | None:
        """Return the variables for work on a node, without those of what it offers itself (`own`); None where it does
        not reach all of these services now.
        """
        found: dict[str, list[Endpoint]] = {}
        for namespace, name in uses:
            ready = self._ready.get((namespace, name), {}).values()
            reached = (each.endpoint if each.row == row else each.far for each in ready)
            endpoints = [endpoint for endpoint in reached if endpoint is not None]
            if endpoints:
                found[name] = endpoints
            elif name not in own:
                return None
        return variables(found, turn=turn)


def _open(execution: ExecutionRow) -> tuple[PortObserved, ...]:
    """Return the ports of an execution that does what it is there for, and is wanted."""
    if not execution.is_ready or execution.revoked:
        return ()
    return tuple(port for port in execution.ports if port.host)


def _far(endpoint: Endpoint) -> Endpoint | None:
    """Return what of an endpoint is reached from other nodes; None where nothing is."""
    ports = tuple(port for port in endpoint.ports if not is_near(port.host))
    return replace(endpoint, ports=ports) if ports else None
