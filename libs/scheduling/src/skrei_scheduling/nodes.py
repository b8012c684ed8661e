"""Every node as columns of numbers: what is free, what each can do, who may take work now.

Placement asks the same question of all nodes at once, so the matrix holds one array per question and changes one
row at a time. Reservations are exact integers. A row, once given to a node, stays its own while the node is known.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skrei_domain.lifecycle import Connection, Intake, Membership
from skrei_domain.node import NearServer, NodeInfo
from skrei_domain.object_servers import USUAL
from skrei_domain.paths import Entry, read_entries
from skrei_domain.resources import Resources
from skrei_scheduling.cached import CachedInputs
from skrei_scheduling.labels import LabelColumn, Mask
from skrei_scheduling.ports import PortLedger
from skrei_scheduling.rows import ExecutionRow, JobRow, NodeRow, Requirement
from skrei_scheduling.services import Service, Services
from skrei_scheduling.sizes import Sizes

TIE_BITS = 35
"""Of a node's 63-bit order key: ties by a hash of its id. Two of 10,000 nodes share one with odds of 1 in 700."""

COUNT_BITS = 12
"""Reservations counted in the order key: 4,095 on a node count as the same as more."""

FULL = 1000
"""A node's dominant share is counted in thousandths."""

_TIES = (1 << TIE_BITS) - 1
_COUNTS = (1 << COUNT_BITS) - 1
_FIRST_ROWS = 64


class Said(NamedTuple):
    """What a node said that it can do, names in lower case."""

    engines: frozenset[str] = frozenset()
    storages: frozenset[str] = frozenset()
    publishers: frozenset[str] = frozenset()
    labels: Mapping[str, str] = {}
    local: tuple[Entry, ...] = ()
    owner_paths: bool = False
    missing_paths: frozenset[str] = frozenset()
    data: Mapping[str, bool] = {}  # its data sets, and whether they may be written
    services: frozenset[str] = frozenset()  # what its owner offers
    data_bytes: Mapping[str, int] = {}
    path_bytes: Mapping[str, int] = {}  # of the paths that it hands out
    near: Mapping[str, int] = {}  # servers of objects, and how many microseconds away each is


