"""What each child is told: the contract between the supervisor and the services, all of it in their environment.

| name | api | scheduler | publisher | agent |
|---|---|---|---|---|
| SKREI_DATABASE_URL | x | x | | |
| SKREI_NATS_URL, SKREI_NATS_CREDS and SKREI_NATS_CA (files), SKREI_LOG_LEVEL, SKREI_API_URL | x | x | x | x |
| SKREI_HEALTH_LISTEN (a port for each, where one was named) | x | x | x | x |
| SKREI_TOKEN_KEY (a PEM file) | x | x | | |
| SKREI_TOKEN_PUBLIC_KEY (a PEM file), SKREI_INTERNAL_TOKEN_FILE | x | | x | |
| SKREI_RECEIPT_KEY (a PEM file) | | | x | |
| SKREI_RECEIPT_PUBLIC_KEY (a PEM file) | | x | | |
| SKREI_API_HOST, SKREI_API_PORT, SKREI_JOIN_URL | x | | | |
| SKREI_OWNER_TOKEN_FILE, SKREI_JOIN_TOKEN_FILE, SKREI_NODE_SIGNER | x | | | |
| SKREI_NATS_PUBLIC_URL (with a WebSocket port) | x | | | |
| SKREI_REVOKED_KEYS_FILE (with a nats-server of our own) | x | | | |
| SKREI_PUBLISHER_HOST, SKREI_PUBLISHER_PORT | | | x | |
| SKREI_PUBLISHER_URL | x | x | x | |
| SKREI_DATA_DIR (a folder of its own) | | | x | x |
| SKREI_NODE_ID, SKREI_ALLOW_LOCAL (`glob[:rw],glob`), SKREI_OWNER_PATHS (hybrid only) | | | | x |

SKREI_* variables of the supervisor's own environment (SKREI_API_URL aside, which names a client's server) and the
settings of its config file reach every child that may have them; what is listed here wins. Nothing secret is an
argument, and what is not marked is taken away.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from skrei_domain.errors import Unavailable
from skrei_embedded.births import ALLOCATOR
from skrei_embedded.processes import run_as
from skrei_kit.cluster_keys import Keys

SERVICES = ("skrei_orchestrator_api", "skrei_scheduler", "skrei_publisher", "skrei_compute_agent")
_ASK = """
import importlib, sys
from skrei_kit.settings import Settings
for service in sys.argv[1:]:
    for item in vars(importlib.import_module(service + ".settings")).values():
        if isinstance(item, type) and issubclass(item, Settings):
            print(*item.model_fields)
