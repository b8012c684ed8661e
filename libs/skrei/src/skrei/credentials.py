"""Who we are for an API: the token that was given, or the file that holds it, or its profile, or an own stack's."""

import contextlib
import os
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from skrei.endpoint import is_loopback
from skrei.errors import Rejected
from skrei.profiles import of_endpoint
from skrei.state import data_folders, stack_state

API_KEY = "SKREI_API_KEY"
API_KEYS = (API_KEY, "BACALHAU_API_KEY")
USER_NAMES = ("BACALHAU_API_USERNAME", "BACALHAU_API_PASSWORD")
API_KEY_FILE = "SKREI_API_KEY_FILE"
"""A file that holds the token: what secret stores of CI systems mount, and what no process list shows."""
MOST_TOKEN_BYTES = 64 * 1024
"""Of such a file: far above any token, far below what one reads by mistake."""


def headers_for(endpoint: str) -> dict[str, str]:
    """Return the headers that authenticate a request to `endpoint`; none where there is nothing to show.

    Raises Rejected where a token's file is named that holds none: asking as nobody would be told as something else.
    """
    said = next((os.environ[name].strip() for name in API_KEYS if os.environ.get(name, "").strip()), "")
    token = said or token_in_file(os.environ.get(API_KEY_FILE, ""))
    user, password = (os.environ.get(name, "") for name in USER_NAMES)
    if not token and user:
        return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}
    profile = of_endpoint(endpoint)
    token = token or (profile.token if profile is not None else "") or owner_token(endpoint)
    return {"Authorization": f"Bearer {token}"} if token else {}


def token_in_file(named: str) -> str:
    """Return the token in a file; no name is no token. Raises Rejected for a file that holds none."""
    if not named:
        return ""
    hint = f"--token-file and {API_KEY_FILE} name a file with nothing but the token in it."
    try:
        with Path(named).expanduser().open("rb") as file:
            token = file.read(MOST_TOKEN_BYTES).decode("ascii").strip()
    except OSError as error:
        raise Rejected(f"The token's file {named} cannot be read: {error.strerror}.", hint=hint) from error
    except UnicodeDecodeError as error:
        raise Rejected(f"{named} holds no token.", hint=hint) from error
    if not token or any(not "!" <= letter <= "~" for letter in token):
        raise Rejected(f"{named} holds no token.", hint=hint)
    return token


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
