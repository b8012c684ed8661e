"""From a request to the pod that runs it: names, labels, limits, rights, where its files are. Pure.

A pod has three containers of one user and three small volumes. `stage` waits until the agent has sent the inputs and
our runner, then ends. `run` is the program, as a child of the runner, which writes what it says and how it ended into
files. `keep` only waits: through it the agent reads those files, also after the program's end, also when it was away.
"""

import hashlib
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skrei_plugin_api.container_params import DockerParams, Pull
from skrei_plugin_api.engine import Mount, RunRequest
from skrei_plugin_kubernetes import disk
from skrei_plugin_kubernetes.settings import IMAGE_USER, KubernetesSettings

NODE, EXECUTION, START, JOB, NETWORK = "skrei.node", "skrei.execution", "skrei.start", "skrei.job", "skrei.network"
"""Labels: whose a pod is, and what it is for. Nothing without our NODE label is ever touched."""
STAGE, RUN, KEEP = "stage", "run", "keep"
OURS = "/.skrei"
"""Where our runner and the program's output are, in every container of a pod."""
RUNNER = f"{OURS}/run"
STAGED = f"{OURS}/staged"
FILES_IN, FILES_OUT = "/.skrei-in", "/.skrei-out"
"""Where the helpers find the volumes of inputs and outputs: a folder or file for each, by its number."""
CLOSED, OPEN = "none", "open"
_PULL = {Pull.MISSING: "IfNotPresent", Pull.ALWAYS: "Always", Pull.NEVER: "Never"}
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NAME = re.compile(r"[^a-z0-9-]+")
_DEVICES = "NVIDIA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where files are: what the pod mounts, and what the agent sends as (name in the volume, source)."""

    mounts: tuple[dict[str, Any], ...] = ()
    volumes: tuple[dict[str, Any], ...] = ()
    sent: tuple[tuple[str, Path], ...] = ()
    sent_bytes: int = 0
    """What the cluster's disk needs for that."""
    refused: str = ""
    """Why a mount cannot be had, if so."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What the cluster removes pods with: the object that the agent's own pod belongs to."""

    api_version: str
    kind: str
    name: str
    uid: str


def label(text: str) -> str:
    """Return `text` as the value of a label: itself where it may be one, else its digest."""
    return text if _LABEL.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:40]


def pod_name(node: str, execution_id: str, start_number: int) -> str:
    """Return the name of a start's pod: one each, so that none runs twice, whichever nodes share a namespace."""
    name = _NAME.sub("-", execution_id.lower()).strip("-")[:180]
    mark = hashlib.sha256(f"{node}\0{execution_id}".encode()).hexdigest()[:8]
    return f"skrei-{name}-{start_number}-{mark}"


def labels(node: str, request: RunRequest) -> dict[str, str]:
    """Return what the pod of a start is found by."""
    found = {NODE: label(node), EXECUTION: label(request.execution_id), START: str(request.start_number)}
    job = request.env.get("BACALHAU_JOB_ID")
    return found | {NETWORK: CLOSED if closed(request) else OPEN} | ({JOB: label(job)} if job else {})


def closed(request: RunRequest) -> bool:
    """Whether the program has no network."""
    return request.network.casefold() == "none"


def lay_out(request: RunRequest, claims: Mapping[str, str]) -> Layout:
    """Return where inputs and outputs are: what lies on a claim is mounted, all else is sent."""
    mounts: list[dict[str, Any]] = []
    volumes: dict[str, dict[str, Any]] = {}
    sent: list[tuple[str, Path]] = []
    for number, one in enumerate(request.mounts):
        target = _absolute(one.target)
        if (found := _on_claim(one, claims)) is not None:
            claim, inside = found
            volumes[claim] = {"name": _volume(claim), "persistentVolumeClaim": {"claimName": claim}}
            mounts.append(_mount(_volume(claim), target, inside, read_only=not one.read_write))
        elif one.read_write:
            return Layout(refused=_not_in_place(target))
        else:
            mounts.append(_mount("skrei-in", target, str(number), read_only=True))
            sent.append((str(number), one.source))
    for number, output in enumerate(request.outputs):
        mounts.append(_mount("skrei-out", _absolute(output.path), str(number), read_only=False))
    return Layout(tuple(mounts), tuple(volumes.values()), tuple(sent))


