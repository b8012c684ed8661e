"""The network of a task that may reach the domains of its list, or services of its node: a loopback of its own, and
what passes its words on listening there.

Nothing that a program sends leaves such a container but through the filter: there is no interface that leads anywhere,
so no address, name or rule of the node's network matters. The network belongs to a container of its own, which does
nothing but hold it: it is there before the program starts, and the filter listens before that, too.
"""

import asyncio
import json
import platform
import secrets
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skrei_domain.errors import SkreiError
from skrei_plugin_api.engine import RunRequest
from skrei_plugin_docker.create import (
    EXECUTION,
    HOST_NAME,
    NODE,
    ROLE,
    START,
    Network,
    Role,
    container_name,
    labels,
    published,
)
from skrei_plugin_docker.daemon import Container, Daemon
from skrei_plugin_docker.failures import Refusal
from skrei_plugin_docker.gate import envoy, holder
from skrei_plugin_docker.gate.keeper import Keeper, Opening
from skrei_plugin_docker.gate.namespace import NoEntry, listen
from skrei_plugin_docker.sight import Sight
from skrei_plugin_docker.ways import filters, inside, surroundings

PORT = 3128
"""Where the filter listens in the container: what proxies are known by, and not what programs serve on."""
MEMORY_BYTES = 16 * 1024 * 1024
"""Of the container that holds the network: its program has a page."""
REPOSITORY = "skrei/wait"
"""The image of that container, made here from a few hundred bytes."""
SERVICES = "skrei.services"
"""The label that tells by which port each service is found inside, as JSON: an agent that adopts finds it there."""
_MARK = "SKREI_GATE"


class FilterUnavailable(SkreiError):
    """This node cannot filter what containers reach, however often it is asked."""

    code = "filter-unavailable"


