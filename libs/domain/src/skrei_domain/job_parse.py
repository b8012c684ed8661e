"""From what people send to a JobSpec: keys in any case, defaults, and every rule of a spec checked at once."""

import re
from collections.abc import Mapping
from typing import Any

from skrei_domain import constraints
from skrei_domain.constraints import Constraint
from skrei_domain.data_sets import check_split
from skrei_domain.errors import Unsupported
from skrei_domain.job_depends import check_depends
from skrei_domain.job_kinds import check_tasks, read_count, read_update
from skrei_domain.job_reading import InvalidJob, Keys, Reading, bytes_of
from skrei_domain.job_task import read_task
from skrei_domain.node_results import check_apart
from skrei_domain.retention import FOREVER_SECONDS, KINDS, LEAST_SECONDS, spelled
from skrei_domain.services import check_uses
from skrei_domain.spec import (
    MAX_COUNT,
    MAX_LABEL_BYTES,
    MAX_LABELS,
    MAX_NAME_BYTES,
    MAX_SPEC_BYTES,
    MAX_TASKS,
    JobSpec,
    encode,
)

MAX_PRIORITY = 2**31 - 1
MAX_OFFLINE_SECONDS = 366 * 86_400

_JOB = Keys(
    *("Name", "Namespace", "Type", "Priority", "Count", "Constraints", "Meta", "Labels", "Tasks", "Offline", "Update"),
    *("FailOn", "Retention"),
    silent=("ID", "State", "Version", "Revision", "CreateTime", "ModifyTime"),
)
_OFFLINE = Keys("Wait", "Replace", "OnReturn")
_RETENTION = Keys(*(kind.capitalize() for kind in KINDS))
_CONSTRAINT = Keys("Key", "Operator", "Values")
_STATE = Keys("StateType", "Message", "Details")

_TYPES = {word: word for word in ("batch", "service", "daemon", "ops")}
_FAIL_ON = {word: word for word in ("never", "exit-code")}
_ON_RETURN = {word: word for word in ("keep-first", "keep-original", "stop")}

