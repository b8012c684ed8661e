"""How the server is set, told without its secrets: in the words that clients of the original read, and in ours."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from skrei_orchestrator_api.challenge import METHOD
from skrei_orchestrator_api.settings import Settings

STARS = "********"
"""What stands in the place of a secret."""


def told(settings: Settings) -> dict[str, Any]:
    """Return the settings; what is empty or false is left out of the original's part, as there."""
    hosts = settings.api_host.split(",")
    return {
        "API": {
            "Host": hosts[0].strip(),
            "Port": settings.api_port,
            "Auth": {"Methods": {METHOD: {"Type": "challenge"}}},
        },
        "NameProvider": "puuid",
        "Orchestrator": {"Enabled": True} | ({"Auth": {"Token": STARS}} if settings.join_token_file else {}),
        "Logging": {"Level": settings.log_level},
        "Skrei": {name: _plain(getattr(settings, name)) for name in type(settings).model_fields},
    }


def _plain(value: object) -> Any:
    if isinstance(value, SecretStr):
        return STARS
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str) and "@" in value:
        return _without_user(value)
    return value


def _without_user(url: str) -> str:
    """Return an address without the name and password that may stand in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return STARS
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{STARS}@{host}")) if parts.netloc else STARS
