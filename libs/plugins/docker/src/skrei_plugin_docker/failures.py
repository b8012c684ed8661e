"""What goes wrong with images and containers, from the daemon's words to a code, a cause and what to do. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from skrei_domain.errors import SkreiError
from skrei_plugin_api.engine import EngineFailure, FailureCode

PORT_TAKEN = re.compile(r"port is already allocated|address already in use", re.IGNORECASE)
DISK_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
NOT_BEGUN = re.compile(
    r"cannot start a (?:stopped process|container that has (?:run and )?stopped)|container process is already dead",
    re.IGNORECASE,
)
"""What a runtime says that made a container, whose process is gone when it is to go on with the program."""
NO_TOOLKIT = re.compile(r"could not select device driver|GPU vendor", re.IGNORECASE)
"""What a daemon says that has nothing of NVIDIA's beside it; from Docker 29 on it looks for another vendor's then."""
NO_GPU = re.compile(rf"{NO_TOOLKIT.pattern}|CDI device|nvidia-container-|NVIDIA Container Runtime", re.IGNORECASE)
"""What a daemon says that cannot give a container the GPU that it asks for."""
NOT_DESCRIBED = re.compile(r"unresolvable CDI device", re.IGNORECASE)
"""NVIDIA's toolkit is there, and no description names the device."""


class DaemonAway(SkreiError):
    """The Docker daemon cannot be reached, or does not answer."""

    code = "docker-away"
    retryable = True


class DiskFull(SkreiError):
    """The daemon has no room left on its disk."""

    code = "docker-disk-full"
    retryable = True


class RegistryTrouble(SkreiError):
    """A registry does not serve now, or not this node: another node, or a later time, may do better."""

    code = "registry-unavailable"
    retryable = True


class RegistryNotFound(RegistryTrouble):
    """The registry's name leads nowhere on this node: a typo, or a node without DNS. Soon given up."""

    code = "registry-not-found"


class WrongPlatform(RegistryTrouble):
    """The image is for other machines than this one: a node of another kind may run it."""

    code = "image-platform"


class ImageUnavailable(SkreiError):
    """The image cannot be had, whoever asks."""

    code = "image-unavailable"


class GpuNotGiven(SkreiError):
    """The node's daemon cannot give GPUs to containers, though the node has some: that of another node may."""

    code = "gpu-not-given"
    retryable = True


class PortTaken(SkreiError):
    """A port that was free when it was chosen has been taken meanwhile: another try gets another."""

    code = "port-taken"
    retryable = True


class NotBegun(SkreiError):
    """A container's process was gone before its program was executed: nothing of it ran, and another one may."""

    code = "container-not-begun"
    retryable = True


class Refusal(Exception):
    """The daemon says no to a request: its status and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = " ".join(message.split())

    @property
    def image_missing(self) -> bool:
        """Whether a container cannot be made because its image is not here."""
        return self.status == 404 and "no such image" in self.message.lower()


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    what: str
    hint: str
    error: type[SkreiError] = ImageUnavailable


def _rule(pattern: str, what: str, hint: str, error: type[SkreiError] = ImageUnavailable) -> _Rule:
    return _Rule(re.compile(pattern, re.IGNORECASE), what, hint, error)


_PULL = (
    _rule(
        r"\blookup \S+(?: on \S+)?: |name resolution|no such host",
        "this node finds no registry of that name",
        "check the image's name, and this node's DNS (`docker pull` there shows the same); an image that lies on the "
        "node needs no registry; it is tried a few times, on other nodes where there are some",
        RegistryNotFound,
    ),
    _rule(
        r"toomanyrequests|too many requests|rate limit|\b429\b",
        "the registry serves this node no more for now (429)",
        "it is tried again; with credentials (`docker login` on the node) most registries allow more",
        RegistryTrouble,
    ),
    _rule(
        r"unauthorized|authentication required|no basic auth|\b401\b|\b403\b|forbidden|denied: |incorrect username",
        "the registry refuses this node (401)",
        "log in on the node with `docker login`, or correct the credentials there",
    ),
    _rule(
        r"pull access denied|may require 'docker login'",
        "there is no such repository, or this node may not read it",
        "check the name; for a private one log in on the node with `docker login`",
    ),
    _rule(
        r"manifest unknown|manifest for .* not found|not found|\b404\b|name unknown|repository .* does not exist",
        "the registry has no such image (404)",
        "check the name and the tag; `docker pull` on any machine tells whether it can be had",
    ),
    _rule(
        r"no matching manifest|does not match the specified platform",
        "the registry has the image, but not for this node's platform",
        "constrain the job to nodes of the image's platform (os_arch), or name an image for this one",
        WrongPlatform,
    ),
    _rule(
        r"http response to https client|certificate|x509",
        "the registry cannot be spoken to safely",
        "the node's daemon must trust its certificate (/etc/docker/certs.d), or list it as insecure",
    ),
)


def pull_failed(image: str, said: str) -> SkreiError:
    """Return what a pull that failed is; the daemon's words stand in it."""
    said = " ".join(said.split())
    if DISK_FULL.search(said):
        return disk_full(said)
    for rule in _PULL:
        if rule.pattern.search(said):
            return rule.error(f"image not available: {image}: {rule.what}: {said}", hint=rule.hint)
    return RegistryTrouble(
        f"image not available: {image}: it cannot be pulled: {said}",
        hint="it is tried again; `docker pull` on the node shows the same, and `Pull: never` asks no registry",
    )


