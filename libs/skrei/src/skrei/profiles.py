"""Profiles: APIs that this user works with, by name, each with its token; one of them is the current one.

One JSON file, `profiles.json` in $XDG_CONFIG_HOME/skrei (else ~/.config/skrei), readable by its owner alone, replaced
whole.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from skrei.errors import NoPlace, Rejected

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAMING = ("SKREI_PROFILE", "BACALHAU_PROFILE")


@dataclass(frozen=True, slots=True)
class Profile:
    """One API: its address, what proves who we are there, and how it is talked to."""

    name: str
    endpoint: str
    description: str = ""
    token: str = ""
    timeout_seconds: float = 0.0
    insecure: bool = False
    """Whether its certificate is not looked at."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """All of them by name, and the name of the current one; empty where none is."""

    known: Mapping[str, Profile]
    current: str = ""

    def named(self, name: str) -> Profile:
        """Return one. Raises Rejected where there is none of that name."""
        found = self.known.get(name)
        if found is None:
            import difflib

            near = next(iter(difflib.get_close_matches(name, self.known, n=1)), "")
            hint = f"Did you mean {near}? " if near else ""
            raise Rejected(f"There is no profile {name!r}.", hint=f"{hint}skrei profile list shows what there is.")
        return found

    def with_(self, profile: Profile, *, select: bool = False) -> "Profiles":
        """Return them with one more, or another in its place."""
        return Profiles({**self.known, profile.name: profile}, profile.name if select else self.current)

    def without(self, name: str) -> "Profiles":
        """Return them without one. Raises Rejected where there is none of that name."""
        self.named(name)
        left = {key: value for key, value in self.known.items() if key != name}
        return Profiles(left, "" if self.current == name else self.current)

    def select(self, name: str) -> "Profiles":
        """Return them with another current one. Raises Rejected where there is none of that name."""
        return replace(self, current=self.named(name).name)


def checked_name(name: str) -> str:
    """Return a name that a profile may have. Raises Rejected."""
    if not NAME.fullmatch(name):
        raise Rejected(f"{name!r} is no name for a profile.", hint="Letters, digits, `.`, `_` and `-`, at most 64.")
    return name


def place() -> Path:
    """Return the file; it need not be there."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(base if base.startswith("/") else "~/.config").expanduser() / "skrei" / "profiles.json"


def load() -> Profiles:
    """Return what there is; none where there is no file.

    Raises Rejected for a file that cannot be read as one: to take it for empty would let the next save wipe it.
    """
    file = place()
    try:
        told = json.loads(file.read_text("utf-8"))
        known = {str(name): _profile(str(name), one) for name, one in told.get("profiles", {}).items()}
        current = str(told.get("current") or "")
    except FileNotFoundError:
        return Profiles({})
    except OSError as error:
        raise Rejected(f"{file} cannot be read: {error.strerror}.", hint="It holds your profiles.") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise Rejected(
            f"{file} is damaged: it holds no profiles that can be read.",
            hint="Mend it (it is JSON), or move it away and save your profiles again.",
        ) from error
    return Profiles(known, current if current in known else "")


def store(profiles: Profiles) -> None:
    """Keep them. Raises NoPlace where they cannot be written."""
    file = place()
    half = file.with_name(f"{file.name}.{os.getpid()}")
    told = {"current": profiles.current, "profiles": {name: _told(one) for name, one in profiles.known.items()}}
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
            json.dump(told, opened, indent=1)
        half.replace(file)
    except OSError as error:
        raise NoPlace(
            f"{file} cannot be written: {error.strerror}.", hint="Name another place in XDG_CONFIG_HOME."
        ) from error


def named(name: str) -> Profile:
    """Return the profile of a name. Raises Rejected."""
    return load().named(name)


def meant(environ: Mapping[str, str]) -> Profile | None:
    """Return the profile that the environment names, else the current one. Raises Rejected for an unknown name."""
    name = next((environ[key] for key in NAMING if environ.get(key)), "")
    profiles = load()
    if name:
        return profiles.named(name)
    return profiles.known.get(profiles.current)


def of_endpoint(endpoint: str) -> Profile | None:
    """Return the profile of an address, the current one before others."""
    profiles = load()
    found = [one for one in profiles.known.values() if one.endpoint == endpoint]
    return next((one for one in found if one.name == profiles.current), next(iter(found), None))


def _profile(name: str, told: Mapping[str, Any]) -> Profile:
    return Profile(
        name=name,
        endpoint=str(told["endpoint"]),
        description=str(told.get("description") or ""),
        token=str(told.get("token") or ""),
        timeout_seconds=float(told.get("timeout_seconds") or 0),
        insecure=bool(told.get("insecure")),
    )


def _told(profile: Profile) -> dict[str, Any]:
    return {key: value for key, value in asdict(profile).items() if key != "name" and value}
