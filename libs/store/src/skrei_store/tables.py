"""The record's tables: what is stored, and the rules that no code can break.

They are the model that migrations are written and checked from; queries are SQL of their own (docs/adr/0003).
Ids are text with collation "C", so that the beginning of one finds it through the primary key. There are no foreign
keys: the writers of a row and of what it refers to are the same statement (see `submit`, `leader`).
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from skrei_domain.lifecycle import LIVE, Connection, ExecutionState, Intake, JobState, Membership, NodeAction, Want

ID = Text(collation="C")
TIME = DateTime(timezone=True)

OPEN_JOBS = tuple(state.value for state in JobState if not state.is_terminal)
"""States of jobs that the leader holds in its view."""

QUEUE_LIKE = {
    # Rows live for seconds here: clean after a thousand dead ones whatever the table's size, and without pauses.
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "2000",
    "autovacuum_vacuum_cost_delay": "0",
}
UPDATED_IN_PLACE = {
    # Every row is updated a few times within seconds and never again: room for that on its page, and early cleaning.
    "fillfactor": "80",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_threshold": "2000",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_analyze_threshold": "2000",
    "autovacuum_vacuum_cost_delay": "0",
}
ONE_ROW = {"fillfactor": "10"}  # a row that every commit touches: its versions stay on one page


def one_of(column: str, values: Iterable[str]) -> str:
    """Return the SQL condition that a column holds one of a few words."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


LIVE_EXECUTION = one_of("state", (state.value for state in ExecutionState if state in LIVE))
"""Whether an execution can still change."""
STANDING_EXECUTION = (
    "NOT revoked AND NOT staged AND NOT leaving AND "
    f"{one_of('state', (s for s in ExecutionState if s in LIVE and s != 'unknown'))}"
)
"""Whether an execution stands for its unit: there is at most one. A staged one has its unit by its result, and one that
is leaving has given it up."""


class Base(DeclarativeBase):
    """The root of the tables; constraints are named by rule, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as it is
        str: Text(),
        int: BigInteger(),
        datetime: TIME,
        bytes: LargeBinary(),
    }


class Job(Base):
    """What a user wants and where it stands: narrow, updated in place. Its spec is in `job_versions`."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    namespace: Mapped[str] = mapped_column(ID)
    name: Mapped[str] = mapped_column(ID)
    type: Mapped[str]
    priority: Mapped[int]
    count: Mapped[int]
    state: Mapped[str]
    message: Mapped[str] = mapped_column(server_default="")
    details: Mapped[str] = mapped_column(server_default="{}")  # JSON: what explains the state
    version: Mapped[int] = mapped_column(server_default="1")
    generation: Mapped[int] = mapped_column(server_default="1")  # rises with every intent
    history_seq: Mapped[int]  # the number of the last row of its history
    units_total: Mapped[int]
    units_won: Mapped[int] = mapped_column(server_default="0")
    labels: Mapped[dict[str, str]] = mapped_column(JSONB)
    good_version: Mapped[int] = mapped_column(server_default="0")  # of a service: the last that was ready as a whole
    progress: Mapped[int] = mapped_column(server_default="0")  # units of a service's version ready at once, at most
    progress_at: Mapped[datetime | None]  # since when the deadline of a service's version counts
    paused: Mapped[bool] = mapped_column(server_default="false")  # that deadline does not count now
    anew: Mapped[int] = mapped_column(server_default="0")  # executions of versions before it are not kept
    stop_reason: Mapped[str] = mapped_column(server_default="")
    traceparent: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime]
    asked_at: Mapped[datetime] = mapped_column(server_default=text("now()"))  # the current version
    modified_at: Mapped[datetime]

    __table_args__ = (
        Index("uq_jobs_namespace_name", "namespace", "name", unique=True),
        Index("ix_jobs_created_at_id", "created_at", "id"),
        Index("ix_jobs_namespace_created_at_id", "namespace", "created_at", "id"),
        # Takeover reads the open ones, admission counts those that wait.
        Index("ix_jobs_open", "namespace", "state", postgresql_where=text(one_of("state", OPEN_JOBS))),
        CheckConstraint(one_of("state", JobState), name="state"),
        CheckConstraint("units_won BETWEEN 0 AND units_total", name="units_won"),
        CheckConstraint("state <> 'Completed' OR units_won = units_total", name="completed"),
        {"postgresql_with": UPDATED_IN_PLACE},
    )


