"""How jobs, what they have, and nodes are named on the command line.

A job by an id, a prefix, a name, or `-` for the last; a node by an id, a prefix or a name.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from skrei import calls, state
from skrei.calls.call import Call
from skrei.cli.ask import Ask
from skrei.cli.grammar import nearest
from skrei.errors import NotFound, Rejected
from skrei.job_parts import Result
from skrei.views import Job

T = TypeVar("T")

LAST = "-"
MOST_NAMED = 10
"""Tasks or nodes that a message names."""


def job_named(text: str, endpoint: str) -> str:
    """Return what to ask the API for. Raises Rejected for `-` where no job was submitted from here yet."""
    if text != LAST:
        return text
    last = state.last_job(endpoint)
    if not last:
        raise Rejected(
            f"`-` is the last job, and none was submitted to {endpoint} from here.", hint="skrei list shows every job."
        )
    return last


def job_and_path(text: str) -> tuple[str, str]:
    """Return the job and the path inside its results that `JOB/PATH` names; a job alone has no path."""
    job, _, path = text.partition("/")
    return job, path.strip("/")


def task_named(typed: str, job: Job) -> str:
    """Return a task's name. Raises Rejected, with the nearest, where the job has no task of that name."""
    if typed in job.tasks:
        return typed
    raise Rejected(f"The job has no task {typed!r}.", hint=_meant(typed, "Its tasks", job.tasks))


def node_named(typed: str, found: Sequence[Result]) -> str:
    """Return the id of a node among those that left something, by its name, its id or the beginning of that.

    Raises Rejected, with the nearest, where there is none, or more than one.
    """
    exact = {one.node_id for one in found if typed in (one.node_name, one.node_id)}
    meant = exact or {one.node_id for one in found if one.node_id.startswith(typed)}
    if meant:
        return _only(typed, meant)
    names = dict.fromkeys(one.node for one in found)
    raise Rejected(f"No node {typed!r} has left a result.", hint=_meant(typed, "Nodes with one", names))


def of_node(ask: Ask, typed: str, call: Callable[[str], Call[T]]) -> T:
    """Send the call for a node that is named by its id, the beginning of that, or its name.

    Raises Rejected for a name that several nodes have, else what the API says.
    """
    try:
        return ask.send(call(typed))
    except NotFound:
        named = {one.id for one in ask.every(calls.nodes()) if one.labels.get("name") == typed}
        if not named:
            raise
        return ask.send(call(_only(typed, named)))


def _only(typed: str, ids: Iterable[str]) -> str:
    found = sorted(ids)
    if len(found) > 1:
        raise Rejected(f"{len(found)} nodes are named {typed!r}.", hint=f"Give an id: {', '.join(found)}")
    return found[0]


def _meant(typed: str, what: str, known: Iterable[str]) -> str:
    names = list(known)
    near = nearest(typed, names)
    more = f", and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (f"Did you mean {near}? " if near else "") + f"{what}: {', '.join(names[:MOST_NAMED]) or 'none'}{more}"
