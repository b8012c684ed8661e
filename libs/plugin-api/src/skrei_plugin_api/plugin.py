"""What every kind of plugin shares: how it is named, which contract it was written for, what it is given when made."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from skrei_domain.job_reading import FieldProblem
from skrei_domain.node import DataSet, PathSize

PLUGIN_API = 1
"""The version of the contracts in this package; a plugin that names another one is refused when it is loaded."""

Params = Mapping[str, Any]
"""What a spec tells a plugin: keys in any case, values as they were in JSON."""


@dataclass(frozen=True, slots=True)
class PluginContext:
    """What a node gives a plugin when it makes it.

    `state_dir` is the plugin's own folder on this node: made when needed, kept between starts of the node.
    """

    state_dir: Path
    allow_local: tuple[str, ...] = ()
    """Host paths that may be handed to jobs, `<glob>[:rw|:ro]`."""
    owner_paths: bool = False
    """Whether what the node's owner submitted may read whatever the node's user can."""
    allow_addresses: tuple[str, ...] = ()
    """Private networks that jobs with a filtered network may reach."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Data sets of this node by name, `PATH[:ro|:rw]`, as its settings declare them."""
    data_file: Path | None = None
    """Where others are declared in the same words, as JSON; it may change, come and go at any time."""
    options: Mapping[str, str] = field(default_factory=dict)
    node_id: str = ""
    """Whose plugin this is: what is made outside of this process is marked with it."""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """Whether a plugin works on this machine, and why not; of one that works, `reason` tells what of it does not.

    `missing_paths` are paths of this machine that it would hand out, were they there, `path_sizes` how much lies below
    some that are; `data` are data sets that it hands out by name, `missing_data` those that it cannot hand out now,
    each with the reason.
    """

    available: bool
    version: str = ""
    reason: str = ""
    missing_paths: tuple[str, ...] = ()
    path_sizes: tuple[PathSize, ...] = ()
    data: tuple[DataSet, ...] = ()
    missing_data: tuple[tuple[str, str], ...] = ()


class Plugin(ABC):
    """A plugin is a class found by an entry point; a node makes one object of it and keeps it until it ends.

    Making one is cheap and touches nothing; what is heavy is imported and started at first use.
    """

    plugin_api: ClassVar[int] = 0
    """Set by every plugin to the PLUGIN_API it was written for."""
    name: ClassVar[str]
    version: ClassVar[str]

    def __init__(self, context: PluginContext) -> None:
        self.context = context

    @abstractmethod
    async def describe(self) -> PluginInfo:
        """Return whether this machine has what the plugin needs. Never raises for a missing part.

        Asked every few seconds, in a thread and on an event loop of its own, so that one that blocks or hangs holds
        nobody else up: use nothing that belongs to the loop of the other methods (a session, a lock). An answer that
        takes longer than the node's limit counts as away until it comes.
        """

    @abstractmethod
    def validate(self, params: Params) -> list[FieldProblem]:
        """Return what is wrong with `params`, one problem a field, their paths relative to the params. Pure."""

    async def close(self) -> None:
        """End what the plugin started; returns when it is gone. Safe twice, and when nothing was started."""
        return


def param(params: Params, name: str) -> Any:
    """Return the parameter called `name` in any case, or None."""
    if name in params:
        return params[name]
    wanted = name.lower()
    return next((value for key, value in params.items() if key.lower() == wanted), None)