class FilteredNetworks:
    """Makes them, takes them up again after a restart of the agent, and shuts them."""

    def __init__(self, daemon: Daemon, sight: Sight, state: Path, *, node: str, private: Sequence[str]) -> None:
        self._daemon = daemon
        self._sight = sight
        self._state = state
        self._node = node
        self._keeper = Keeper(private)
        self._image = f"{REPOSITORY}:{holder.tag()}" if holder.supported() else ""
        self._importing = asyncio.Lock()
        self._served: dict[str, list[str]] = {}

    def missing(self) -> str:
        """Return why no network is filtered here, as far as that is known before it is tried; empty: it may work."""
        return "" if self._image else f"no networks filtered by domain on machines of the kind {platform.machine()}"

    async def make(self, request: RunRequest) -> tuple[str, dict[str, str]]:
        """Return the id of a container whose network a run may use, and the variables that tell programs of it.

        Raises FilterUnavailable, and Refusal where a port of the node is taken.
        """
        if not self._image:
            raise FilterUnavailable(
                f"containers' networks are not filtered on machines of the kind {platform.machine()}"
            )
        mark = f"{_MARK}={secrets.token_hex(16)}"
        found_at = inside(request, (PORT,) if filters(request) else ())
        marks = labels(self._node, request, Role.GATE) | {SERVICES: json.dumps(found_at)}
        made = await self._create(holder_body(self._image, marks, mark, request), request)
        await self._daemon.start(made)
        found = await self._daemon.inspect(made)
        if found is None:
            raise FilterUnavailable("the container that held a filtered network was removed at once")
        await self._serve(request, found)
        told = {variable: f"127.0.0.1:{port}" for variable, port in found_at.items()}
        return made, told | (proxy_variables() if filters(request) else {})

    async def take_up(self, request: RunRequest) -> bool:
        """Serve the network of a run that an earlier process began; whether it is there still."""
        wanted = {
            NODE: self._node,
            EXECUTION: request.execution_id,
            START: str(request.start_number),
            ROLE: Role.GATE.value,
        }
        for one in await self._daemon.containers(wanted):
            found = await self._daemon.inspect(str(one["Id"]))
            if found is not None and found["State"].get("Running"):
                await self._serve(request, found)
                return True
        return False

    def shut(self, request: RunRequest) -> None:
        """Let no more through; what holds the network goes with the rest of the run."""
        for key in self._served.pop(request.execution_id, ()):
            self._keeper.shut(key)

    async def close(self) -> None:
        """End the filtering process."""
        await self._keeper.close()

    async def _serve(self, request: RunRequest, found: Container) -> None:
        mark = next(entry for entry in found["Config"]["Env"] if entry.startswith(f"{_MARK}="))
        found_at = json.loads(found["Config"]["Labels"].get(SERVICES) or "{}")
        job = request.env.get("BACALHAU_JOB_ID")
        extra = (("X-Bacalhau-Job-ID", job),) if job else ()
        try:
            if filters(request):
                listener = await self._listen(request, found, mark, PORT)
                await self._open(request, "", Opening(listener, request.domains, extra))
            for way in request.services:
                if port := found_at.get(way.variable):
                    listener = await self._listen(request, found, mark, port)
                    await self._open(request, way.variable, Opening(listener, to=(way.host, way.port)))
        except NoEntry as error:
            raise FilterUnavailable(
                f"this node cannot filter what containers reach: {error}",
                hint="run its agent on the machine of its Docker daemon, or constrain the job to another node",
            ) from error

    async def _open(self, request: RunRequest, what: str, opening: Opening) -> None:
        key = f"{request.execution_id}/{what}"
        self._served.setdefault(request.execution_id, []).append(key)
        await self._keeper.open(key, opening)

    async def _listen(self, request: RunRequest, found: Container, mark: str, port: int) -> socket.socket:
        """Return a listener in a container's network: made by ourselves, or by a container where we may not."""
        try:
            return await asyncio.to_thread(listen, int(found["State"]["Pid"]), mark, port)
        except NoEntry:
            return await envoy.fetch(
                self._daemon,
                str(found["Id"]),
                image=self._image,
                marks=labels(self._node, request, Role.GATE_ENVOY),
                port=port,
                state=self._state,
                seen=lambda path: self._sight.host_path(path, self._image),
            )

    async def _create(self, body: Mapping[str, Any], request: RunRequest) -> str:
        name = container_name(request, Role.GATE)
        for _ in range(2):
            try:
                return await self._daemon.create(body, name)
            except Refusal as refusal:
                if refusal.image_missing:
                    async with self._importing:
                        await self._daemon.import_image(self._image, holder.image())
                elif refusal.status == 409:  # what a killed agent had begun
                    await self._daemon.remove(name)
                else:
                    raise
        return await self._daemon.create(body, name)


def proxy_variables() -> dict[str, str]:
    """Return what tells programs of the filter."""
    address = f"http://127.0.0.1:{PORT}"
    found = {"http_proxy": address, "https_proxy": address, "no_proxy": "localhost,127.0.0.1,::1"}
    return found | {name.upper(): value for name, value in found.items()}


def holder_body(image: str, marks: Mapping[str, str], mark: str, request: RunRequest) -> dict[str, Any]:
    """Return the body for the container that holds a network: a loopback, no rights, nothing to write to.

    Where the program has a network beside that, this is its container too: its ports, its name for the node.
    """
    bridged = surroundings(request) is Network.BRIDGE
    ports = published(request.ports) if bridged else {}
    return {
        "Image": image,
        "Entrypoint": [holder.PROGRAM],
        "Env": [mark],
        "Labels": dict(marks),
        "ExposedPorts": {port: {} for port in ports},
        "HostConfig": {
            "NetworkMode": (Network.BRIDGE if bridged else Network.NONE).value,
            "ExtraHosts": [HOST_NAME] if bridged else [],
            "PortBindings": ports,
            "ReadonlyRootfs": True,
            "Privileged": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 1,
            "Memory": MEMORY_BYTES,
            "MemorySwap": MEMORY_BYTES,
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
        },
    }