class JobVersion(Base):
    """A spec as it was accepted, when and from whom; `schema` says how to read it.

    Never changed, but for how it ended, which is written once: by the statement that makes the next version.
    """

    __tablename__ = "job_versions"

    job_id: Mapped[str] = mapped_column(ID, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    spec: Mapped[str]
    schema: Mapped[int] = mapped_column(server_default="1")
    submitter: Mapped[str] = mapped_column(server_default="")  # what the owner submitted may read the owner's paths
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    state: Mapped[str | None]  # this and the three below once there is a newer one
    message: Mapped[str | None]
    details: Mapped[str | None]  # JSON
    ended_at: Mapped[datetime | None]


class Target(Base):
    """A node of a version of a job that runs once a node, with its number: the partition of what runs there.

    `failed` is JSON: the tasks that were given up on the node, each with the reason.
    """

    __tablename__ = "targets"

    job_id: Mapped[str] = mapped_column(ID, primary_key=True)
    job_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    node_id: Mapped[str] = mapped_column(ID, primary_key=True)
    partition: Mapped[int]
    failed: Mapped[str] = mapped_column(server_default="{}")

    __table_args__ = (UniqueConstraint("job_id", "job_version", "partition"),)


class Manifest(Base):
    """The list that an input of a job's version is pinned to; it lies in the result store, by its digest."""

    __tablename__ = "manifests"

    job_id: Mapped[str] = mapped_column(ID, primary_key=True)
    job_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    task: Mapped[str] = mapped_column(primary_key=True)
    input: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str]
    parts: Mapped[int]
    files: Mapped[int]
    size_bytes: Mapped[int]


class Evaluation(Base):
    """A request to compare wanted with actual; deleted by the commit that answers it."""

    __tablename__ = "evaluations"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    job_id: Mapped[str] = mapped_column(ID)
    namespace: Mapped[str]
    trigger: Mapped[str]
    comment: Mapped[str] = mapped_column(server_default="")
    run_after: Mapped[datetime]
    version: Mapped[int] = mapped_column(server_default="0")  # of the job that it is about; 0: any

    __table_args__ = (Index("ix_evaluations_run_after_id", "run_after", "id"), {"postgresql_with": QUEUE_LIKE})


class Execution(Base):
    """One attempt of one unit on one node, and the outbox of its commands: `revision > seen_revision` is unsent."""

    __tablename__ = "executions"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    job_id: Mapped[str] = mapped_column(ID)
    job_version: Mapped[int]
    namespace: Mapped[str]
    task: Mapped[str]
    partition: Mapped[int]
    attempt: Mapped[int]
    node_id: Mapped[str] = mapped_column(ID)
    incarnation: Mapped[int]
    state: Mapped[str]
    observed: Mapped[str]
    want: Mapped[str]
    revision: Mapped[int]
    seen_revision: Mapped[int]
    cpu_milli: Mapped[int]  # what it reserves, here and in the three below
    memory_bytes: Mapped[int]
    disk_bytes: Mapped[int]
    gpu: Mapped[int]
    revoked: Mapped[bool]
    holds: Mapped[bool]
    starts: Mapped[int]
    changes: Mapped[int]
    message: Mapped[str]
    reason: Mapped[str]
    staged: Mapped[bool] = mapped_column(server_default=text("false"))
    leaving: Mapped[bool] = mapped_column(server_default=text("false"))  # of a service: another takes its place
    ready: Mapped[bool | None]  # what its check finds; null where it has none
    ready_at: Mapped[datetime | None]  # since when, of a service
    what_runs: Mapped[str] = mapped_column(server_default="")  # of a service: equal ones run the same
    evaluation_id: Mapped[str] = mapped_column(ID)
    created_at: Mapped[datetime]
    modified_at: Mapped[datetime]
    # What only readers want.
    steps: Mapped[str | None]  # JSON
    exit_code: Mapped[int | None]
    stdout: Mapped[str | None]
    stderr: Mapped[str | None]
    stdout_truncated: Mapped[bool | None]
    stderr_truncated: Mapped[bool | None]
    problem_code: Mapped[str | None]
    problem_message: Mapped[str | None]
    image_digest: Mapped[str | None]  # what exactly ran, where the engine knows
    ports: Mapped[str | None]  # JSON: its ports on its node as that told them; before, those wanted by number (no host)
    data_read: Mapped[str | None]  # JSON: what its inputs came to, as its node told; null where it has none

    __table_args__ = (
        Index("ix_executions_job_id", "job_id"),
        # A list of jobs says which of them ended with an exit code: hardly any row is in here.
        Index("ix_executions_exit_code", "job_id", postgresql_where=text("exit_code > 0")),
        # What the leader holds in its view.
        Index("ix_executions_held", "node_id", postgresql_where=text(f"holds OR {LIVE_EXECUTION}")),
        Index(
            "uq_executions_standing",
            "job_id",
            "job_version",
            "task",
            "partition",
            unique=True,
            postgresql_where=text(STANDING_EXECUTION),
        ),
        CheckConstraint(one_of("state", ExecutionState), name="state"),
        CheckConstraint(one_of("observed", ExecutionState), name="observed"),
        CheckConstraint(one_of("want", Want), name="want"),
        CheckConstraint("partition >= 0 AND attempt >= 1", name="unit"),
        {"postgresql_with": UPDATED_IN_PLACE},
    )