"""

OWN_STREAM_BYTES = 31 * 1024 * 1024
"""The most that each stream of our own nats-server holds: below 32 MiB the server keeps 4 MiB of one in memory, not 8,
and the disk of a laptop or an edge machine is not filled by what is told again anyway."""
_PREFIX = "SKREI_"
_GUARDED = {
    "DATABASE_URL": {"api", "scheduler"},
    "TOKEN_KEY": {"api", "scheduler"},
    "TOKEN_PUBLIC_KEY": {"api", "publisher"},
    "RECEIPT_KEY": {"publisher"},
    "RECEIPT_PUBLIC_KEY": {"scheduler"},
    "INTERNAL_TOKEN_FILE": {"api", "publisher"},
    "OWNER_TOKEN_FILE": {"api"},
    "JOIN_TOKEN_FILE": {"api"},
    "JOIN_TOKEN": set(),  # of the command line: what it was for is done before a child starts
    "NODE_SIGNER": {"api"},
    "REVOKED_KEYS_FILE": {"api"},
    "API_KEY": set(),  # of clients
    "NODE_ID": {"agent"},
    "OTLP_ENDPOINT": {"api", "scheduler"},
    "OTLP_HEADERS": {"api", "scheduler"},
    "TRACE_SHARE": {"api", "scheduler"},
    "OWNER_PATHS": {"agent"},
    "PARENT_PIPE": set(),
    "START_GATE": set(),
    "CONFIG": set(),  # its settings are handed on one by one: a service refuses keys of another
}


@dataclass(frozen=True)
class Addresses:
    """Where everything is; empty where this supervisor does not know."""

    database_url: str
    nats_url: str
    api_host: str
    api_port: int
    api_url: str
    publisher_host: str
    publisher_port: int
    publisher_url: str
    join_url: str = ""  # the API and the publisher's door as other machines reach them
    public_publisher_url: str = ""
    own_nats: bool = False
    public_nats_urls: str = ""  # ways to the transport, where there are several: `a,b`


def for_child(
    service: str,
    addresses: Addresses,
    keys: Keys | None,
    *,
    data_dir: Path,
    log_level: str,
    settings: Mapping[str, str],
    creds: Path | None,
    nats_ca: str = "",
    node_id: str = "",
    allow_local: tuple[str, ...] = (),
    owner_paths: bool = False,
    health_listen: str = "",
) -> dict[str, str]:
    """Return the environment of `api`, `scheduler`, `publisher` or `agent`."""
    told: dict[str, str] = {"NATS_URL": addresses.nats_url, "LOG_LEVEL": log_level, "API_URL": addresses.api_url}
    told["NATS_CREDS"] = str(creds) if creds else ""
    told["HEALTH_LISTEN"] = health_listen
    if nats_ca:
        told["NATS_CA"] = nats_ca
    if service in ("api", "scheduler"):
        told["DATABASE_URL"] = addresses.database_url
    if service != "agent":  # it is told with its hello
        told["PUBLISHER_URL"] = addresses.publisher_url
    if service == "scheduler":  # what it tells nodes, which may be elsewhere
        told["API_URL"] = addresses.join_url or addresses.api_url
        told["PUBLISHER_URL"] = addresses.public_publisher_url or addresses.publisher_url
    if keys is not None:
        told["TOKEN_KEY"] = str(keys.token_key)
        told["TOKEN_PUBLIC_KEY"] = str(keys.token_public_key)
        told["RECEIPT_KEY"] = str(keys.receipt_key)
        told["RECEIPT_PUBLIC_KEY"] = str(keys.receipt_public_key)
        told["INTERNAL_TOKEN_FILE"] = str(keys.internal_token)
        told["OWNER_TOKEN_FILE"] = str(keys.owner_token)
        told["JOIN_TOKEN_FILE"] = str(keys.join_token)
        told["NODE_SIGNER"] = str(keys.node_signer)
        told["REVOKED_KEYS_FILE"] = str(keys.revoked_file) if addresses.own_nats else ""
    if service == "api":
        told |= {"API_HOST": addresses.api_host, "API_PORT": str(addresses.api_port), "JOIN_URL": addresses.join_url}
        if addresses.public_nats_urls:
            told["NATS_PUBLIC_URL"] = addresses.public_nats_urls
    if service == "publisher":
        told |= {"PUBLISHER_HOST": addresses.publisher_host, "PUBLISHER_PORT": str(addresses.publisher_port)}
    if service in ("publisher", "agent"):
        told["DATA_DIR"] = str(data_dir / service)
    if service == "agent":
        told["NODE_ID"] = node_id
        told["OWNER_PATHS"] = "true" if owner_paths else ""  # nothing else may say it: the owner is ours, or nobody's
        if allow_local:
            told["ALLOW_LOCAL"] = ",".join(allow_local)
    inherited = ALLOCATOR | {f"{_PREFIX}{name.upper()}": value for name, value in settings.items()} | dict(os.environ)
    if service == "scheduler" and addresses.own_nats and not inherited.get(f"{_PREFIX}STREAM_BYTES"):
        inherited[f"{_PREFIX}STREAM_BYTES"] = str(OWN_STREAM_BYTES)
    own = {f"{_PREFIX}{name}": value for name, value in told.items()}
    return {
        name: value
        for name, value in (inherited | own).items()
        if value != "" and service in _GUARDED.get(name.removeprefix(_PREFIX), {service})
    }


def config_settings(path: Path | None) -> dict[str, str]:
    """Return the settings of a config file as text. Raises Invalid, naming each key that no service knows."""
    if path is None:
        return {}
    from skrei_kit.settings import read_config  # a supervisor without a config file does without pydantic

    return {key: _text(value) for key, value in read_config(path, known_settings()).items()}


def known_settings() -> set[str]:
    """Return the names of all services' settings, asked of the services themselves: none is imported here."""
    code, told = run_as(None, [sys.executable, "-P", "-c", _ASK, *SERVICES])
    if code != 0:
        raise Unavailable(f"the services do not tell their settings:\n{told}")
    return set(told.split())


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
