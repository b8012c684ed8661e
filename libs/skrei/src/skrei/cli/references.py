"""How jobs are named on the command line: an id, a prefix of one, a name, or `-` for the last one."""

from skrei import state
from skrei.errors import Rejected

LAST = "-"


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
