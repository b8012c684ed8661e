"""What to do about an error whose sender did not say: in the words of the command line. Pure."""

from http import HTTPStatus

from skrei.errors import ApiError
from skrei_domain.errors import SkreiError

FLAGS = (
    ("Resources.CPU", "--cpu"),
    ("Resources.Memory", "--memory"),
    ("Resources.Disk", "--disk"),
    ("Resources.GPU", "--gpu"),
    ("Timeouts.TotalTimeout", "--timeout"),
    ("Timeouts.QueueTimeout", "--queue-timeout"),
    ("Engine.Params.Image", "IMAGE"),
    ("Engine.Params.WorkingDirectory", "--workdir"),
    (".Env", "--env"),
    (".ResultPaths", "--output"),
    (".InputSources", "--input"),
    (".Network.Domains", "--domain"),
    (".Network", "--network"),
    (".Publisher", "--publisher"),
    ("Constraints", "--constraints"),
    ("Labels", "--labels"),
    ("Namespace", "--namespace"),
    ("Name", "--name"),
    ("Count", "--count"),
)
"""Fields of a job, and the options of `docker run` and `wasm run` that say them; the first that fits."""


def with_remedy(error: SkreiError, command: str) -> SkreiError:
    """Return the error with what to do, where it has nothing to say of that itself."""
    if not error.hint and isinstance(error, ApiError):
        error.hint = _of_answer(error, command)
    return error


def _of_answer(error: ApiError, command: str) -> str:
    if error.status == HTTPStatus.NOT_IMPLEMENTED:
        return "This server does not do that yet; `skrei version` tells which one it is."
    if error.status == HTTPStatus.BAD_REQUEST:
        if not command.endswith(" run"):
            return f"All options: skrei {command} --help"
        flag = next((flag for field, flag in FLAGS if field in error.message.split(":")[0]), "")
        if command.startswith(("docker", "wasm")):
            return f"{f'{flag} says it. ' if flag else ''}All options: skrei {command} --help"
        return "Correct the file; `skrei job validate FILE` reads it without an API."
    if error.status == HTTPStatus.NOT_FOUND and command.startswith("node "):
        return "skrei node list shows what there is."
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "Try again in a moment; the log of `skrei serve` says more."
    return ""
