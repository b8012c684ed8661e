"""What a route takes and answers, said beside it: from these words `/openapi.json` and `/docs` are made.

A route is described by a decorator on its endpoint; its first sentence and its explanation are the docstring's. Shapes
are named here and lie in `openapi/`, which is loaded when somebody first asks for the document.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

Endpoint = TypeVar("Endpoint", bound=Callable[..., Awaitable[Any]])

EVERYWHERE = (400, 401, 403, 429, 503)
"""What the frame may answer to any request: see `frame`, `gate` and `problems`."""
WITH_A_BODY = (413,)

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter. `kind` is a JSON Schema type, or the words that are allowed."""

    name: str
    text: str
    kind: str | tuple[str, ...] = "string"
    example: Any = None
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Described:
    """A route's shapes, by name. `refusals` are the statuses beyond those that every route has."""

    answer: str = ""
    media: str = JSON
    body: str = ""
    body_required: bool = True
    query: tuple[Query, ...] = ()
    refusals: tuple[int, ...] = ()
    status: int = 200
    cached: bool = False
    hidden: bool = False

    @property
    def statuses(self) -> frozenset[int]:
        """Every status that the route may answer."""
        own = {self.status, *self.refusals, *EVERYWHERE}
        return frozenset(own | set(WITH_A_BODY if self.body else ()) | ({304} if self.cached else set()))


PerMethod: TypeAlias = dict[str, Described]


def described(told: Described | None = None, /, **fields: Any) -> Callable[[Endpoint], Endpoint]:
    """Say what an endpoint takes and answers."""
    words = told or Described(**fields)

    def put(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, "described", words)  # noqa: B010 - a function has no such attribute as far as types go
        return endpoint

    return put


def of(endpoint: object) -> Described | None:
    """Return what was said of an endpoint."""
    found = getattr(endpoint, "described", None)
    return found if isinstance(found, Described) else None


HIDDEN = Described(hidden=True)
"""A route of the stack's own processes: no part of the public document."""

NAMESPACE = Query(
    "namespace", "Where a name is looked for; `default` where empty. An id is found in any.", example="default"
)
LIMIT = Query("limit", "At most so many items; 0 or none: as many as one answer holds.", "integer", 10)
NEXT_TOKEN = Query("next_token", "The `NextToken` of the page before.", example="")
REVERSE = Query("reverse", "The other way round.", "boolean", False)
LABELS = Query("labels", "Label selectors, all of which must hold: `region=eu`, `disk in (ssd,nvme)`.", repeated=True)
VERSION = Query("job_version", "This version of the job; 0 or none: the current one.", "integer", 0)
ALL_VERSIONS = Query("all_job_versions", "Of every version of the job.", "boolean", False)
