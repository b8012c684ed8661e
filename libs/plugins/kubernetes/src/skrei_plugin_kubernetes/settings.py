"""What a node's owner may set for the Kubernetes engine, and its limits, each with the reason for its number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IMAGE_USER = "image"
"""The value of `user` that keeps what the image says; the namespace must allow root then."""


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Read from the plugin's options, `kubernetes_<name>`; seconds and bytes are plain numbers."""

    config: str = ""
    """A kubeconfig as JSON (`kubectl config view --raw --minify -o json`); empty: the service account of the pod that
    the agent runs in."""
    namespace: str = ""
    """Where the pods are; empty: where the agent is."""
    helper_image: str = "busybox:1.37"
    """Brings files into pods and out of them: any image with sh, tar, head and sleep."""
    user: str = "10001"
    """The user that programs run as: a number, as clusters with restricted namespaces want it, or `image`: the image's
    own, root where it names none."""
    closed: str = "always"
    """How a task without network has none: `always`, its programs can open no socket but between each other, whatever
    the cluster's network does; `policy`: they have loopback, and the cluster's NetworkPolicies keep them from the rest,
    which not every cluster enforces."""
    volumes: tuple[str, ...] = ()
    """Volumes that are mounted where they are in the agent's pod, `/data=claim`, separated by spaces: inputs below such
    a path are not copied."""
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets with credentials for registries, separated by spaces."""
    registry_config: str = ""
    """A docker config.json with credentials, by which the agent reads what an image starts."""
    node_selector: tuple[str, ...] = ()
    """Labels of the cluster's nodes that pods may run on, `disk=ssd zone=a`."""
    runtime_class: str = ""
    """The RuntimeClass of the pods, where the cluster has sandboxes (gVisor, Kata)."""
    priority_class: str = ""
    """The PriorityClass of the pods: jobs that may be preempted by services, say."""
    helper_memory_bytes: int = 64 * 1024 * 1024
    """What copying may take: tar and a shell need some MiB."""
    stop_grace_seconds: int = 10
    """Between SIGTERM and SIGKILL where the task says nothing: what the docker engine gives too."""
    start_seconds: float = 600.0
    """How long a pod may wait for room and for its image: autoscalers bring a node within some minutes."""
    describe_seconds: float = 2.0
    """How long the cluster may take to say its version: one that needs more cannot run jobs either."""
    answer_seconds: float = 30.0
    """One call to the cluster's API."""
    away_seconds: float = 120.0
    """How long an API that went away during a run is waited for: pods go on without it, and upgrades of a control plane
    take a minute."""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "KubernetesSettings":
        """Return the settings that the options name. Raises ValueError for what cannot be."""
        given: dict[str, Any] = {}
        default = cls()
        for name in cls.__slots__:
            text = options.get(f"kubernetes_{name}")
            if text is not None:
                kind = type(getattr(default, name))
                given[name] = tuple(text.split()) if kind is tuple else kind(text)
        found = cls(**given)
        if found.user != IMAGE_USER and not found.user.isdecimal():
            raise ValueError("kubernetes_user must be a number or `image`")
        if found.closed not in ("always", "policy"):
            raise ValueError("kubernetes_closed must be `always` or `policy`")
        return found

    @property
    def claims(self) -> dict[str, str]:
        """Which claim is mounted at which path of the agent's pod."""
        return {path.rstrip("/"): claim for path, _, claim in (one.partition("=") for one in self.volumes)}
