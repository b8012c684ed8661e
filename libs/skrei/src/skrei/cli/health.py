"""One look each at what Skrei needs of a machine: what was found, whether that will do, and what to do otherwise."""

import contextlib
import http.client
import json
import os
import platform
import shutil
import socket
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from importlib import metadata, util
from pathlib import Path
from typing import Any

from skrei import __version__, calls, state
from skrei.cli.ask import Ask
from skrei.errors import ApiError, Unreachable
from skrei_domain.errors import SkreiError

OLDEST_PYTHON = (3, 11)
ANSWER_SECONDS = 2.0
"""For one answer of something on this machine."""
LEAST_BYTES = 1024**3
"""Free on the data folder's disk: a database, its write-ahead log and some results."""
SKEW_SECONDS = 5.0
"""Between this clock and the API's: tokens and log times are told by them; more confuses people first."""
PORTS = (
    ("API", "SKREI_API_PORT", 1234),
    ("publisher", "SKREI_PUBLISHER_PORT", 1235),
    ("NATS", "SKREI_NATS_PORT", 4222),
)
DOCKER_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "~/.docker/run/docker.sock")


class Verdict(Enum):
    """Whether a finding will do."""

    FINE = "fine"
    OPTIONAL = "optional"
    NEEDED = "needed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do about it."""

    name: str
    verdict: Verdict
    found: str
    todo: str = ""


def python() -> Finding:
    """Look at the interpreter."""
    told = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Finding("python", Verdict.NEEDED, told, "Install Python 3.11 or newer, and Skrei with it.")
    if not is_optimised(sys.base_prefix, sysconfig.get_config_var("CONFIG_ARGS") or ""):
        todo = (
            "Skrei is slower with it. Use the system's own Python, or build this one with "
            'PYTHON_CONFIGURE_OPTS="--enable-optimizations --with-lto" pyenv install.'
        )
        return Finding("python", Verdict.OPTIONAL, f"{told}, built without optimisations", todo)
    return Finding("python", Verdict.FINE, told)


def is_optimised(prefix: str, configured: str) -> bool:
    """Whether a Python was built as fast as it can be, by where it lies and what its `configure` was told.

    Distributions build theirs by rules of their own, with profiles; who builds one by hand, or by pyenv, has to ask.
    """
    return prefix == "/usr" or not configured or "--enable-optimizations" in configured


