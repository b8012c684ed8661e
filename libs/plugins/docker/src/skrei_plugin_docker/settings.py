"""What a node's owner may set for the Docker engine, and its limits, each with the reason for its number."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

CAPABILITIES = "CHOWN DAC_OVERRIDE FOWNER SETGID SETUID"
"""What is left to root in a container: see docs/adr/0010. Enough for package managers, and for nothing on the host."""


class Staging(StrEnum):
    """How inputs and outputs come into a container."""

    AUTO = "auto"
    """Bind mounts where the daemon is shown to see this node's files, volumes elsewhere."""
    BIND = "bind"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """Read from the plugin's options, `docker_<name>`; seconds and bytes are plain numbers."""

    host: str = ""
    """The daemon's address; empty: DOCKER_HOST, the current context of the docker command line, or the usual socket."""
    config: str = ""
    """A docker config.json with registry credentials; empty: $DOCKER_CONFIG/config.json or ~/.docker/config.json."""
    staging: Staging = Staging.AUTO
    """How files come into containers; `volume` copies them through the daemon's API whatever it sees."""
    capabilities: tuple[str, ...] = tuple(CAPABILITIES.split())
    """Capabilities that containers keep, separated by spaces; `none`: none at all."""
    platforms: tuple[str, ...] = ()
    """Platforms that this machine runs by emulation, `linux/arm64`: their images are refused otherwise."""
    pids: int = 4096
    """Processes and threads of one container: above what runtimes with a thread per core need, below a fork bomb."""
    stop_grace_seconds: int = 10
    """Between SIGTERM and SIGKILL: what `docker stop` gives too."""
    describe_seconds: float = 2.0
    """How long the daemon may take to say its version: one that needs more cannot run jobs either."""
    answer_seconds: float = 60.0
    """One call to the daemon: creating and removing containers takes seconds on a disk that is busy."""
    away_seconds: float = 20.0
    """How long a daemon that went away during a run is waited for: a restart of it takes about five."""
    pull_idle_seconds: float = 300.0
    """A pull that brings nothing for so long has failed; one that goes on may take as long as it needs."""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "DockerSettings":
        """Return the settings that the options name. Raises ValueError for what cannot be."""
        given: dict[str, Any] = {}
        default = cls()
        for name in cls.__slots__:
            text = options.get(f"docker_{name}")
            if text is None:
                continue
            kind = type(getattr(default, name))
            if name == "platforms":
                given[name] = tuple(text.lower().split())
            else:
                given[name] = _words(text) if kind is tuple else kind(text)
        return cls(**given)


def _words(text: str) -> tuple[str, ...]:
    words = text.replace(",", " ").split()
    return () if [word.lower() for word in words] == ["none"] else tuple(word.upper() for word in words)
