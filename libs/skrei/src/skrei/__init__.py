"""Compute where the data is: the command line and the client of Skrei.

`Client` (blocking) and `AsyncClient` are loaded on first use, so that the light paths of the command line never
pay for an HTTP library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skrei.client import AsyncClient as AsyncClient
    from skrei.follow import follow as follow
    from skrei.sync import Client as Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__", "follow"]

_WHERE = {"AsyncClient": "skrei.client", "Client": "skrei.sync", "follow": "skrei.follow"}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it, once somebody asks."""
    if name not in _WHERE:
        raise AttributeError(f"module 'skrei' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
