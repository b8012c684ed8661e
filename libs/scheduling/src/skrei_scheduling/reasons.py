"""Why one node refuses a class of work, in words: one function for each filter."""

from skrei_domain.constraints import Constraint
from skrei_domain.ids import short
from skrei_domain.lifecycle import Intake
from skrei_domain.node import DATA, ENGINE, SERVICE, STORAGE
from skrei_domain.node_results import OF_PATHS
from skrei_domain.paths import hands_out, missing_root, read_entries
from skrei_domain.resources import Resources
from skrei_scheduling.nodes import NodeMatrix
from skrei_scheduling.ranking import is_soft
from skrei_scheduling.rows import NodeRow, Requirement

DATA_SHOWN = 5
"""Data sets, or services, of a node in one reason: `skrei node list --show data,services` has them all."""


def intake(_requirement: Requirement, node: NodeRow, _matrix: NodeMatrix) -> str:
    """Its operator lets nothing new onto it."""
    what = "is draining" if node.intake is Intake.DRAINING else "is cordoned"
    return f"node {what}: nothing new is placed on it until `skrei node uncordon {short(node.id)}`"


def engine(requirement: Requirement, node: NodeRow, _matrix: NodeMatrix) -> str:
    """It lacks the engine."""
    have = [plugin.name for plugin in node.info.engines]
    return _lacks(requirement.engine, have) + _why(node, ENGINE, [requirement.engine])


def storages(requirement: Requirement, node: NodeRow, _matrix: NodeMatrix) -> str:
    """It lacks a storage."""
    have = [plugin.name for plugin in node.info.storages]
    missing = sorted(requirement.storages - {name.lower() for name in have})
    return _lacks(", ".join(missing), have) + _why(node, STORAGE, missing)


def publisher(requirement: Requirement, node: NodeRow, _matrix: NodeMatrix) -> str:
    """It lacks the publisher."""
    if requirement.publisher == OF_PATHS:  # what every agent has that is new enough
        return "its agent is of an earlier version, which cannot leave single result paths (localDirectory): upgrade it"
    return _lacks(requirement.publisher, [plugin.name for plugin in node.info.publishers])


def labels(requirement: Requirement, _node: NodeRow, _matrix: NodeMatrix) -> str:
    """Its labels do not match."""
    return f"labels do not match {selector(requirement)}"


def local(requirement: Requirement, node: NodeRow, _matrix: NodeMatrix) -> str:
    """A path is not there, or it does not hand it out."""
    missing = node.info.missing_paths
    if away := next((each for each in requirement.local if missing_root(each, missing)), None):
        return f"{away.path} is not on this node now"
    entries = read_entries(node.info.local_paths)
    trusts = requirement.owner and node.info.owner_paths
    refused = next(each for each in requirement.local if not hands_out(each, entries, owner_paths=trusts))
    below, words, _ = refused.path.partition("/{")  # a place that each execution has for itself
    entry = f"{below}/**" if words else refused.path
    entry += ":rw" if refused.writes else ""
    doing = " to be written" if refused.writes else ""
    return f"does not hand out {refused.path}{doing}; `skrei serve --allow-local '{entry}'` on that node would allow it"


def data(requirement: Requirement, node: NodeRow, _matrix: NodeMatrix) -> str:
    """It lacks a data set, or lets nobody write it."""
    has = {each.name: each.read_write for each in node.info.data}
    name, writes = next(each for each in requirement.data if each.name not in has or (each.writes and not has[each[0]]))
    away = next((each.reason for each in node.info.absent if (each.kind, each.name) == (DATA, name)), "")
    if writes and name in has:
        return f"lets data set {name} be read, not written; `skrei node data add {name} PATH:rw` on it would allow that"
    if away:
        return f"does not have data set {name} now: {away}"
    return f"does not have data set {name}" + (f", only {', '.join(sorted(has)[:DATA_SHOWN])}" if has else "")


def capacity(requirement: Requirement, node: NodeRow, _matrix: NodeMatrix) -> str:
    """The work is larger than it."""
    return "job requires more " + _excess(requirement.resources, node.info.capacity, "the maximum available")


def room(requirement: Requirement, node: NodeRow, matrix: NodeMatrix) -> str:
    """It is full."""
    return "node is busy: job requires more " + _excess(requirement.resources, matrix.room(node.id), "is free")


def uses(requirement: Requirement, node: NodeRow, matrix: NodeMatrix) -> str:
    """It reaches nothing of a service."""
    row = matrix.row_of[node.id]
    namespace, name = next(each for each in requirement.uses if not matrix.reaches(each, row))
    if away := next((each.reason for each in node.info.absent if (each.kind, each.name) == (SERVICE, name)), ""):
        return f"does not have service {name} now: {away}"
    if matrix.services.any((namespace, name)):
        return (
            f"does not reach service {name}, whose ports are open on other nodes' loopback alone; "
            "SKREI_PORT_ADDRESS on those nodes opens them to others"
        )
    has = sorted(matrix.said[row].services)
    return f"does not have service {name}" + (f", only {', '.join(has[:DATA_SHOWN])}" if has else "")


def cached(requirement: Requirement, node: NodeRow, matrix: NodeMatrix) -> str:
    """An input that has to be there is not in its cache."""
    row = matrix.row_of[node.id]
    target = next(each.target for each in requirement.cached if not matrix.cached.has(row, *each.keys))
    return f"does not have the input at {target} in its cache (Locality: required)"


def ports(requirement: Requirement, node: NodeRow, matrix: NodeMatrix) -> str:
    """A port that is wanted by its number is taken."""
    taken = matrix.ports.holders(matrix.row_of[node.id], requirement.ports)
    return " and ".join(f"port {port} is in use on it by job {short(job_id)}" for port, job_id in taken)


def selector(requirement: Requirement) -> str:
    """Return the hard constraints as people write them: `region=eu, disk in (nvme,ssd)`."""
    return ", ".join(_written(each) for each in requirement.constraints if not is_soft(each))


def _written(constraint: Constraint) -> str:
    values = ",".join(constraint.values)
    match constraint.operator:
        case "exists":
            return constraint.key
        case "!":
            return f"!{constraint.key}"
        case "in" | "notin":
            return f"{constraint.key} {constraint.operator} ({values})"
        case "gt" | "lt":
            return f"{constraint.key} {'>' if constraint.operator == 'gt' else '<'} {values}"
        case operator:
            return f"{constraint.key}{operator}{values}"


def _lacks(wanted: str, have: list[str]) -> str:
    return f"does not support {wanted}" + (f", only {', '.join(sorted(have))}" if have else "")


def _why(node: NodeRow, kind: str, missing: list[str]) -> str:
    """Return what a node itself says of what it lacks: it is installed there, and does not find what it needs."""
    wanted = {name.lower() for name in missing}
    said = [each.reason for each in node.info.absent if each.kind == kind and each.name.lower() in wanted]
    return f": {'; '.join(said)}" if said else ""


def _excess(wanted: Resources, room: Resources, tail: str) -> str:
    names = ("CPU", "memory", "disk", "GPUs")
    amounts = zip(names, wanted.vector(), room.vector(), strict=True)
    return " and ".join(
        f"{name} ({_amount(name, need)}) than {tail} ({_amount(name, max(have, 0))})"
        for name, need, have in amounts
        if need > have and need
    )


def _amount(name: str, units: int) -> str:
    if name == "CPU":
        return f"{units / 1000:g}"
    if name == "GPUs":
        return str(units)
    for suffix, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if units >= size:
            return f"{units / size:.4g} {suffix}"
    return f"{units} B"
