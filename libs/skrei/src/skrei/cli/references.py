"""How jobs and what they have are named on the command line; a job by an id, a prefix, a name, or `-` for the last."""

from collections.abc import Iterable, Sequence

from skrei import state
from skrei.cli.grammar import nearest
from skrei.errors import Rejected
from skrei.job_parts import Result
from skrei.views import Job

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
    if len(meant) == 1:
        return meant.pop()
    if meant:
        raise Rejected(f"{len(meant)} nodes are named {typed!r}.", hint=f"Give an id: {', '.join(sorted(meant))}")
    names = dict.fromkeys(one.node for one in found)
    raise Rejected(f"No node {typed!r} has left a result.", hint=_meant(typed, "Nodes with one", names))


def _meant(typed: str, what: str, known: Iterable[str]) -> str:
    names = list(known)
    near = nearest(typed, names)
    more = f", and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (f"Did you mean {near}? " if near else "") + f"{what}: {', '.join(names[:MOST_NAMED]) or 'none'}{more}"
