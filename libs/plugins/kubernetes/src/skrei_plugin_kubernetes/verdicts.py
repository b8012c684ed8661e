"""What the state of a pod says about its run: whether it goes on, may still begin, or why it never will. Pure."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from skrei_domain.errors import SkreiError
from skrei_plugin_api.engine import EngineFailure, FailureCode, RunRequest
from skrei_plugin_kubernetes.cluster import Refused
from skrei_plugin_kubernetes.pod import RUN, STAGE

Pod = dict[str, Any]


class NoRoom(SkreiError):
    """The cluster had no room for a pod for as long as was waited: another node, or a later time, may do better."""

    code = "kubernetes-no-room"
    retryable = True


class NotStarted(SkreiError):
    """A pod did not begin for as long as was waited, for a reason that may pass."""

    code = "kubernetes-not-started"
    retryable = True


class Phase(Enum):
    """How far a pod is."""

    WAITING = "waiting"  # for a machine, an image, a container
    STAGING = "staging"  # waits for its files
    RUNNING = "running"
    ENDED = "ended"  # its program has
    FAILED = "failed"  # it never will run, or was ended from outside


@dataclass(frozen=True, slots=True)
class State:
    """How far a pod is; `why`: what it waits for. `code` of one that ended, `failure` of one that failed."""

    phase: Phase
    why: str = ""
    code: int | None = None
    oom: bool = False
    failure: EngineFailure | None = None
    image: str = ""
    """What exactly runs, `repository@sha256:…`."""


_NEVER = {
    "InvalidImageName": "its name is none that the cluster's runtime takes",
    "ErrImageNeverPull": "it is not there",
}
_PULLING = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
_GIVE_UP = re.compile(
    r"not found|manifest unknown|404|unauthorized|authentication required|\b401\b|\b403\b|forbidden|denied"
    r"|does not exist|no match(?:ing)? for platform|no matching manifest",
    re.IGNORECASE,
)
_CONFIG = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "StartError",
    "ContainerCannotRun",
)
_EXEC = re.compile(r"exec [^\n]*: (Exec format error|Permission denied|No such file or directory)\n?")
_DISK = re.compile(r"ephemeral|emptyDir|local storage|Usage of ", re.IGNORECASE)


def look(pod: Pod) -> State:
    """Return how far a pod is."""
    status = pod.get("status") or {}
    run = _container(status.get("containerStatuses"), RUN)
    image = str(run.get("imageID") or "")
    state = run.get("state") or {}
    if status.get("phase") == "Failed" and status.get("reason"):
        return State(Phase.FAILED, failure=_ended_from_outside(status), image=image)
    if (end := state.get("terminated")) is not None:
        if end.get("reason") in _CONFIG:
            return State(Phase.FAILED, failure=_not_started(str(end.get("message") or end["reason"])), image=image)
        return State(Phase.ENDED, code=int(end.get("exitCode", -1)), oom=end.get("reason") == "OOMKilled", image=image)
    if state.get("running") is not None:
        return State(Phase.RUNNING, image=image)
    stage = _container(status.get("initContainerStatuses"), STAGE).get("state") or {}
    if (end := stage.get("terminated")) is not None and end.get("exitCode"):
        return State(Phase.FAILED, failure=EngineFailure(FailureCode.ENGINE_LOST, "its files were never all there"))
    if stage.get("running") is not None:
        return State(Phase.STAGING)
    return _waiting(status, stage, state, pod)


def _waiting(status: Pod, stage: Pod, run: Pod, pod: Pod) -> State:
    for waiting, image in ((stage.get("waiting"), _image(pod, STAGE)), (run.get("waiting"), _image(pod, RUN))):
        reason, message = (waiting or {}).get("reason", ""), str((waiting or {}).get("message") or "")
        if reason in _NEVER or (reason in _PULLING and _GIVE_UP.search(message)):
            told = f"image not available: {image}: {_NEVER.get(reason) or 'it cannot be pulled'}: {message}"
            hint = "check its name, and the credentials that the cluster has for its registry (imagePullSecrets)"
            return State(Phase.FAILED, failure=EngineFailure(FailureCode.IMAGE_UNAVAILABLE, f"{told} ({hint})"))
        if reason in _CONFIG:
            return State(Phase.FAILED, failure=_not_started(message or reason))
        if reason in _PULLING:
            return State(Phase.WAITING, why=f"image not available: {image}: it cannot be pulled: {message}")
    scheduled: Pod = next((one for one in status.get("conditions") or () if one.get("type") == "PodScheduled"), {})
    if scheduled.get("status") == "False":
        return State(
            Phase.WAITING, why=f"the cluster has no room for it: {scheduled.get('message') or 'no reason told'}"
        )
    return State(Phase.WAITING, why="its containers are being made")


def waited_too_long(state: State, seconds: float) -> SkreiError:
    """Return what a pod that did not begin in time is."""
    told = f"{state.why}, for {seconds:g} s (kubernetes_start_seconds)"
    if "no room" in state.why:
        return NoRoom(told, hint="ask for less, add nodes to the cluster, or set the node's capacity to what there is")
    return NotStarted(told, hint="`kubectl describe pod` in the pods' namespace tells more")


def refused(no: Refused) -> EngineFailure:
    """Return why a pod cannot be made. Raises NoRoom where a quota is used up, which passes."""
    if "exceeded quota" in no.message:
        raise NoRoom(
            f"the namespace has no room: {no.message}", hint="its ResourceQuota bounds what runs at once"
        ) from no
    if "must be unique" in no.message:
        told = f"two inputs or outputs want to be at the same place: {no.message} (give each its own Target or Path)"
        return EngineFailure(FailureCode.INPUT_INVALID, told)
    hint = "the job's Engine.Params, and what the pods' namespace allows, tell more"
    if "PodSecurity" in no.message:
        hint = "the namespace forbids what the node's options ask for: see kubernetes_user in docs/ENGINES.md"
    if no.status in (401, 403) and "PodSecurity" not in no.message:
        hint = "the agent's service account needs the rights that docs/KUBERNETES.md lists"
    return EngineFailure(FailureCode.CONTAINER_REFUSED, f"the cluster refuses its pod: {no.message} ({hint})")


def never_ran(code: int, stderr: bytes) -> EngineFailure | None:
    """Return why a program that "ended" was never executed: our runner says so in the program's own stderr."""
    said = stderr.decode("utf-8", errors="replace")
    found = _EXEC.fullmatch(said) if code in (126, 127) else None
    if found is None:
        return None
    what, hint = {
        "No such file or directory": (
            "the image has no such program (127)", "check Entrypoint, Parameters and the image's PATH"),
        "Exec format error": (
            "the program is none that this machine can run (126)",
            "the image is for another platform (compare os_arch of the node), or a script lacks its first `#!` line"),
        "Permission denied": (
            "the program may not be executed (126)",
            "give the file its execute bit in the image; the user is the node's kubernetes_user, not the image's"),
    }[found[1]]  # fmt: skip
    return EngineFailure(FailureCode.EXECUTABLE_INVALID, f"failed to start container: {what}: {said.strip()} ({hint})")