def versions() -> Finding:
    """Look at which parts of Skrei are installed."""
    parts = [f"skrei {__version__}"]
    for name in ("skrei-embedded", "skrei-compute-agent"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            parts.append(f"{name.removeprefix('skrei-')} {metadata.version(name)}")
    return Finding("skrei", Verdict.FINE, ", ".join(parts))


def api(url: str, *, named: bool) -> Finding:
    """Look for the API; one that nobody named is started by the first run."""
    try:
        with Ask(url, timeout_seconds=ANSWER_SECONDS) as ask:
            version = ask.send(calls.version().once()).get("GitVersion")
            skew = _skew_seconds(ask.date)
    except (Unreachable, ApiError) as error:
        if isinstance(error, Unreachable) and not named:
            todo = "A run at a terminal starts it; `skrei serve` does it by hand."
            return Finding("API", Verdict.OPTIONAL, f"none answers at {url}", todo)
        return Finding("API", Verdict.NEEDED, error.message, error.hint)
    if abs(skew) > SKEW_SECONDS:
        todo = "Set the clocks of both machines, for example with chrony."
        return Finding("API", Verdict.OPTIONAL, f"{version} at {url}, whose clock is {-skew:+.0f} s off ours", todo)
    return Finding("API", Verdict.FINE, f"{version} at {url}, clocks agree")


def own_stack(*, runs: bool) -> Iterator[Finding]:
    """Look at what a stack on this machine needs."""
    yield from _services()
    if not runs:
        yield from map(_port, PORTS)
    yield _data_folder(state.usual_folder())
    docker, wasm = _docker(), _wasm()
    if docker.verdict is not Verdict.FINE and wasm.verdict is not Verdict.FINE:
        docker = Finding(docker.name, Verdict.NEEDED, docker.found, docker.todo)
    yield docker
    yield wasm


def _services() -> Iterator[Finding]:
    todo = "Install Skrei with its services: skrei[serve]"
    if util.find_spec("skrei_embedded") is None:
        yield Finding("services", Verdict.NEEDED, "not installed: this is the command line alone", todo)
        return
    from skrei_embedded import installs

    finders: tuple[tuple[str, Callable[[], object]], ...] = (
        ("postgres", installs.find_postgres),
        ("nats", installs.find_nats_server),
    )
    for name, find in finders:
        try:
            found = find()
        except SkreiError as error:
            yield Finding(name, Verdict.NEEDED, error.message, error.hint or todo)
        else:
            major = f"{found.major} in {found.binaries}" if isinstance(found, installs.PostgresInstall) else str(found)
            yield Finding(name, Verdict.FINE, major)


def _port(which: tuple[str, str, int]) -> Finding:
    owner, variable, usual = which
    port = int(os.environ.get(variable, "") or usual)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            verdict = Verdict.NEEDED if owner == "the API" else Verdict.OPTIONAL
            todo = f"Stop what listens there, or set {variable} to another port."
            return Finding(f"port {port}", verdict, f"{error.strerror} (for {owner})", todo)
    return Finding(f"port {port}", Verdict.FINE, f"free, for {owner}")


def _data_folder(folder: Path) -> Finding:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        todo = "Name another folder in SKREI_DATA_DIR, or become its owner."
        return Finding("data", Verdict.NEEDED, f"{folder} cannot be written", todo)
    free = shutil.disk_usage(there).free
    told = f"{folder}, {free / 1024**3:.1f} GiB free"
    if free < LEAST_BYTES:
        return Finding("data", Verdict.NEEDED, told, "Make room, or name a folder on another disk in SKREI_DATA_DIR.")
    return Finding("data", Verdict.FINE, told)


def _docker() -> Finding:
    """Look for a Docker daemon that this user may talk to."""
    named = os.environ.get("DOCKER_HOST", "")
    if named and not named.startswith("unix://"):
        return Finding("docker", Verdict.FINE, f"at {named} (not looked at from here)")
    paths = [named.removeprefix("unix://")] if named else [str(Path(each).expanduser()) for each in DOCKER_SOCKETS]
    path = next((each for each in paths if Path(each).exists()), "")
    if not path:
        program = shutil.which("dockerd")
        todo = (
            "Start it: sudo systemctl start docker" if program else "Install it: https://docs.docker.com/engine/install"
        )
        return Finding(
            "docker", Verdict.OPTIONAL, f"no daemon listens at {paths[0]}", f"{todo} (for `skrei docker run`)"
        )
    try:
        version = _ask_socket(path, "/version").get("Version")
    except PermissionError:
        todo = "Let this user in: sudo usermod -aG docker $USER, then log in again."
        return Finding("docker", Verdict.OPTIONAL, f"{path} may not be opened by this user", todo)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Finding("docker", Verdict.OPTIONAL, f"{path}: {error}", "Start it: sudo systemctl start docker")
    return Finding("docker", Verdict.FINE, f"{version} at {path}")


def _wasm() -> Finding:
    try:
        return Finding("wasm", Verdict.FINE, f"wasmtime {metadata.version('wasmtime')}")
    except metadata.PackageNotFoundError:
        return Finding("wasm", Verdict.OPTIONAL, "wasmtime is not installed", "Install Skrei with skrei[serve].")


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(self._path)


def _ask_socket(path: str, what: str) -> dict[str, Any]:
    connection = _SocketConnection(path)
    try:
        connection.request("GET", what)
        found = json.loads(connection.getresponse().read(1024 * 1024))
    finally:
        connection.close()
    return found if isinstance(found, dict) else {}


def _skew_seconds(date: str) -> float:
    """Return how far this clock is ahead of the one that wrote an HTTP date; 0 where there is none."""
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return 0.0
