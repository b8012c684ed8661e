"""Submissions whose names are in use: each is the next version of the job that has the name, if it changes anything."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skrei_domain.errors import Conflict, Invalid, Unavailable
from skrei_domain.job import decode
from skrei_domain.job_diff import same
from skrei_store.db import Connection
from skrei_store.halves import ERRORS, in_halves, refusal
from skrei_store.submission import Submission, Submitted
from skrei_store.versions import NewVersion, write_versions

RACES = 8
"""How often a submission is decided anew because another process has just changed its job: then it is told so."""

UNCHANGED_HINT = "Use the --force flag to override this warning"


@dataclass(frozen=True, slots=True)
class Owner:
    """The job that has a name, as it was read."""

    job_id: str
    type: str
    version: int
    spec: str


async def update_many(connection: Connection, batch: Sequence[Submission]) -> list[Submitted | Exception]:
    """Give jobs a new version each, in order: of two for one job the second is decided on what the first has made.

    Conflict for one that changes nothing, Invalid for one of another type, Unavailable for one that lost every race.
    """
    answers: dict[int, Submitted | Exception] = {}
    lost: Counter[int] = Counter()
    while waiting := {index: submission for index, submission in enumerate(batch) if index not in answers}:
        try:
            owners = await _owners(connection, list(waiting.values()))
        except ERRORS as error:
            return [answers.get(index, error) for index in range(len(batch))]
        for index, answer in (await _round(connection, waiting, owners)).items():
            if answer is not None:
                answers[index] = answer
                continue
            lost[index] += 1
            if lost[index] == RACES:
                told = f"others are changing the job named {waiting[index].spec.name!r}"
                answers[index] = Unavailable(told, hint="try again in a moment")
    return [answers[index] for index in range(len(batch))]


async def _round(
    connection: Connection, waiting: Mapping[int, Submission], owners: Mapping[tuple[str, str], Owner]
) -> dict[int, Submitted | Exception | None]:
    """Answer the first submission for each job; None where its version has moved on since it was read."""
    answers: dict[int, Submitted | Exception | None] = {}
    wanted: dict[str, _Wanted] = {}
    for index, submission in waiting.items():
        owner = owners.get((submission.spec.namespace, submission.spec.name))
        if owner is None:
            answers[index] = Unavailable(f"the name {submission.spec.name!r} was in use a moment ago", hint="try again")
        elif owner.job_id not in wanted:
            decided = _decide(submission, owner)
            if isinstance(decided, NewVersion):
                wanted[owner.job_id] = _Wanted(index, submission, decided)
            else:
                answers[index] = decided
    asked = list(wanted.values())
    written = await in_halves(
        asked,
        lambda some: _write(connection, some),
        lambda one, error: refusal(connection, one.submission, error),
    )
    return answers | {each.index: answer for each, answer in zip(asked, written, strict=True)}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A submission of the batch, and the version that it is."""

    index: int
    submission: Submission
    new: NewVersion


async def _write(connection: Connection, some: Sequence[_Wanted]) -> list[Submitted | None]:
    """Write versions; None for those whose job has moved on."""
    done = await write_versions(connection, [each.new for each in some])
    return [done.get(each.new.job_id) for each in some]


def _decide(submission: Submission, owner: Owner) -> NewVersion | Exception:
    spec = submission.spec
    if spec.type != owner.type:
        return Invalid(
            f"Type: {spec.type!r}; allowed: {owner.type!r}, which job {owner.job_id} is, whose name {spec.name!r} is",
            hint="choose another name for a job of another type",
            job_id=owner.job_id,
        )
    unchanged = same(decode(owner.spec), spec)
    if unchanged and not submission.force:
        return Conflict(
            f"no changes detected for new job spec. Job Name: {spec.name!r}; its job {owner.job_id} is at version"
            f" {owner.version}",
            hint=UNCHANGED_HINT,
            job_id=owner.job_id,
        )
    return NewVersion(
        job_id=owner.job_id,
        base=owner.version,
        evaluation_id=submission.evaluation_id,
        spec=spec,
        spec_json=submission.spec_json,
        actor=submission.actor,
        traceparent=submission.traceparent,
        blobs=submission.blobs,
        token=submission.token,
        digest=submission.digest,
        anew=unchanged,
    )


async def _owners(connection: Connection, batch: Sequence[Submission]) -> dict[tuple[str, str], Owner]:
    """Return which jobs have the names, with their current versions."""
    rows = await connection.fetch(
        """
        SELECT owner.* FROM unnest($1::text[], $2::text[]) AS asked (namespace, name)
        CROSS JOIN LATERAL (
            SELECT j.namespace, j.name, j.id, j.type, j.version, v.spec
            FROM jobs AS j JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
            WHERE j.namespace = asked.namespace AND j.name = asked.name OFFSET 0
        ) AS owner
        """,
        [submission.spec.namespace for submission in batch],
        [submission.spec.name for submission in batch],
    )
    return {(row["namespace"], row["name"]): Owner(row["id"], row["type"], row["version"], row["spec"]) for row in rows}
