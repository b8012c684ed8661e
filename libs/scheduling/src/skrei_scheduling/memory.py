"""What nodes could do until a while ago: a capability that went away may come back, and is waited for.

A daemon restarts, a disk is mounted late, a label is moved by hand: for a while after a node lost a capability, a job
that needs it waits instead of failing. The memory is part of the node's row, so a new leader knows it too; its times
are the record's, of the commit that learned of the loss.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from skrei_domain.constraints import Constraint, satisfied
from skrei_domain.data_sets import DataWanted
from skrei_domain.node import DATA, PATH, NodeInfo
from skrei_domain.paths import LocalPath, missing_root
from skrei_scheduling.ranking import is_soft
from skrei_scheduling.rows import Gone, NodeRow, Requirement

KEPT = timedelta(minutes=15)
"""How long a lost capability is waited for by default: a daemon is upgraded, a machine rebooted, in less."""

MOST_GONE = 256
"""Lost capabilities remembered of one node, the newest: every label moved twice; a node that flaps has more."""

ENGINE, STORAGE, PUBLISHER, LABEL = "engine", "storage", "publisher", "label"
AMOUNTS = ("cpu", "memory", "disk", "gpu")

ALWAYS = datetime.max.replace(tzinfo=UTC)
"""When something was last seen that is there now."""


def renewed(node: NodeRow, info: NodeInfo, now: datetime, *, keep: timedelta = KEPT) -> NodeRow:
    """Return the node with its new `info`, remembering what it could do before and cannot now."""
    return node if info == node.info else _remembering(node, replace(node, info=info), now, keep)


def relabelled(node: NodeRow, labels: Mapping[str, str], now: datetime, *, keep: timedelta = KEPT) -> NodeRow:
    """Return the node with these labels of its operator, remembering those that it had before."""
    return node if labels == node.labels else _remembering(node, replace(node, labels=labels), now, keep)


def _remembering(old: NodeRow, new: NodeRow, now: datetime, keep: timedelta) -> NodeRow:
    info = new.offers
    held = {(each.kind, each.name, each.value, each.amount): each for each in old.gone}
    held.update({(each.kind, each.name, each.value, each.amount): each for each in _lost(old.offers, info, now)})
    gone = [each for each in held.values() if each.at > now - keep and not _has(info, each)]
    gone.sort(key=lambda each: each.at)
    return replace(new, gone=tuple(gone[-MOST_GONE:]))


def last_seen(requirement: Requirement, node: NodeRow) -> datetime | None:
    """Return when the node last had everything that `requirement` asks for: `ALWAYS` if it has it now.

    Where several things went, the one that went first decides. None: something was never there, or long ago.
    """
    soonest = ALWAYS
    for at in _times(requirement, node):
        if at is None:
            return None
        soonest = min(soonest, at)
    return soonest


def waited_for(requirement: Requirement, node: NodeRow, now: datetime, *, keep: timedelta = KEPT) -> bool:
    """Whether a node that cannot run the class was able to so recently that it refuses only for now."""
    if not node.gone:
        return False
    at = last_seen(requirement, node)
    return at is not None and at > now - keep


def _times(requirement: Requirement, node: NodeRow) -> Iterator[datetime | None]:
    info = node.info
    yield _plugin(ENGINE, requirement.engine, node)
    for storage in requirement.storages:
        yield _plugin(STORAGE, storage, node)
    if requirement.publisher:
        yield _plugin(PUBLISHER, requirement.publisher, node)
    for constraint in requirement.constraints:
        if not is_soft(constraint):
            yield _label(constraint, node)
    for path in requirement.local:
        yield _path(path, node)
    for wanted in requirement.data:
        yield _data(wanted, node)
    for name, need, have in zip(AMOUNTS, requirement.resources.vector(), info.capacity.vector(), strict=True):
        if need > have and need:
            yield _latest(each.at for each in node.gone if each.kind == name and each.amount >= need)


def _plugin(kind: str, name: str, node: NodeRow) -> datetime | None:
    if name in _names(node.info, kind):
        return ALWAYS
    return _latest(each.at for each in node.gone if each.kind == kind and each.name == name)


def _path(path: LocalPath, node: NodeRow) -> datetime | None:
    root = missing_root(path, node.info.missing_paths)
    if not root:
        return ALWAYS
    return _latest(each.at for each in node.gone if each.kind == PATH and each.name == root)


def _data(wanted: DataWanted, node: NodeRow) -> datetime | None:
    if any(each.name == wanted.name and (each.read_write or not wanted.writes) for each in node.info.data):
        return ALWAYS
    return _latest(each.at for each in node.gone if each.kind == DATA and each.name == wanted.name)


def _label(constraint: Constraint, node: NodeRow) -> datetime | None:
    if satisfied(constraint, node.offers.labels):
        return ALWAYS
    return _latest(
        each.at
        for each in node.gone
        if each.kind == LABEL
        and each.name == constraint.key
        and satisfied(constraint, {} if each.value is None else {each.name: each.value})
    )


def _latest(times: Iterable[datetime]) -> datetime | None:
    return max(times, default=None)


def _lost(old: NodeInfo, new: NodeInfo, now: datetime) -> Iterator[Gone]:
    for kind in (ENGINE, STORAGE, PUBLISHER):
        for name in sorted(_names(old, kind) - _names(new, kind)):
            yield Gone(kind, name, now)
    for path in sorted(new.missing_paths - old.missing_paths):
        yield Gone(PATH, path, now)
    for name in sorted({each.name for each in old.data} - {each.name for each in new.data}):
        yield Gone(DATA, name, now)
    for key in sorted(old.labels.keys() | new.labels.keys()):
        if old.labels.get(key) != new.labels.get(key):
            yield Gone(LABEL, key, now, value=old.labels.get(key))
    for name, before, after in zip(AMOUNTS, old.capacity.vector(), new.capacity.vector(), strict=True):
        if before > after:
            yield Gone(name, "", now, amount=before)


def _has(info: NodeInfo, gone: Gone) -> bool:
    """Whether what was lost is back."""
    if gone.kind == LABEL:
        return info.labels.get(gone.name) == gone.value
    if gone.kind in AMOUNTS:
        return info.capacity.vector()[AMOUNTS.index(gone.kind)] >= gone.amount
    if gone.kind == PATH:
        return gone.name not in info.missing_paths
    if gone.kind == DATA:
        return any(each.name == gone.name for each in info.data)
    return gone.name in _names(info, gone.kind)


def _names(info: NodeInfo, kind: str) -> set[str]:
    plugins = {ENGINE: info.engines, STORAGE: info.storages, PUBLISHER: info.publishers}.get(kind, ())
    return {plugin.name.lower() for plugin in plugins}
