"""From a request to what the daemon is asked to create: names, labels, limits, rights, network, mounts. Pure."""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from skrei_domain.node import Gpu
from skrei_plugin_api.container_params import DockerParams
from skrei_plugin_api.engine import PortBinding, RunRequest
from skrei_plugin_docker.settings import DockerSettings

NODE, EXECUTION, START, ROLE = "skrei.node", "skrei.execution", "skrei.start", "skrei.role"
"""Labels: whose a container or volume is, and what it is for. Nothing without our NODE label is ever touched."""
WHOLE = "skrei.whole"
"""A label of containers into which nothing has to be copied before their start."""
JOB = "skrei.job"
"""A label for people who look with `docker ps`."""
LOG_FACTOR = 2
"""How much the daemon's log may hold, twice, for each byte that a stream keeps: it must not lose its beginning, holds
both streams, and weighs every line with about 30 bytes."""
LEAST_LOG_BYTES = 16 * 1024 * 1024
"""The daemon's log of a container never holds less: short lines weigh more in it than in the output."""
HOST_NAME = "host.docker.internal:host-gateway"
"""The node itself, as containers on a bridge may call it."""


class Role(StrEnum):
    """What a container is for."""

    RUN = "run"
    STAGE = "stage"  # never started: the door through which files come into volumes
    GATE = "gate"  # holds the filtered network of a run
    GATE_ENVOY = "gate-envoy"  # makes the filter's listener in it, and ends
    PROBE = "probe"  # never started: shows whether the daemon sees this node's files


class Network(StrEnum):
    """The daemon's network modes that a task may have."""

    NONE = "none"
    BRIDGE = "bridge"
    HOST = "host"
    FILTERED = "filtered"  # of ours: a loopback that our filter listens on