class NodeMatrix:
    """The columns. `rows` is how many are in use; every array is at least that long."""

    def __init__(self) -> None:
        self.rows = 0
        self.version = 0
        self.row_of: dict[str, int] = {}
        self.ids: list[str] = []
        self.free: NDArray[np.int64] = np.zeros((4, _FIRST_ROWS), dtype=np.int64)
        self.capacity: NDArray[np.int64] = np.zeros((4, _FIRST_ROWS), dtype=np.int64)
        self.known: Mask = np.zeros(_FIRST_ROWS, dtype=np.bool_)  # a member, or one that may become one
        self.ready: Mask = np.zeros(_FIRST_ROWS, dtype=np.bool_)  # approved, connected and open
        self.open: Mask = np.zeros(_FIRST_ROWS, dtype=np.bool_)  # neither cordoned nor draining
        self.approved: Mask = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self.connected: Mask = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self.order: NDArray[np.int64] = np.zeros(_FIRST_ROWS, dtype=np.int64)  # fullness, count, tie: see `ranking`
        self.changed: NDArray[np.int64] = np.zeros(_FIRST_ROWS, dtype=np.int64)  # version of the row's last change
        self.engines: dict[str, Mask] = {}
        self.storages: dict[str, Mask] = {}
        self.publishers: dict[str, Mask] = {}
        self.offered: dict[str, Mask] = {}  # services that nodes' owners offer
        self.labels: dict[str, LabelColumn] = {}
        self.data_bytes = Sizes()  # of data sets, where that was counted
        self.path_bytes = Sizes()  # of the paths that nodes hand out
        self.near = Sizes()  # by server, how many microseconds away each is; 0 where a node does not know it
        self.cached = CachedInputs()
        self.ports = PortLedger()
        self.services = Services()
        self.fading: set[str] = set()  # nodes that could do something until a while ago
        self._free: list[list[int]] = []  # the same numbers again: one row at a time, lists are ten times faster
        self._capacity: list[tuple[int, ...]] = []
        self._count: list[int] = []
        self._tie: list[int] = []
        self.said: list[Said] = []

    def set(self, node: NodeRow, *, old: NodeRow | None = None) -> bool:
        """Write what `node` is; returns whether that may let more work onto it than `old` did."""
        (self.fading.add if node.gone else self.fading.discard)(node.id)
        row = self.row_of.get(node.id)
        if row is None:
            row = self._add(node.id)
            old = None
        elif old is not None and _same(old, node):
            return False
        if old is None or old.info != node.info or old.labels != node.labels:
            self._describe(row, node)
            self._resize(row, node.info.capacity.vector())
        self.approved[row] = node.membership is Membership.APPROVED
        self.connected[row] = node.connection is Connection.CONNECTED
        self.known[row] = node.membership is not Membership.REJECTED
        self.open[row] = node.intake is Intake.OPEN
        self.ready[row] = self.approved[row] and self.connected[row] and self.open[row]
        self.version += 1
        self.changed[row] = self.version
        return bool(self.ready[row])

    def remove(self, node_id: str) -> None:
        """Let a node that is forgotten refuse and promise nothing; its row is its own again should it come back."""
        row = self.row_of[node_id]
        nothing = NodeRow(id=node_id, info=NodeInfo(node_id=node_id), membership=Membership.REJECTED)
        self._describe(row, nothing)
        self._resize(row, nothing.info.capacity.vector())
        self.cached.forget(row)
        self.fading.discard(node_id)
        for column in (self.approved, self.connected, self.open, self.known, self.ready):
            column[row] = False
        self.version += 1
        self.changed[row] = self.version

    def reserve(self, node_id: str, amount: Resources) -> None:
        """Take `amount` from a node, known or not (one that is not known yet has nothing to take from)."""
        self._move(self._row(node_id), amount, 1)

    def release(self, node_id: str, amount: Resources) -> None:
        """Give `amount` back to a node."""
        self._move(self._row(node_id), amount, -1)

    def take_ports(self, node_id: str, ports: Iterable[int], job_id: str) -> None:
        """Give ports of a node, known or not, to an execution of a job."""
        self.ports.take(self._row(node_id), ports, job_id)

    def give_back_ports(self, node_id: str, ports: Iterable[int], job_id: str) -> None:
        """Take back what `take_ports` gave."""
        self.ports.give_back(self._row(node_id), ports, job_id)

    def serve(self, job: JobRow, execution: ExecutionRow) -> Service | None:
        """Take in what an execution of a service has become; return the service if more can reach it now."""
        return self.services.put(job, execution, self._row(execution.node_id))

    def told(self, uses: Sequence[Service], node_id: str, *, turn: int) -> Mapping[str, str] | None:
        """Return the variables that tell work on a node of its services; None where it does not reach all of them.

        What the node offers itself is told by the node: see `of_node`.
        """
        row = self._row(node_id)
        return self.services.told(uses, row, turn=turn, own=self.said[row].services)

    def of_node(self, uses: Sequence[Service], node_id: str) -> tuple[str, ...]:
        """Return the names of those services that work on a node has from the node itself."""
        row = self._row(node_id)
        return tuple(each[1] for each in uses if not self.services.reached(each, row) and self.reaches(each, row))

    def reaches(self, service: Service, row: int) -> bool:
        """Whether work on a node reaches a service: what a job serves, or what the node offers."""
        return self.services.reached(service, row) or service[1] in self.said[row].services

    def close_unreached(self, mask: Mask, uses: Sequence[Service]) -> None:
        """Take the rows out of `mask` from which one of these services is not reached."""
        self.services.close(mask, uses, self.offered)

    def room(self, node_id: str) -> Resources:
        """What is free on a node."""
        cpu, memory, disk, gpu = self._free[self._row(node_id)]
        return Resources.model_construct(cpu_milli=cpu, memory_bytes=memory, disk_bytes=disk, gpu=gpu)

    def most_free(self) -> tuple[int, ...]:
        """The most that is free of each kind of resource on any node that may take work, each kind for itself."""
        ready = self.free[:, : self.rows][:, self.ready[: self.rows]]
        return tuple(ready.max(axis=1).tolist()) if ready.size else (0, 0, 0, 0)

    @contextmanager
    def trial(self) -> Iterator["Trial"]:
        """Reserve for as long as the block lasts: what a plan would take is taken back at its end."""
        trial = Trial(self)
        try:
            yield trial
        finally:
            trial.undo()

    def _row(self, node_id: str) -> int:
        row = self.row_of.get(node_id)
        return self._add(node_id) if row is None else row

    def _add(self, node_id: str) -> int:
        row = self.rows
        if row == len(self.known):
            self._grow(2 * row)
        self.rows += 1
        self.row_of[node_id] = row
        self.ids.append(node_id)
        self._free.append([0, 0, 0, 0])
        self._capacity.append((0, 0, 0, 0))
        self._count.append(0)
        self._tie.append(tie(node_id))
        self.said.append(Said())
        self._reorder(row)
        return row

    def _grow(self, rows: int) -> None:
        self.free = _longer(self.free, rows)
        self.capacity = _longer(self.capacity, rows)
        self.order = _longer(self.order, rows)
        self.changed = _longer(self.changed, rows)
        self.known, self.ready = _longer(self.known, rows), _longer(self.ready, rows)
        self.approved, self.connected = _longer(self.approved, rows), _longer(self.connected, rows)
        self.open = _longer(self.open, rows)
        for masks in (self.engines, self.storages, self.publishers, self.offered):
            for name, mask in masks.items():
                masks[name] = _longer(mask, rows)
        for column in self.labels.values():
            column.grow(rows)

    def _describe(self, row: int, node: NodeRow) -> None:
        info, old = node.offers, self.said[row]
        new = Said(
            frozenset(plugin.name.lower() for plugin in info.engines),
            frozenset(plugin.name.lower() for plugin in info.storages),
            frozenset(plugin.name.lower() for plugin in info.publishers),
            dict(info.labels),
            read_entries(info.local_paths),
            info.owner_paths,
            info.missing_paths,
            {each.name: each.read_write for each in info.data},
            frozenset(each.name for each in info.services),
            {each.name: each.size_bytes for each in info.data if each.size_bytes},
            {each.path: each.size_bytes for each in info.local_sizes},
            _near(info.near),
        )
        self.near.put(row, new.near)
        self.data_bytes.put(row, new.data_bytes)
        self.path_bytes.put(row, new.path_bytes)
        self._mark(self.engines, row, old.engines, new.engines)
        self._mark(self.storages, row, old.storages, new.storages)
        self._mark(self.publishers, row, old.publishers, new.publishers)
        self._mark(self.offered, row, old.services, new.services)
        for key in old.labels.keys() | new.labels.keys():
            column = self.labels.get(key)
            if column is None:
                column = self.labels[key] = LabelColumn(len(self.known))
            column.set(row, new.labels.get(key))
        self.said[row] = new

    def _mark(self, masks: dict[str, Mask], row: int, old: frozenset[str], new: frozenset[str]) -> None:
        for name in old - new:
            masks[name][row] = False
        for name in new - old:
            if name not in masks:
                masks[name] = np.zeros(len(self.known), dtype=np.bool_)
            masks[name][row] = True

    def _resize(self, row: int, capacity: tuple[int, ...]) -> None:
        for kind, (new, old) in enumerate(zip(capacity, self._capacity[row], strict=True)):
            self._free[row][kind] += new - old
        self._capacity[row] = capacity
        self.capacity[:, row] = capacity
        self.free[:, row] = self._free[row]
        self._reorder(row)

    def _move(self, row: int, amount: Resources, sign: int) -> None:
        free = self._free[row]
        for kind, units in enumerate(amount.vector()):
            if units:
                free[kind] -= sign * units
                self.free[kind, row] = free[kind]
        self._count[row] += sign
        self._reorder(row)

    def _reorder(self, row: int) -> None:
        share = 0
        for free, capacity in zip(self._free[row], self._capacity[row], strict=True):
            if capacity > 0 and free < capacity:
                share = max(share, (capacity - free) * FULL // capacity)
        count = min(self._count[row], _COUNTS)
        self.order[row] = (((min(share, FULL) << COUNT_BITS) | count) << TIE_BITS) | self._tie[row]


def _near(servers: Iterable[NearServer]) -> dict[str, int]:
    """Return how far servers are, the one that a node usually asks by that name too."""
    named = [(name, each) for each in servers for name in (each.url, *((USUAL,) if each.usual else ()))]
    return {name: max(each.latency_micros, 1) for name, each in named}


class Trial:
    """Reservations that are taken back: what a plan in the making has promised."""

    def __init__(self, matrix: NodeMatrix) -> None:
        self._matrix = matrix
        self._taken: list[tuple[str, Requirement, str]] = []

    @property
    def count(self) -> int:
        """How many reservations the trial holds."""
        return len(self._taken)

    def reserve(self, node_id: str, requirement: Requirement, job_id: str) -> None:
        """Take what one unit of a job needs from a node until `undo`."""
        self._matrix.reserve(node_id, requirement.resources)
        self._matrix.take_ports(node_id, requirement.ports, job_id)
        self._taken.append((node_id, requirement, job_id))

    def undo(self) -> None:
        """Give everything back."""
        while self._taken:
            node_id, requirement, job_id = self._taken.pop()
            self._matrix.release(node_id, requirement.resources)
            self._matrix.give_back_ports(node_id, requirement.ports, job_id)


def tie(node_id: str) -> int:
    """Return a node's place among equals: from its id alone, so that the order of a listing never matters."""
    return int.from_bytes(hashlib.blake2b(node_id.encode(), digest_size=8).digest(), "big") & _TIES


def _same(old: NodeRow, new: NodeRow) -> bool:
    return (
        old.membership is new.membership
        and old.connection is new.connection
        and old.intake is new.intake
        and old.labels == new.labels
        and (old.info is new.info or _placing(old.info) == _placing(new.info))
    )


def _placing(info: NodeInfo) -> NodeInfo:
    """Return what of a node's words work is placed by: what its cache was good for changes by the minute."""
    return info if info.cache is None else info.model_copy(update={"cache": None})


def _longer(array: NDArray, rows: int) -> NDArray:  # type: ignore[type-arg]
    grown = np.zeros((*array.shape[:-1], rows), dtype=array.dtype)
    grown[..., : array.shape[-1]] = array
    return grown