class Result(Base):
    """What an execution left. Exactly one is committed for a unit; inline bytes stay until the publisher has them.

    One that was uploaded is staged until its publisher has made it final: it can be read since `stored_at`.
    """

    __tablename__ = "results"

    execution_id: Mapped[str] = mapped_column(ID, primary_key=True)
    job_id: Mapped[str] = mapped_column(ID)
    job_version: Mapped[int]
    task: Mapped[str]
    partition: Mapped[int]
    committed: Mapped[bool]
    digest: Mapped[str]
    size: Mapped[int]
    inline: Mapped[bytes | None]
    created_at: Mapped[datetime]
    stored_at: Mapped[datetime | None]  # since when the publisher has it; null again once it was dropped
    staged: Mapped[bool] = mapped_column(server_default=text("false"))
    publisher: Mapped[str] = mapped_column(server_default="")
    place: Mapped[str] = mapped_column(server_default="")  # where it was uploaded to, in its publisher's words
    destination: Mapped[str] = mapped_column(ID, server_default="")  # where it goes, as people name that
    published: Mapped[
        str | None
    ]  # JSON, as clients read it: where it lies that is final elsewhere than in our own store
    own_bytes: Mapped[int | None]  # of one that went to several places what our own store has; null where that is none

    __table_args__ = (
        Index(
            "uq_results_committed",
            "job_id",
            "job_version",
            "task",
            "partition",
            unique=True,
            postgresql_where=text("committed"),
        ),
        Index("ix_results_inline", "created_at", postgresql_where=text("inline IS NOT NULL")),
        Index("ix_results_staged", "destination", "created_at", "execution_id", postgresql_where=text("staged")),
        Index("ix_results_stored", "created_at", postgresql_where=text("stored_at IS NOT NULL")),
        {"postgresql_with": UPDATED_IN_PLACE},
    )


class Blob(Base):
    """Inline input of a spec, kept once under its digest."""

    __tablename__ = "blobs"

    digest: Mapped[str] = mapped_column(ID, primary_key=True)
    size: Mapped[int]
    data: Mapped[bytes]
    created_at: Mapped[datetime]


class Node(Base):
    """A compute node. `confirmed` is the last sequence of `incarnation` whose fact was committed."""

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    info: Mapped[str]  # JSON
    membership: Mapped[str]
    connection: Mapped[str]
    boot_id: Mapped[str]
    incarnation: Mapped[int]
    confirmed: Mapped[int]
    confirmed_by: Mapped[str]
    connected_since: Mapped[datetime | None]
    disconnected_since: Mapped[datetime | None]
    error: Mapped[str]
    modified_at: Mapped[datetime]
    gone: Mapped[str] = mapped_column(server_default="[]")  # JSON: what it could do until a while ago
    intake: Mapped[str] = mapped_column(server_default=Intake.OPEN.value)  # what its operator lets onto it
    drain_until: Mapped[datetime | None]
    labels: Mapped[str] = mapped_column(server_default="{}")  # JSON: those of its operator, which win over its own

    __table_args__ = (
        CheckConstraint(one_of("membership", Membership), name="membership"),
        CheckConstraint(one_of("connection", Connection), name="connection"),
        CheckConstraint(one_of("intake", Intake), name="intake"),
        {"postgresql_with": {**QUEUE_LIKE, "fillfactor": "50"}},
    )