_NETWORKS = {
    "": Network.BRIDGE,
    "default": Network.BRIDGE,
    "none": Network.NONE,
    "bridge": Network.BRIDGE,
    "host": Network.HOST,
    "full": Network.HOST,
    "http": Network.FILTERED,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Something at an absolute path in the container: a path of the daemon's machine (`bind`), or a volume."""

    target: str
    source: str
    bind: bool
    writable: bool


def network(name: str) -> Network:
    """Return the network of a task's `Network.Type`, one of `skrei_plugin_api.engine.NETWORKS`."""
    return _NETWORKS[name.casefold()]


def guest_path(target: str) -> str:
    """Return the absolute, normal path of a target; relative ones start at the root, and none leaves it."""
    return posixpath.normpath(f"/{target.lstrip('/')}")


def start_name(execution_id: str, start_number: int) -> str:
    """Return the name of the container in which a start's program runs."""
    return f"skrei-{execution_id}-{start_number}"


def container_name(request: RunRequest, role: Role = Role.RUN) -> str:
    """Return the name of a container: one for each start and role, so that no start runs twice."""
    return start_name(request.execution_id, request.start_number) + ("" if role is Role.RUN else f"-{role}")


def volume_name(request: RunRequest, number: int) -> str:
    """Return the name of a start's n-th volume."""
    return f"{container_name(request)}-{number}"


def labels(node: str, request: RunRequest, role: Role = Role.RUN) -> dict[str, str]:
    """Return what containers and volumes of a start are found by."""
    found = {
        NODE: node,
        EXECUTION: request.execution_id,
        START: str(request.start_number),
        ROLE: role.value,
    }
    job = request.env.get("BACALHAU_JOB_ID")
    return found | {JOB: job} if job else found


def create_body(
    request: RunRequest,
    params: DockerParams,
    places: Sequence[Place],
    settings: DockerSettings,
    *,
    node: str,
    mode: Network,
    render_node: Callable[[Gpu], str],
    holder: str = "",
    more_env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the body of `POST /containers/create` for a run; `render_node` is the device file of a GPU.

    `holder` is the container whose network it has, where it has none of its own; `more_env` wins over all others.
    """
    ports = published(request.ports) if mode is Network.BRIDGE and not holder else {}
    body: dict[str, Any] = {
        "Image": params.image,
        "Env": environment(request.env, params, withheld(request.gpus) | dict(more_env or {})),
        "Labels": labels(node, request),
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": False,
        "Tty": False,
        "ExposedPorts": {port: {} for port in ports},
        "HostConfig": {
            "Mounts": [mount(place) for place in places],
            "NetworkMode": f"container:{holder}" if holder else mode.value,
            "ExtraHosts": [HOST_NAME] if mode in (Network.BRIDGE, Network.HOST) and not holder else [],
            "PortBindings": ports,
            "LogConfig": log_config(request.max_stream_bytes),
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,
            **limits(request, settings),
            **rights(settings),
            **devices(request.gpus, render_node),
        },
    }
    if params.entrypoint is not None:
        body["Entrypoint"] = list(params.entrypoint)
    if params.parameters is not None:
        body["Cmd"] = list(params.parameters)
    if params.working_dir:
        body["WorkingDir"] = params.working_dir
    return body


def unstarted_body(image: str, places: Sequence[Place], marks: Mapping[str, str]) -> dict[str, Any]:
    """Return the body for a container that is never started, only a door to what is mounted in it."""
    return {
        "Image": image,
        "Entrypoint": ["-"],
        "Labels": dict(marks),
        "HostConfig": {
            "Mounts": [mount(place) for place in places],
            "NetworkMode": Network.NONE.value,
            "LogConfig": {"Type": "none"},
        },
    }


def published(ports: Sequence[PortBinding]) -> dict[str, list[dict[str, str]]]:
    """Return which ports of the node lead to which of the container; in the node's own network all do by themselves."""
    found: dict[str, list[dict[str, str]]] = {}
    for one in ports:
        found.setdefault(f"{one.target}/tcp", []).append({"HostIp": one.address, "HostPort": str(one.port)})
    return found


def environment(env: Mapping[str, str], params: DockerParams, more: Mapping[str, str]) -> list[str]:
    """Return the variables as `NAME=value`, in order: the engine's own win over the task's, never over the node's."""
    merged = dict(env) | dict(params.env) | dict(more)
    return [f"{name}={value}" for name, value in sorted(merged.items())]


def limits(request: RunRequest, settings: DockerSettings) -> dict[str, Any]:
    """Return memory (without swap), processor time and processes; 0 of a resource is no limit."""
    found: dict[str, Any] = {"PidsLimit": settings.pids}
    if request.resources.memory_bytes:
        found |= {"Memory": request.resources.memory_bytes, "MemorySwap": request.resources.memory_bytes}
    if request.resources.cpu_milli:
        found["NanoCpus"] = request.resources.cpu_milli * 1_000_000
    return found


def rights(settings: DockerSettings) -> dict[str, Any]:
    """Return the few rights that programs have, also as root in their container."""
    return {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": list(settings.capabilities),
        "SecurityOpt": ["no-new-privileges"],
    }


def devices(gpus: Sequence[Gpu], render_node: Callable[[Gpu], str]) -> dict[str, Any]:
    """Return the devices of assigned GPUs: NVIDIA's by its own runtime, others as device files."""
    nvidia = [gpu.uuid or str(gpu.index) for gpu in gpus if _is_nvidia(gpu)]
    others = [gpu for gpu in gpus if not _is_nvidia(gpu)]
    found: dict[str, Any] = {}
    if nvidia:
        found["DeviceRequests"] = [{"Driver": "", "DeviceIDs": nvidia, "Capabilities": [["gpu"]]}]
    if others:
        paths = [render_node(gpu) for gpu in others]
        if any(gpu.vendor.casefold().startswith("amd") for gpu in others):
            paths.insert(0, "/dev/kfd")
        found["Devices"] = [{"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"} for path in paths]
    return found


def withheld(gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return what keeps a container from GPUs that are not its own.

    NVIDIA's runtime, where it is the daemon's default, gives a container the devices that this variable names, and
    NVIDIA's images name all. For a container that has devices of its own the daemon sets it.
    """
    return {} if any(_is_nvidia(gpu) for gpu in gpus) else {"NVIDIA_VISIBLE_DEVICES": "void"}


def _is_nvidia(gpu: Gpu) -> bool:
    return gpu.vendor.casefold() == "nvidia"


def log_config(stream_bytes: int) -> dict[str, Any]:
    """Return where the daemon keeps the output: exact bytes, bounded, whole while both streams are within limits."""
    size = max(stream_bytes * LOG_FACTOR, LEAST_LOG_BYTES)
    return {"Type": "local", "Config": {"max-size": str(size), "max-file": "2", "compress": "false"}}


def mount(place: Place) -> dict[str, Any]:
    """Return a mount in the daemon's words."""
    found: dict[str, Any] = {
        "Type": "bind" if place.bind else "volume",
        "Source": place.source,
        "Target": place.target,
        "ReadOnly": not place.writable,
    }
    if not place.bind:
        found["VolumeOptions"] = {"NoCopy": True}  # what the image has there is none of the run's output
    return found
