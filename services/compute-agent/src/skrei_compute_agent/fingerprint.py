"""What this machine is and has: the NodeInfo that a node says of itself."""

import os
import platform
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from skrei_compute_agent.settings import Settings
from skrei_domain import node_results
from skrei_domain.node import Absent, DataSet, Gpu, InputCache, NearServer, NodeInfo, NodeService, PathSize, Plugin
from skrei_domain.resources import Resources, parse_bytes, parse_cpu, parse_share

SHARE_PERCENT = 80
"""How much of memory and free disk is handed out unless the settings say: the rest is the system's and the agent's."""

_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
"""The names that people put into constraints (Go's), by what the kernel says."""


def fingerprint(
    settings: Settings,
    node_id: str,
    *,
    engines: Iterable[Plugin],
    storages: Iterable[Plugin],
    version: str,
    room: Resources,
    gpus: tuple[Gpu, ...] = (),
    absent: Iterable[Absent] = (),
    data: Iterable[DataSet] = (),
    services: Iterable[NodeService] = (),
    local_sizes: Iterable[PathSize] = (),
    cache: InputCache | None = None,
    near: tuple[NearServer, ...] = (),
) -> NodeInfo:
    """Return what this node can do and how much of everything it has: `room`, and every GPU."""
    name = settings.name or platform.node() or node_id
    system, arch = operating_system(), architecture()
    return NodeInfo(
        node_id=node_id,
        name=name,
        version=version,
        os=system,
        arch=arch,
        labels={"os_type": system, "os_arch": arch, "name": name} | gpu_labels(gpus) | settings.labels,
        engines=tuple(sorted(engines, key=lambda plugin: plugin.name)),
        storages=tuple(sorted(storages, key=lambda plugin: plugin.name)),
        publishers=tuple(Plugin(name=name, version=version) for name in (node_results.NAME, node_results.OF_PATHS)),
        absent=tuple(sorted(absent, key=lambda each: (each.kind, each.name))),
        local_paths=settings.allow_local,
        cache=cache,
        local_sizes=tuple(sorted(local_sizes, key=lambda each: each.path)),
        owner_paths=settings.owner_paths,
        upload_bytes_per_second=settings.upload_bytes_per_second,
        capacity=room.model_copy(update={"gpu": len(gpus)}),
        gpus=gpus,
        data=tuple(sorted(data, key=lambda each: each.name)),
        services=tuple(services),
        near=near,
    )


def gpu_labels(gpus: Iterable[Gpu]) -> dict[str, str]:
    """Return the labels that constraints name GPUs by: `GPU-0=Tesla-T4`, `GPU-0-Memory=15360-MiB`."""
    labels: dict[str, str] = {}
    for number, gpu in enumerate(gpus):
        labels[f"GPU-{number}"] = gpu.name.replace(" ", "-")
        labels[f"GPU-{number}-Memory"] = f"{gpu.memory_bytes // 2**20}-MiB"
    return labels


def capacity(settings: Settings) -> Resources:
    """Return what is handed out: the settings' amounts or shares, else all cores and a share of memory and free disk.

    Free disk moves with every execution: a node reads this once, when it starts.
    """
    share, free = f"{SHARE_PERCENT}%", shutil.disk_usage(_nearest(settings.data_dir)).free
    return Resources(
        cpu_milli=_offered(settings.capacity_cpu or "100%", cores() * 1000, parse_cpu),
        memory_bytes=_offered(settings.capacity_memory or share, psutil.virtual_memory().total, parse_bytes),
        disk_bytes=_offered(settings.capacity_disk or share, free, parse_bytes),
    )


def _offered(said: str, whole: int, parse: Callable[[str], int]) -> int:
    """Return an amount, or a share of `whole` (`80%`)."""
    share = parse_share(said)
    return parse(said) if share is None else int(whole * share)


def cores() -> int:
    """Return how many cores this process may use, which a container's cpuset may make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def operating_system() -> str:
    """Return `linux`, `darwin` or `windows`."""
    return platform.system().lower()


def architecture() -> str:
    """Return the processor's name as constraints use it: `amd64`, `arm64`."""
    machine = platform.machine().lower()
    return _ARCH.get(machine, machine)


def _nearest(path: Path) -> Path:
    """The folder itself, or the first parent that is there already."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
