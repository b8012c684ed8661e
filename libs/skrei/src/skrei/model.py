"""Jobs as typed values, for programs that make them: what a job file says, with names that an editor completes.

    JobSpec(tasks=(Task(engine=Docker(image="busybox:1.37", command=("echo", "hello"))),))

`more` of each carries whatever fields a job file may have beside those named here. The API checks a job; here is only
what needs this machine: a module or a folder that travels with the job.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from skrei.errors import Rejected
from skrei.views import Document

Fields: TypeAlias = Mapping[str, Any]
MODULE = "/main.wasm"
"""Where a module that travels with its job lies for its node."""


@runtime_checkable
class SupportsJob(Protocol):
    """Whatever can say which job it is: a `JobSpec`, or an object of yours."""

    def document(self) -> Document:
        """Return the job as the API takes it."""
        ...


JobLike: TypeAlias = Mapping[str, Any] | SupportsJob | str | os.PathLike[str]
"""A job: a mapping as in a job file, a `JobSpec` (or anything with `document()`), or the path of a job file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """A container of `image`. Without `entrypoint` the image's own is started, with `command` as its arguments."""

    image: str
    command: Sequence[str] = ()
    entrypoint: Sequence[str] = ()
    workdir: str = ""
    more: Fields = field(default_factory=dict)

    def engine(self) -> Document:
        """Return the engine of a task."""
        params = _filled(
            Image=self.image,
            Entrypoint=_texts(self.entrypoint),
            Parameters=_texts(self.command),
            WorkingDirectory=self.workdir,
        )
        return {"Type": "docker", "Params": params | dict(self.more)}

    def carried(self) -> list[Document]:
        """Return the inputs that the engine itself needs."""
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Wasm:
    """A WebAssembly module: a file of this machine, which travels with the job, or the path of one of its inputs."""

    module: str | os.PathLike[str]
    arguments: Sequence[str] = ()
    entry_point: str = "_start"
    from_input: bool = False
    """`module` is a path among the task's inputs, nothing of this machine."""
    more: Fields = field(default_factory=dict)

    def engine(self) -> Document:
        """Return the engine of a task."""
        params = {
            "EntryModule": os.fspath(self.module) if self.from_input else MODULE,
            "Entrypoint": self.entry_point,
            "Parameters": _texts(self.arguments),
        }
        return {"Type": "wasm", "Params": params | dict(self.more)}

    def carried(self) -> list[Document]:
        """Return the module as an input. Raises Rejected where it cannot be read."""
        return [] if self.from_input else [Input.carry(self.module, MODULE).document()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Any other engine, as a job file names it."""

    type: str
    params: Fields = field(default_factory=dict)

    def engine(self) -> Document:
        """Return the engine of a task."""
        return {"Type": self.type, "Params": dict(self.params)}

    def carried(self) -> list[Document]:
        """Return the inputs that the engine itself needs."""
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Data that a task reads at `target`."""

    type: str
    params: Fields
    target: str
    alias: str = ""

    @classmethod
    def local(cls, path: str | os.PathLike[str], target: str) -> "Input":
        """A file or folder of the node, at the same absolute path as here."""
        return cls(type="local", params={"SourcePath": str(Path(path).expanduser().absolute())}, target=target)

    @classmethod
    def carry(cls, path: str | os.PathLike[str], target: str) -> "Input":
        """A small file or folder of this machine, inside the job itself. Raises Rejected."""
        from skrei.inline import data_url

        return cls(type="inline", params={"URL": data_url(Path(path))}, target=target)

    @classmethod
    def url(cls, url: str, target: str) -> "Input":
        """What the node downloads."""
        return cls(type="urlDownload", params={"URL": url}, target=target)

    @classmethod
    def data(cls, name: str, target: str, *, path: str = "", writes: bool = False) -> "Input":
        """A data set that nodes declare, or a part of it: the task goes to a node that has it and reads it there."""
        return cls(type="data", params={"Name": name} | _filled(Path=path, ReadWrite=writes), target=target)

    def document(self) -> Document:
        """Return the input as a job file says it."""
        source = {"Type": self.type, "Params": dict(self.params)}
        return {"Source": source, "Target": self.target} | _filled(Alias=self.alias)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One program of a job."""

    engine: Docker | Wasm | Engine
    name: str = "main"
    env: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[Input] = ()
    results: Mapping[str, str] = field(default_factory=dict)
    """Folders that it fills, by the name of each among the results: `{"counts": "/counts"}`."""
    cpu: str = ""
    memory: str = ""
    disk: str = ""
    gpu: str = ""
    timeout_seconds: int = 0
    depends_on: Sequence[str] = ()
    uses: Sequence[str] = ()
    """Services of other jobs, by name: it waits for them, and finds each as `SKREI_SERVICE_<NAME>`."""
    split: str = ""
    """`holder`: one partition on each node that holds its data, in place of a count."""
    more: Fields = field(default_factory=dict)

    def document(self) -> Document:
        """Return the task as a job file says it. Raises Rejected."""
        told = {
            "Name": self.name,
            "Engine": self.engine.engine(),
            "InputSources": [*self.engine.carried(), *(one.document() for one in self.inputs)],
        }
        return (
            told
            | _filled(
                Env=dict(self.env),
                ResultPaths=[{"Name": name, "Path": path} for name, path in self.results.items()],
                Resources=_filled(CPU=self.cpu, Memory=self.memory, Disk=self.disk, GPU=self.gpu),
                Timeouts=_filled(ExecutionTimeout=self.timeout_seconds),
                DependsOn=_texts(self.depends_on),
                Uses=_texts(self.uses),
                Split=self.split,
            )
            | dict(self.more)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job."""

    tasks: Sequence[Task]
    name: str = ""
    type: str = "batch"
    count: int | None = None
    namespace: str = ""
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    constraints: Sequence[Fields] = ()
    more: Fields = field(default_factory=dict)

    def document(self) -> Document:
        """Return the job as the API takes it. Raises Rejected."""
        told: Document = {"Type": self.type, "Tasks": [task.document() for task in self.tasks]}
        told |= _filled(
            Name=self.name,
            Namespace=self.namespace,
            Priority=self.priority,
            Labels=dict(self.labels),
            Constraints=[dict(one) for one in self.constraints],
        )
        return told | ({} if self.count is None else {"Count": self.count}) | dict(self.more)


def document_of(job: JobLike) -> Document:
    """Return a job as the API takes it; a job file is read, with what it names on this machine. Raises Rejected."""
    if isinstance(job, (str, os.PathLike)):
        from skrei.jobfile import load

        return load(Path(job))
    if isinstance(job, Mapping):
        return dict(job)
    if isinstance(job, SupportsJob):
        return job.document()
    raise Rejected(
        f"{type(job).__name__} is not a job.", hint="Give a mapping, a skrei.JobSpec, or the path of a job file."
    )


def replaced(job: Document, **fields: object) -> Document:
    """Return the job with some fields replaced, whatever the case of their names; empty ones replace nothing."""
    wanted = {name: value for name, value in fields.items() if value not in ("", None)}
    lowered = {name.lower() for name in wanted}
    return {name: value for name, value in job.items() if str(name).lower() not in lowered} | wanted


def _texts(words: Sequence[str]) -> list[str]:
    """Return words as a list. Raises Rejected for one text: it would be taken for its letters."""
    if isinstance(words, str):
        raise Rejected(f"{words!r} is one text where a sequence of words is wanted.", hint=f"Write [{words!r}].")
    return list(words)


def _filled(**fields: Any) -> Document:
    return {name: value for name, value in fields.items() if value}
