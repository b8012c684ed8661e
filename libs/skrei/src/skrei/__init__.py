"""Compute where the data is: the command line and the client of Skrei.

`Client` (blocking) and `AsyncClient`, the values that a job is made of and the errors are loaded on first use, so that
the light paths of the command line never pay for an HTTP library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skrei.client import AsyncClient as AsyncClient
    from skrei.errors import ApiError as ApiError
    from skrei.errors import Busy as Busy
    from skrei.errors import Closed as Closed
    from skrei.errors import Conflict as Conflict
    from skrei.errors import Forbidden as Forbidden
    from skrei.errors import InvalidRequest as InvalidRequest
    from skrei.errors import JobFailed as JobFailed
    from skrei.errors import NotFound as NotFound
    from skrei.errors import NotSupported as NotSupported
    from skrei.errors import Rejected as Rejected
    from skrei.errors import Unauthorized as Unauthorized
    from skrei.errors import Unreachable as Unreachable
    from skrei.errors import WaitTimeout as WaitTimeout
    from skrei.job_handle import AsyncJobHandle as AsyncJobHandle
    from skrei.model import Docker as Docker
    from skrei.model import Engine as Engine
    from skrei.model import Input as Input
    from skrei.model import JobSpec as JobSpec
    from skrei.model import Task as Task
    from skrei.model import Wasm as Wasm
    from skrei.sync import Client as Client
    from skrei.sync_handle import JobHandle as JobHandle
    from skrei.tagged import NotModified as NotModified
    from skrei.tagged import Tagged as Tagged
    from skrei_domain.errors import SkreiError as SkreiError

__version__ = "0.5.0"

_ERRORS = (
    *("ApiError", "Busy", "Closed", "Conflict", "Forbidden", "InvalidRequest", "JobFailed", "NotFound", "NotSupported"),
    *("Rejected", "Unauthorized", "Unreachable", "WaitTimeout"),
)
_WHERE = {
    "AsyncClient": "skrei.client",
    "AsyncJobHandle": "skrei.job_handle",
    "Client": "skrei.sync",
    "JobHandle": "skrei.sync_handle",
    "NotModified": "skrei.tagged",
    "SkreiError": "skrei_domain.errors",
    "Tagged": "skrei.tagged",
    **dict.fromkeys(("Docker", "Engine", "Input", "JobSpec", "Task", "Wasm"), "skrei.model"),
    **dict.fromkeys(_ERRORS, "skrei.errors"),
}
__all__ = ["__version__", *_WHERE]  # noqa: PLE0604 - the names are texts


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it, once somebody asks."""
    if name not in _WHERE:
        raise AttributeError(f"module 'skrei' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    """The public names, also those that are not loaded yet: what an interpreter completes."""
    return sorted({*globals(), *_WHERE})
