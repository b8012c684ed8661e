"""`skrei auth …`: as whom a command asks, and what the server lets in."""

import os
from collections.abc import Iterator

from skrei import calls
from skrei.cli import render
from skrei.cli.ask import Ask
from skrei.cli.grammar import Command, Values
from skrei.errors import ApiError, Rejected, Unreachable

INFO = Command("auth info", "Tell as whom this command line asks, and what the server offers.", "skrei.cli.auth:info")
HASH_PASSWORD = Command(
    "auth hash-password", "Not there yet: accounts with passwords come later.", "skrei.cli.auth:hash_password"
)
SSO_LOGIN = Command("auth sso login", "Log in where the server offers it.", "skrei.cli.auth:sso")
SSO_LOGOUT = Command("auth sso logout", "Forget a login.", "skrei.cli.auth:sso")
SSO_TOKEN = Command("auth sso token", "Print the token of a login.", "skrei.cli.auth:sso")


def info(values: Values) -> None:
    """Print what proves who we are, and whether the server supports logins."""
    with Ask(values.text("api")) as ask:
        endpoint = ask.endpoint
        try:
            offered = bool(_provider(ask))
        except (ApiError, Unreachable) as error:
            render.note(f"{error.message}")
            offered = False
    for line in info_lines(endpoint, offered):
        render.line(line)


def info_lines(endpoint: str, offered: bool) -> Iterator[str]:
    """Yield what `auth info` prints; secrets are never told, only whether they are set."""
    from skrei.credentials import API_KEYS, USER_NAMES, own_stack
    from skrei.profiles import of_endpoint

    keys = any(os.environ.get(name) for name in API_KEYS)
    user, password = (bool(os.environ.get(name)) for name in USER_NAMES)
    yield f"Target environment: {endpoint}"
    yield ""
    yield "Environment Variables:"
    yield f"  API Key: {_set(keys)}"
    yield f"  Username: {_set(user)}"
    yield f"  Password: {_set(password)}"
    profile = of_endpoint(endpoint)
    if profile is not None:
        yield f"Profile {profile.name}: {'with' if profile.token else 'without'} a token"
    if own_stack(endpoint) is not None:
        yield "This user's own stack: its owner token is shown by itself"
    yield ""
    yield "Node SSO Authentication:"
    yield "  Server supports SSO login" if offered else "  Server does not support SSO login"
    if keys or user:
        yield ""
        yield "Note: Environment variables take precedence over other authentication mechanisms including SSO."
        if offered:
            yield "To use SSO login, please unset Auth related environment variables first."


def hash_password(values: Values) -> None:
    """Say that there is nothing yet that a hash could be for."""
    raise Rejected(
        "Skrei has no accounts with passwords yet.",
        hint="Callers show a token: skrei auth info tells which; docs/SECURITY.md says who may do what.",
    )


def sso(values: Values) -> None:
    """Say what the server offers: no server of Skrei offers logins yet."""
    with Ask(values.text("api")) as ask:
        provider = _provider(ask)
        told = "Server does not support SSO login" if not provider else f"{provider} cannot be used from here yet"
        raise Rejected(
            f"{told} ({ask.endpoint}).", hint="Show a token instead: SKREI_API_KEY, --token-file, or a profile."
        )


def _provider(ask: Ask) -> str:
    config = ask.send(calls.about("authconfig")).get("Config") or {}
    return str(config.get("ProviderID") or config.get("providerId") or "") if isinstance(config, dict) else ""


def _set(there: bool) -> str:
    return "Set" if there else "Not Set"