def out_of_memory(request: RunRequest) -> EngineFailure:
    """Return the failure of a program that the kernel ended at its limit."""
    limit = request.resources.memory_bytes
    told = f" of {limit} bytes (Resources.Memory)" if limit else " of its node"
    return EngineFailure(
        FailureCode.OUT_OF_MEMORY, f"memory limit exceeded: the program was killed at its limit{told}; ask for more"
    )


def lost(what: str) -> EngineFailure:
    """Return the failure of a run that its cluster lost, by no doing of the program."""
    return EngineFailure(FailureCode.ENGINE_LOST, what)


def _ended_from_outside(status: Pod) -> EngineFailure:
    reason, message = str(status.get("reason")), str(status.get("message") or "")
    if reason == "Evicted" and _DISK.search(message):
        return EngineFailure(FailureCode.DISK_LIMIT_EXCEEDED, f"its pod was evicted: {message} (Resources.Disk)")
    return lost(f"the cluster ended its pod: {reason}: {message}".rstrip(": "))


def _not_started(message: str) -> EngineFailure:
    said = " ".join(message.split())
    if "runAsNonRoot" in said or "image will run as root" in said:
        hint = "the image runs as root, which the node's kubernetes_user forbids: name another USER in it"
        return EngineFailure(FailureCode.CONTAINER_REFUSED, f"failed to start container: {said} ({hint})")
    if re.search(r"not a directory|mount(?:ing)? .* (?:rootfs|subpath)|read-only file system", said, re.IGNORECASE):
        hint = (
            "an input or output lies where the image has a file, or inside another input: choose another Target or Path"
        )
        return EngineFailure(FailureCode.INPUT_INVALID, f"failed to start container: {said} ({hint})")
    hint = "the job's Engine.Params tell more; `kubectl describe pod` does while it is there"
    return EngineFailure(FailureCode.CONTAINER_REFUSED, f"failed to start container: {said} ({hint})")


def _container(statuses: list[Pod] | None, name: str) -> Pod:
    return next((one for one in statuses or () if one.get("name") == name), {})


def _image(pod: Pod, name: str) -> str:
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return next((str(one.get("image")) for one in containers if one.get("name") == name), "")