def wrong_platform(image: str, platforms: Iterable[object], own: object) -> WrongPlatform:
    """Return the failure of an image that is for other machines: other nodes may run it."""
    told = ", ".join(sorted({str(one) for one in platforms}))
    return WrongPlatform(
        f"image not available: {image} is for {told}, and this node is {own}",
        hint="constrain the job to nodes of the image's platform (os_arch), or name an image for this one; a node that "
        "emulates others says so by its option docker_platforms",
    )


def not_here(image: str) -> ImageUnavailable:
    """Return the failure of `Pull: never` where the image is not on the node."""
    return ImageUnavailable(
        f"image not available: {image} is not on this node, and `Pull: never` asks no registry",
        hint="load it there (`docker pull`, `docker load`), or leave `Pull` out",
    )


def disk_full(said: str) -> DiskFull:
    """Return the trouble of a daemon without room."""
    return DiskFull(
        f"the node's Docker daemon has no room left on its disk: {said}",
        hint="make room on the node: `docker system prune` removes what nothing uses",
    )


def gpu_not_given(said: str) -> GpuNotGiven:
    """Return the trouble of a daemon that cannot give its node's GPU to a container: what to install, or to ask."""
    if NOT_DESCRIBED.search(said):
        hint = "on the node, `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` describes its GPUs to Docker"
    elif NO_TOOLKIT.search(said):
        hint = "install the NVIDIA Container Toolkit on the node (nvidia-container-toolkit), then restart Docker there"
    else:
        hint = "on the node, `docker run --rm --gpus all ubuntu nvidia-smi` shows the same"
    return GpuNotGiven(f"the node's Docker daemon gives no GPU to containers: {said}", hint=hint)


_START = (
    (
        r"executable file not found|exec: \"[^\"]*\": stat [^:]*: no such file or directory"
        r"|^exec .*: no such file or directory$",
        FailureCode.EXECUTABLE_INVALID,
        "the image has no such program (127)",
        "check Entrypoint, Parameters and the image's PATH",
    ),
    (
        r"exec format error",
        FailureCode.EXECUTABLE_INVALID,
        "the program is none that this machine can run (126)",
        "the image is for another platform (compare os_arch of the node), or a script lacks its first `#!` line",
    ),
    (
        r"exec: \"[^\"]*\": (?:is a directory|permission denied)|starting container process caused.*permission denied"
        r"|^exec .*: permission denied$",
        FailureCode.EXECUTABLE_INVALID,
        "the program may not be executed (126)",
        "give the file its execute bit in the image, or name another one in Entrypoint",
    ),
    (
        r"no command specified",
        FailureCode.EXECUTABLE_INVALID,
        "the image names no program to run",
        "name one in Parameters (or Entrypoint)",
    ),
    (
        r"minimum memory limit",
        FailureCode.CONTAINER_REFUSED,
        "Resources.Memory is below what a container needs",
        "ask for 6mb or more",
    ),
    (
        r"duplicate mount point",
        FailureCode.INPUT_INVALID,
        "two inputs or outputs want to be at the same place",
        "give each its own Target or Path",
    ),
    (
        r"mkdir .*: not a directory|not a directory: unknown|Are you trying to mount a directory onto a file",
        FailureCode.INPUT_INVALID,
        "an input or output lies where the image has a file",
        "choose another Target or Path",
    ),
    (
        r"chdir to cwd|working directory",
        FailureCode.CONTAINER_REFUSED,
        "the WorkingDirectory cannot be entered",
        "name a directory of the image that its user may enter",
    ),
)

_LAYERS = re.compile(
    r"(?:failed to create (?:shim )?task(?: for container)?: |OCI runtime create failed: |runc create failed: "
    r"|unable to start container process: |container_linux\.go:\d+: starting container process caused: "
    r"|error during container init: )"
)
"""The programs below the daemon, each of which puts its name before what the last one says."""
_NOT_EXECUTED = re.compile(r"exec [^\n]*: (?:exec format error|permission denied|no such file or directory)\n?")


def never_ran(code: int, stderr: bytes) -> EngineFailure | None:
    """Return why a program that "ended" was never executed: what starts it says so in the program's own stderr."""
    said = stderr.decode("utf-8", errors="replace")
    if code in (1, 126, 127, 255) and _NOT_EXECUTED.fullmatch(said):
        return _explained(" ".join(said.split()), said.strip())
    return None


def start_failed(refusal: Refusal) -> EngineFailure:
    """Return why a container could not be made or started.

    Raises DiskFull, PortTaken, NotBegun or GpuNotGiven, which are the node's doing.
    """
    if DISK_FULL.search(refusal.message):
        raise disk_full(refusal.message)
    if PORT_TAKEN.search(refusal.message):
        raise PortTaken(f"a port of the node was taken just before the container began: {refusal.message}")
    said = _LAYERS.sub("", refusal.message).strip().removesuffix(": unknown")
    if NO_GPU.search(refusal.message):
        raise gpu_not_given(said)
    if NOT_BEGUN.search(refusal.message):
        raise NotBegun(
            f"the container was gone before its program began: {said}",
            hint="something on the node killed it: look for `oom` in `dmesg` there, and at the daemon's log",
        )
    return _explained(refusal.message, said) or EngineFailure(
        FailureCode.CONTAINER_REFUSED,
        f"failed to start container: the node's Docker daemon refuses it: {said} (the job's Engine.Params and the "
        "daemon's log on the node tell more)",
    )


def _explained(message: str, said: str) -> EngineFailure | None:
    """Return what is wrong with a job by a message of which `said` is told; None where that is not known."""
    for pattern, code, what, hint in _START:
        if re.search(pattern, message, re.IGNORECASE):
            return EngineFailure(code, f"failed to start container: {what}: {said} ({hint})")
    return None
