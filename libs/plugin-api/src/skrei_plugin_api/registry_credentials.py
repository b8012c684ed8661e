"""Registry credentials of this node's owner, as `docker login` keeps them; never from a spec, never into a log."""

import asyncio
import base64
import binascii
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skrei_domain.errors import SkreiError
from skrei_plugin_api.image_reference import DEFAULT_REGISTRY, Reference

HUB_KEY = "https://index.docker.io/v1/"
"""Under this the public hub's credentials are kept, for historical reasons."""
HELPER_SECONDS = 10.0
"""A credential helper asks a keychain; one that asks a person instead would wait for ever."""
MOST_BYTES = 1024 * 1024
"""A config file or a helper's answer is a few KiB."""


class CredentialsBroken(SkreiError):
    """The node's credentials for a registry cannot be read."""

    code = "credentials-broken"


Auth = Mapping[str, str]
"""What the daemon hands to a registry: username and password, or an identity token."""


def config_file(named: str, environ: Mapping[str, str]) -> Path:
    """Return where the docker command line keeps its settings, unless another file is named."""
    if named:
        return Path(named).expanduser()
    folder = environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path("~/.docker").expanduser()) / "config.json"


async def credentials(reference: Reference, named: str, environ: Mapping[str, str] | None = None) -> Auth | None:
    """Return what this node has for the registry of an image; None: it asks as nobody.

    Read anew each time: a `docker login` counts at once. Raises CredentialsBroken, without saying a secret.
    """
    environ = os.environ if environ is None else environ
    path = config_file(named, environ)
    config = _read(path, required=bool(named))
    for key in _keys(reference.registry):
        if helper := _helper(config, key):
            found = await _ask_helper(helper, key)
        else:
            found = _stored(config, key, path)
        if found is not None:
            return found
    if reference.registry == DEFAULT_REGISTRY and environ.get("DOCKER_USERNAME") and environ.get("DOCKER_PASSWORD"):
        return {"username": environ["DOCKER_USERNAME"], "password": environ["DOCKER_PASSWORD"]}
    return None


def _keys(registry: str) -> tuple[str, ...]:
    if registry == DEFAULT_REGISTRY:
        return (HUB_KEY, registry)
    return (registry, f"https://{registry}", f"http://{registry}")


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(MOST_BYTES))
    except FileNotFoundError as error:
        if not required:
            return {}
        raise CredentialsBroken(
            f"{path} is not there", hint="it is named by the node's docker_config option"
        ) from error
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise CredentialsBroken(
            f"the registry credentials in {path} cannot be read: {cause}",
            hint="write the file anew with `docker login`",
        ) from error
    return config if isinstance(config, dict) else {}


def _helper(config: Mapping[str, Any], key: str) -> str:
    helpers = config.get("credHelpers")
    named = helpers.get(key) if isinstance(helpers, dict) else None
    return str(named or config.get("credsStore") or "")


def _stored(config: Mapping[str, Any], key: str, path: Path) -> Auth | None:
    entries = config.get("auths")
    entry = entries.get(key) if isinstance(entries, dict) else None
    if not isinstance(entry, dict):
        return None
    if token := entry.get("identitytoken"):
        return {"identitytoken": str(token)}
    if entry.get("username") and entry.get("password"):
        return {"username": str(entry["username"]), "password": str(entry["password"])}
    if not entry.get("auth"):
        return None
    try:
        user, colon, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise CredentialsBroken(
            f"the entry for {key} in {path} is no `user:password` in base64",
            hint="write it anew with `docker login`",
        )
    return {"username": user, "password": password.rstrip("\0")}


async def _ask_helper(helper: str, key: str) -> Auth | None:
    program = f"docker-credential-{helper}"
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise CredentialsBroken(
            f"the credential helper {program} cannot be run: {error.strerror}",
            hint="install it, or take it out of the docker config.json of this node",
        ) from error
    try:
        async with asyncio.timeout(HELPER_SECONDS):
            said, _ = await process.communicate(key.encode())
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise CredentialsBroken(
            f"the credential helper {program} did not answer within {HELPER_SECONDS:g} s",
            hint="it must not ask a person on a node",
        ) from error
    if process.returncode != 0:  # it has nothing for this registry
        return None
    try:
        answer = json.loads(said[:MOST_BYTES])
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise CredentialsBroken(f"the credential helper {program} answered something else than credentials") from error
    return {"identitytoken": secret} if user == "<token>" else {"username": user, "password": secret}
