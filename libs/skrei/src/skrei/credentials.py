"""Who we are for an API: the token that was given, else that of an own stack on this machine."""

import contextlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from skrei.endpoint import is_loopback
from skrei.state import data_folders, stack_state

API_KEY = "SKREI_API_KEY"


def headers_for(endpoint: str) -> dict[str, str]:
    """Return the headers that authenticate a request to `endpoint`; none where there is nothing to show."""
    token = os.environ.get(API_KEY, "").strip() or owner_token(endpoint)
    return {"Authorization": f"Bearer {token}"} if token else {}


def owner_token(endpoint: str) -> str:
    """Return the owner's token of the stack that answers at `endpoint`, where that is ours to read."""
    stack = own_stack(endpoint)
    if stack is None:
        return ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (stack[0] / "keys" / "owner.token").read_text("ascii").strip()
    return ""


def own_stack(endpoint: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the data folder and the state of the running stack whose API is `endpoint`, if it is one of ours."""
    if not is_loopback(endpoint):
        return None
    for folder in data_folders():
        state = stack_state(folder)
        if state is not None and _port(str(state.get("api_url", ""))) == _port(endpoint):
            return folder, state
    return None


def _port(url: str) -> int:
    try:
        parts = urlsplit(url)
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return 0
