"""A call of the API as a value, and what the reading of answers shares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from skrei.views import Document, Page, items

T = TypeVar("T")

JOBS = "/orchestrator/jobs"
NODES = "/orchestrator/nodes"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request below /api/v1. `repeatable`: whether sending it twice does what sending it once does."""

    method: str
    path: str
    read: Callable[[Document], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Document | None = None
    repeatable: bool = True

    def once(self) -> "Call[T]":
        """Return it as a call that is sent once, whatever is answered."""
        return replace(self, repeatable=False)

    def after(self, next_token: str) -> "Call[T]":
        """Return it as the call for the page that a token begins."""
        return replace(self, query={**self.query, "next_token": next_token})


def job_path(job_id: str) -> str:
    """Return the path of a job; a slash in a name stays part of the name."""
    return f"{JOBS}/{quote(job_id, safe='')}"


def node_path(node_id: str) -> str:
    """Return the path of a node."""
    return f"{NODES}/{quote(node_id, safe='')}"


def flag(value: bool) -> str:
    """Return a truth value as the API reads it."""
    return "true" if value else "false"


def if_set(value: bool) -> str:
    """Return a truth value that is only asked for where it is set."""
    return flag(True) if value else ""


def page_of(read: Callable[[Document], T], field_name: str = "Items") -> Callable[[Document], Page[T]]:
    """Return how a page is read whose items are read by `read`."""

    def page(answer: Document) -> Page[T]:
        return Page(tuple(map(read, items(answer.get(field_name)))), str(answer.get("NextToken") or ""), answer)

    return page


def whole(answer: Document) -> Document:
    """Read an answer as it is."""
    return answer
