"""Which API a client talks to."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from skrei import profiles
from skrei.errors import Rejected

DEFAULT = "http://127.0.0.1:1234"
API = "/api/v1"
HOST_AND_PORT = re.compile(r"(?:[^:\[\]]+|\[[^\]]+\]):(?P<port>[0-9]+)")
NAMING = ("SKREI_API_URL", "BACALHAU_API_HOST", "BACALHAU_API_PORT")


def resolve(given: str | None, environ: Mapping[str, str]) -> str:
    """Return the endpoint's base URL: `given`, SKREI_API_URL, BACALHAU_API_HOST and _PORT, a profile, or the default.

    A host may also be a full URL, as Bacalhau's clients allow. The profile is the one that SKREI_PROFILE names, else
    the current one. The default is the API of this user's own stack where one runs, since it may have another port
    than the usual one.
    """
    if given:
        return checked(given)
    if url := environ.get("SKREI_API_URL"):
        return checked(url)
    host, port = environ.get("BACALHAU_API_HOST"), environ.get("BACALHAU_API_PORT")
    if host or port:
        return checked(of_parts(host or "", port or ""))
    profile = profiles.meant(environ)
    return checked(profile.endpoint) if profile is not None else _own() or DEFAULT


def of_parts(host: str, port: str, scheme: str = "http") -> str:
    """Return the address that a host and a port name, either of which may be empty; the host may say all of it.

    Raises Rejected where both name a port, and not the same.
    """
    if "://" in host:
        return host
    own = HOST_AND_PORT.fullmatch(host)
    if own is not None and port not in ("", own["port"]):
        raise Rejected(f"{host} names a port, and it is not {port}.", hint="Say the port once.")
    if own is not None:
        return f"{scheme}://{host}"
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{scheme}://{bracketed or '127.0.0.1'}:{port or 1234}"


def is_named(given: str | None, environ: Mapping[str, str]) -> bool:
    """Return whether anybody said which API is meant: a call, a variable, or a profile."""
    return bool(given) or any(environ.get(name) for name in NAMING) or profiles.meant(environ) is not None


def _own() -> str:
    from skrei.state import stack_state, usual_folder

    return str((stack_state(usual_folder()) or {}).get("api_url") or "")


def is_loopback(url: str) -> bool:
    """Return whether `url` names this machine; a proxy of the environment is no way to reach it."""
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def checked(url: str) -> str:
    """Return `url` without a trailing slash; a bare `host:port` gets `http://`."""
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Rejected(
            f"{url!r} is not the address of an API.", hint="An address looks like http://127.0.0.1:1234 or host:1234."
        )
    return full.rstrip("/").removesuffix(API)