_ID = re.compile(r"j-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
"""The shape of a job's id: a job of such a name could be taken for another."""


def parse_job(raw: Mapping[str, object]) -> tuple[JobSpec, tuple[str, ...]]:
    """Return the spec that `raw` means, with its defaults, and warnings for its sender.

    Raises InvalidJob naming every wrong field at once; Unsupported for what later versions bring.
    """
    reading = Reading()
    reading.texts_ok(raw)
    found = _job(reading, raw)
    if reading.problems:
        raise InvalidJob(reading.problems)
    if reading.later:
        raise Unsupported("not supported yet: " + "; ".join(reading.later))
    return JobSpec.model_validate(found), tuple(reading.warnings)


def stored_text(spec: JobSpec) -> str:
    """Return `encode(spec)` (its inline data already cut out). Raises InvalidJob where that is too long."""
    text = encode(spec)
    if len(text) * 4 > MAX_SPEC_BYTES and (size := bytes_of(text)) > MAX_SPEC_BYTES:
        reading = Reading()
        reading.missing("Job", f"at most {MAX_SPEC_BYTES:,} bytes without inline data", f"{size:,} bytes")
        raise InvalidJob(reading.problems)
    return text


def _job(reading: Reading, raw: object) -> dict[str, Any]:
    job = reading.record(raw, "", _JOB)
    _ignored(reading, job)
    kind = job["Type"] = reading.choice(job.get("Type"), "Type", _TYPES, "")
    if not kind and not (isinstance(raw, Mapping) and reading.problems and reading.problems[-1].path == "Type"):
        reading.missing("Type", ", ".join(_TYPES), "missing job type")
    job["Name"] = reading.text(job.get("Name"), "Name", limit=MAX_NAME_BYTES).strip()
    if _ID.fullmatch(job["Name"]):
        reading.wrong("Name", job["Name"], "a name that does not look like a job's id")
    job["Namespace"] = _namespace(reading, job.get("Namespace"))
    job["Priority"] = reading.integer(job.get("Priority"), "Priority", -MAX_PRIORITY, MAX_PRIORITY)
    job["Count"] = read_count(reading, job.get("Count"), kind)
    job["Constraints"] = [
        _constraint(reading, item, f"Constraints[{index}]")
        for index, item in enumerate(reading.items(job.get("Constraints"), "Constraints"))
    ]
    job["Meta"] = _meta(reading, reading.mapping(job.get("Meta"), "Meta"))
    job["Labels"] = reading.mapping(job.get("Labels"), "Labels", entries=MAX_LABELS, limit=MAX_LABEL_BYTES)
    tasks = reading.items(job.get("Tasks"), "Tasks")
    if not 1 <= len(tasks) <= MAX_TASKS and (not reading.problems or reading.problems[-1].path != "Tasks"):
        reading.missing("Tasks", f"1 to {MAX_TASKS} tasks", f"{len(tasks)} tasks")
    job["Tasks"] = [read_task(reading, task, f"Tasks[{index}]") for index, task in enumerate(tasks[:MAX_TASKS])]
    reading.unique([(f"Tasks[{i}].Name", task["Name"]) for i, task in enumerate(job["Tasks"])], "name")
    check_depends(reading, job["Tasks"], job["Count"])
    check_tasks(reading, job["Tasks"], kind)
    check_split(reading, job["Tasks"], kind, job["Count"])
    check_apart(reading, job["Tasks"], job["Count"])
    check_uses(reading, job["Tasks"], job["Name"])
    if len(job["Tasks"]) > 1:
        _units(reading, job)
    job["Offline"] = _offline(reading, job.get("Offline"))
    job["Update"] = read_update(reading, job.get("Update"))
    job["FailOn"] = reading.choice(job.get("FailOn"), "FailOn", _FAIL_ON, "never")
    job["Retention"] = _retention(reading, job.get("Retention"))
    return job


def _retention(reading: Reading, raw: object) -> dict[str, int] | None:
    if raw is None:
        return None
    found = reading.record(raw, "Retention", _RETENTION)
    kept: dict[str, int] = {}
    for kind in KINDS:
        name = kind.capitalize()
        if (value := found.get(name)) is None:
            continue
        before = len(reading.problems)
        seconds = reading.seconds(value, f"Retention.{name}", FOREVER_SECONDS)
        if seconds < LEAST_SECONDS[kind] and len(reading.problems) == before:
            reading.wrong(f"Retention.{name}", value, f"at least {spelled(LEAST_SECONDS[kind])}")
        kept[name] = seconds
    return kept or None


def _units(reading: Reading, job: dict[str, Any]) -> None:
    units = sum(job["Count"] if task.get("Count") is None else task["Count"] for task in job["Tasks"])
    if units > MAX_COUNT:
        reading.missing("Tasks", f"at most {MAX_COUNT:,}", f"{units:,} partitions in all")


def _ignored(reading: Reading, job: dict[str, Any]) -> None:
    """Drop what the server sets itself; zero values, which clients send along, are no reason for a warning."""
    job_id = job.pop("ID", None)
    if job_id not in (None, ""):
        reading.warnings.append("job ID is ignored when submitting a batch job")
    state = job.pop("State", None)
    if isinstance(state, Mapping):
        kind = reading.record(state, "State", _STATE).get("StateType")
        state = None if kind in (None, "", "Undefined", 0) else kind
    for name, value in (
        ("state", state),
        ("revision", job.pop("Revision", None)),
        ("version", job.pop("Version", None)),
        ("create time", job.pop("CreateTime", None)),
        ("modify time", job.pop("ModifyTime", None)),
    ):
        if value not in (None, 0, ""):
            reading.warnings.append(f"job {name} is ignored when submitting a job")


def _namespace(reading: Reading, value: object) -> str:
    text = reading.text(value, "Namespace", limit=MAX_NAME_BYTES).strip()
    if text == "*" or any(c.isspace() for c in text):
        reading.wrong("Namespace", text, "a name without spaces, not `*`")
    return text or "default"


def _meta(reading: Reading, meta: dict[str, str]) -> dict[str, str]:
    for key in [key for key in meta if key.startswith("bacalhau.org/")]:
        reading.warnings.append(f'job meta key "{key}" is reserved and will be ignored')
        del meta[key]
    return meta


def _constraint(reading: Reading, raw: object, path: str) -> Constraint:
    found = reading.record(raw, path, _CONSTRAINT)
    before = len(reading.problems)
    constraint = Constraint(
        reading.text(found.get("Key"), f"{path}.Key", limit=MAX_LABEL_BYTES),
        reading.text(found.get("Operator"), f"{path}.Operator").strip().lower(),
        tuple(
            reading.text(value, f"{path}.Values[{index}]", limit=MAX_LABEL_BYTES)
            for index, value in enumerate(reading.items(found.get("Values"), f"{path}.Values"))
        ),
    )
    # A part that is no text stands as an empty one here: what is said of it already is not said twice.
    told = tuple(each.path.removeprefix(f"{path}.").partition("[")[0] for each in reading.problems[before:])
    for part, allowed in constraints.problems(constraint):
        if part not in told:
            value = found.get(part)
            if value is None:
                reading.missing(f"{path}.{part}", allowed)
            else:
                reading.wrong(f"{path}.{part}", value, allowed)
    return constraint


def _offline(reading: Reading, raw: object) -> dict[str, Any]:
    found = reading.record(raw, "Offline", _OFFLINE)
    found["Wait"] = reading.seconds(found.get("Wait"), "Offline.Wait", MAX_OFFLINE_SECONDS, default=300)
    found["Replace"] = reading.flag(found.get("Replace"), "Offline.Replace", default=True)
    found["OnReturn"] = reading.choice(found.get("OnReturn"), "Offline.OnReturn", _ON_RETURN, "keep-first")
    return found
