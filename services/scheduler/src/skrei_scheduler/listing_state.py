"""A job whose inputs are listed for it: what nodes were asked, what they said, and what of that the record keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from skrei_domain import object_servers
from skrei_domain.messages import ManifestRef
from skrei_domain.source_keys import IPFS
from skrei_scheduling import data, texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.rows import Evaluation, JobRow, TaskInput, TaskPlan

_FINAL = {"input-missing", "input-invalid", "input-too-large"}
"""What a node says of an input that it has reached: any other would say the same. All else may be the node's own."""


def is_final(code: str, task: TaskPlan, number: int) -> bool:
    """Whether another node would say the same of a task's input: not where each asks a server or daemon of its own."""
    own = any(each.place == number and object_servers.USUAL in each.servers for each in task.inputs)
    return code in _FINAL and not own and (number, IPFS) not in task.fetched


@dataclass(slots=True)
class Question:
    """One node that was asked to list an input."""

    request_id: str
    node_id: str
    since: float  # when it was first asked
    sent: float
    heard: float = 0.0
    files: int = 0
    why: str = ""  # it will not

    @property
    def open(self) -> bool:
        """Whether an answer is waited for."""
        return not self.why


@dataclass(slots=True)
class Asked:
    """One input that is to be listed: the nodes that were asked for it, one after another, and what it came to."""

    since: float
    questions: list[Question] = field(default_factory=list)
    ref: ManifestRef | None = None
    node_id: str = ""  # whose list it is
    why: str = ""  # there will be none

    @property
    def open(self) -> bool:
        """Whether an answer is waited for."""
        return self.ref is None and not self.why

    @property
    def waiting(self) -> list[Question]:
        """The nodes that may still answer."""
        return [each for each in self.questions if each.open]

    @property
    def nodes(self) -> set[str]:
        """All that were asked."""
        return {each.node_id for each in self.questions}

    @property
    def files(self) -> int:
        """How many files the one that is furthest has found."""
        return max((each.files for each in self.questions), default=0)


@dataclass(slots=True)
class Held:
    """A job that is held back, and what is to be looked at once it is not.

    `targets` are the nodes that it is fixed to with the list, where none were before: by their number it is dealt out.
    """

    job: JobRow
    evaluations: dict[str, Evaluation]
    inputs: dict[TaskInput, TaskPlan]
    targets: tuple[tuple[str, int], ...] = ()
    placed: bool = False  # it is not held back any more: what its first execution's node lists pins the rest
    since: float = 0.0
    asked: dict[TaskInput, Asked] = field(default_factory=dict)
    told: int = 0
    told_at: float = 0.0

    @property
    def files(self) -> int:
        """How many files were found so far."""
        return sum(each.files for each in self.asked.values())

    @property
    def over(self) -> bool:
        """Whether all is known that will be."""
        return len(self.asked) == len(self.inputs) and not any(each.open for each in self.asked.values())

    @property
    def refs(self) -> dict[TaskInput, ManifestRef]:
        """What was listed."""
        return {key: each.ref for key, each in self.asked.items() if each.ref is not None}


def pin_into(builder: ChangesBuilder, held: Held) -> None:
    """Pin a job to what was listed of its inputs, and tell that; not one that has ended or is another version now."""
    known: Mapping[TaskInput, ManifestRef] = {} if (job := builder.job(held.job.id)) is None else job.manifests
    refs = {key: ref for key, ref in held.refs.items() if key not in known}
    if not builder.pin(held.job, refs):
        return
    if refs:
        _fix(builder, held)
        files, size = sum(ref.files for ref in refs.values()), sum(ref.size_bytes for ref in refs.values())
        nodes = sorted({held.asked[key].node_id for key in refs})
        text = (texts.LISTED_LATE if held.placed else texts.LISTED).format(files=files, size=size)
        builder.history(held.job.id, texts.SCHEDULING, text, details={texts.NODE_ID: ",".join(nodes)})
    missing = [each.why for each in held.asked.values() if each.why]
    if missing and not held.placed:
        builder.history(held.job.id, texts.SCHEDULING, texts.NOT_LISTED.format(why=missing[0]))


def _fix(builder: ChangesBuilder, held: Held) -> None:
    """Fix a job to the nodes that its list was made for."""
    job = builder.job(held.job.id)
    if held.targets and job is not None and not job.targets:
        builder.set_targets(held.job, held.targets)
        if held.job.split:
            builder.history(held.job.id, texts.SCHEDULING, data.told(builder.view, held.job))
