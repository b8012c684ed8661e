"""What is asked of the server itself."""

from typing import Literal, TypeAlias

from skrei.calls.call import Call, whole
from skrei.views import Document

About: TypeAlias = Literal["alive", "version", "node", "config", "authconfig"]


def alive() -> Call[bool]:
    """Whether the API says that it is well."""
    return Call("GET", "/agent/alive", lambda answer: answer.get("Status") == "OK")


def version() -> Call[Document]:
    """What the API says of its build."""
    return about("version")


def collect(*, dry_run: bool) -> Call[Document]:
    """What jobs left and may go now, by kind; it goes unless this is a dry run."""
    return Call("POST", "/orchestrator/gc", whole, body={"DryRun": dry_run}, repeatable=dry_run)


def about(what: About) -> Call[Document]:
    """What the API says of itself, as it says it."""
    return Call("GET", f"/agent/{what}", whole)