class NodeKey(Base):
    """Which public key speaks for a node that joined; the key's other half never left that machine.

    `former_key` is the one before the last renewal: what was signed for it may not have ended yet. What was signed for
    the two has ended at `ends_at` and `former_ends_at`: infinity where never, or where nobody knows.
    """

    __tablename__ = "node_keys"

    node_id: Mapped[str] = mapped_column(ID, primary_key=True)
    key: Mapped[str]
    name: Mapped[str]
    address: Mapped[str]
    joined_at: Mapped[datetime]
    former_key: Mapped[str | None]
    ends_at: Mapped[datetime] = mapped_column(server_default=text("'infinity'"))
    former_ends_at: Mapped[datetime] = mapped_column(server_default=text("'infinity'"))


class RevokedKey(Base):
    """A key that spoke for a node and is let in no more, whatever is signed for it."""

    __tablename__ = "revoked_keys"

    key: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ID)
    actor: Mapped[str]
    reason: Mapped[str]
    revoked_at: Mapped[datetime]


class History(Base):
    """Every transition once, numbered within its job without gaps; never changed."""

    __tablename__ = "history"

    job_id: Mapped[str] = mapped_column(ID, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_version: Mapped[int]
    execution_id: Mapped[str] = mapped_column(ID)  # empty: of the job itself
    topic: Mapped[str]
    message: Mapped[str]
    details: Mapped[str]  # JSON
    at: Mapped[datetime]  # by the record's clock
    node_time: Mapped[datetime | None]  # by the node's clock


class NodeEvent(Base):
    """What happened to a node, numbered within it; the latest are kept."""

    __tablename__ = "node_events"

    node_id: Mapped[str] = mapped_column(ID, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    topic: Mapped[str]
    message: Mapped[str]


class NodeIntent(Base):
    """What a user wants of a node; deleted by the commit that carries it out."""

    __tablename__ = "node_intents"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    node_id: Mapped[str] = mapped_column(ID)
    action: Mapped[str]
    message: Mapped[str]
    at: Mapped[datetime]
    params: Mapped[str] = mapped_column(server_default="{}")  # JSON: how long a drain may take, labels

    __table_args__ = (CheckConstraint(one_of("action", NodeAction), name="action"),)


class Audit(Base):
    """Who did what; never changed."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    object: Mapped[str]
    details: Mapped[str]  # JSON


class Lease(Base):
    """A right that expires. `epoch` rises with every holder: it is what late writes are refused by."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(ID, primary_key=True)
    epoch: Mapped[int]
    holder: Mapped[str]
    expires_at: Mapped[datetime]

    __table_args__ = ({"postgresql_with": ONE_ROW},)


class Cluster(Base):
    """The one row about the whole: which timeline this record is, and how far the facts' stream was read."""

    __tablename__ = "cluster"

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    installation_id: Mapped[str] = mapped_column(UUID(as_uuid=False), server_default=text("gen_random_uuid()"))
    timeline: Mapped[int] = mapped_column(server_default="1")
    facts_created: Mapped[str] = mapped_column(server_default="")
    facts_sequence: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (CheckConstraint("id", name="single"), {"postgresql_with": ONE_ROW})


class Idempotency(Base):
    """What was answered to a caller's token, for a day."""

    __tablename__ = "idempotency"

    namespace: Mapped[str] = mapped_column(ID, primary_key=True)
    caller: Mapped[str] = mapped_column(ID, primary_key=True)
    token: Mapped[str] = mapped_column(ID, primary_key=True)
    digest: Mapped[str]
    job_id: Mapped[str] = mapped_column(ID)
    evaluation_id: Mapped[str] = mapped_column(ID)
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_idempotency_expires_at", "expires_at"), {"postgresql_with": QUEUE_LIKE})