def pod(
    request: RunRequest,
    params: DockerParams,
    words: Sequence[str],
    layout: Layout,
    settings: KubernetesSettings,
    *,
    node: str,
    owner: Owner | None = None,
) -> dict[str, Any]:
    """Return the body of a run's pod; `words` are the program and its arguments."""
    grace = settings.stop_grace_seconds if request.stop_grace_seconds is None else request.stop_grace_seconds
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": max(grace, 1),
        "securityContext": _pod_rights(settings),
        "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
        "nodeSelector": dict(_pair(one) for one in settings.node_selector),
        "volumes": [
            {"name": "skrei", "emptyDir": {"sizeLimit": str(disk.stream_room(request))}},
            {"name": "skrei-in", "emptyDir": {}},
            {"name": "skrei-out", "emptyDir": {"sizeLimit": str(disk.output_room(request))}},
            *layout.volumes,
        ],
        "initContainers": [_helper(STAGE, _waiting(settings.start_seconds), settings)],
        "containers": [
            _program(request, params, words, layout, settings),
            _helper(KEEP, "exec sleep 1000000000", settings, disk.of_helper(request, layout.sent_bytes)),
        ],
    }
    if settings.runtime_class:
        spec["runtimeClassName"] = settings.runtime_class
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class
    metadata: dict[str, Any] = {
        "name": pod_name(node, request.execution_id, request.start_number),
        "labels": labels(node, request) | {"app.kubernetes.io/managed-by": "skrei"},
        "annotations": {EXECUTION: request.execution_id},  # in full, whatever a label may be
    }
    if owner is not None:
        metadata["ownerReferences"] = [
            {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
        ]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def verbatim(text: str) -> str:
    """Return `text` so that the cluster hands it on as it is: it would replace `$(NAME)` in it."""
    return text.replace("$", "$$")


def limits(request: RunRequest) -> dict[str, str]:
    """Return what the program may use; 0 of a resource is no limit."""
    found: dict[str, str] = {}
    if request.resources.cpu_milli:
        found["cpu"] = f"{request.resources.cpu_milli}m"
    if request.resources.memory_bytes:
        found["memory"] = str(request.resources.memory_bytes)
    if request.resources.disk_bytes:
        found[disk.RESOURCE] = str(request.resources.disk_bytes)
    if request.resources.gpu:
        found["nvidia.com/gpu"] = str(request.resources.gpu)
    return found


def _program(
    request: RunRequest, params: DockerParams, words: Sequence[str], layout: Layout, settings: KubernetesSettings
) -> dict[str, Any]:
    env = _environment(request, params)
    network = "closed" if closed(request) and settings.closed == "always" else "open"
    kept = request.max_stream_bytes + 1  # one more than the agent keeps, so that it sees that there is more
    found: dict[str, Any] = {
        "name": RUN,
        "image": params.image,
        "imagePullPolicy": _PULL[params.pull],
        "command": [verbatim(word) for word in (RUNNER, "exec", network, str(kept), *words)],
        "env": [{"name": name, "value": verbatim(value)} for name, value in sorted(env.items())],
        "resources": {"limits": limits(request), "requests": limits(request)},
        "securityContext": _rights(),
        "volumeMounts": [*_ours(begun=True), *layout.mounts],
    }
    if params.working_dir:
        found["workingDir"] = params.working_dir
    return found


def _environment(request: RunRequest, params: DockerParams) -> dict[str, str]:
    """Return the program's variables.

    Where NVIDIA's runtime is a node's default, it gives a container the devices that one of them names, whatever the
    cluster has assigned, and NVIDIA's images name all: a pod without GPU names none, and one with GPUs leaves it to the
    cluster's device plugin.
    """
    env = {name: value for name, value in (dict(request.env) | dict(params.env)).items() if name != _DEVICES}
    return env if request.resources.gpu else env | {_DEVICES: "void"}


def _helper(name: str, script: str, settings: KubernetesSettings, room: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    rights = _rights()
    if settings.user == IMAGE_USER:  # files of whatever user the program is
        rights |= {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE", "FOWNER"]}}
    requests, limits = {"cpu": "5m", "memory": "8Mi"}, {"memory": str(settings.helper_memory_bytes), "cpu": "1"}
    if room[1]:
        requests[disk.RESOURCE], limits[disk.RESOURCE] = map(str, room)
    return {
        "name": name,
        "image": settings.helper_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "resources": {"requests": requests, "limits": limits},
        "securityContext": rights,
        "volumeMounts": [
            *_ours(begun=name != STAGE),
            {"name": "skrei-in", "mountPath": FILES_IN},
            {"name": "skrei-out", "mountPath": FILES_OUT},
        ],
    }


def _ours(*, begun: bool) -> list[dict[str, Any]]:
    """Return the mounts of our folder. Once it is there, nobody can change our runner: it is also what runs for us
    beside the program, and in `keep`, where the network is not closed; and the program's user could write it.
    """
    found = [{"name": "skrei", "mountPath": OURS}]
    return [*found, _mount("skrei", RUNNER, posixpath.basename(RUNNER), read_only=True)] if begun else found


def _waiting(seconds: float) -> str:
    """A shell's line that ends once everything was sent, badly when that takes too long."""
    return f"n=0; while [ ! -e {STAGED} ]; do n=$((n+1)); [ $n -gt {int(seconds * 10)} ] && exit 1; sleep 0.1; done"


def _pod_rights(settings: KubernetesSettings) -> dict[str, Any]:
    found: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if settings.user != IMAGE_USER:
        number = int(settings.user)
        found |= {"runAsNonRoot": number != 0, "runAsUser": number, "runAsGroup": number, "fsGroup": number}
    return found


def _rights() -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _mount(volume: str, target: str, inside: str, *, read_only: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": volume, "mountPath": target, "readOnly": read_only}
    return found | ({"subPath": inside} if inside else {})


def _on_claim(one: Mount, claims: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the claim that an input lies on, and where on it."""
    for path, claim in claims.items():
        if one.source == Path(path) or Path(path) in one.source.parents:
            inside = str(one.source.relative_to(path))
            return claim, "" if inside == "." else inside
    return None


def _volume(claim: str) -> str:
    return f"claim-{hashlib.sha256(claim.encode()).hexdigest()[:12]}"


def _absolute(target: str) -> str:
    return posixpath.normpath(f"/{target.lstrip('/')}")


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _not_in_place(target: str) -> str:
    return (
        f"the input {target} is to be written in place, but it lies on no volume of the cluster: name its claim in the "
        "node's option kubernetes_volumes, or take the result from a ResultPath"
    )
