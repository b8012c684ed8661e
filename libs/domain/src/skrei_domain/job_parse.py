"""From what people send to a JobSpec: keys in any case, defaults, and every rule of a spec checked at once."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from skrei_domain import constraints
from skrei_domain.constraints import Constraint
from skrei_domain.errors import Unsupported
from skrei_domain.job_params import engine_params, storage_params
from skrei_domain.job_reading import InvalidJob, Keys, Reading, bytes_of
from skrei_domain.resources import parse_bytes, parse_cpu, parse_gpu
from skrei_domain.spec import (
    MAX_COUNT,
    MAX_ENV,
    MAX_LABEL_BYTES,
    MAX_LABELS,
    MAX_NAME_BYTES,
    MAX_SPEC_BYTES,
    MAX_TASKS,
    JobSpec,
    encode,
)

DEFAULT_CPU = "500m"
DEFAULT_MEMORY = "512Mb"

MAX_PRIORITY = 2**31 - 1
MAX_SECONDS = 2**63 // 10**9
"""The longest timeout that API clients can say: 63 bits of nanoseconds."""
MAX_OFFLINE_SECONDS = 366 * 86_400
MAX_CPU_MILLI = 10**9
MAX_BYTES = 2**60
MAX_GPU = 10_000

_JOB = Keys(
    *("Name", "Namespace", "Type", "Priority", "Count", "Constraints", "Meta", "Labels", "Tasks", "Offline"),
    *("ID", "State", "Version", "Revision", "CreateTime", "ModifyTime"),
)
_TASK = Keys(
    *("Name", "Engine", "Publisher", "Env", "Meta", "InputSources", "ResultPaths", "Resources", "Network", "Timeouts"),
    "Logs",
)
_CONFIG = Keys("Type", "Params")
_INPUT = Keys("Source", "Target", "Alias")
_RESULT = Keys("Name", "Path")
_RESOURCES = Keys("CPU", "Memory", "Disk", "GPU")
_NETWORK = Keys("Type", "Domains", "Ports")
_PORT = Keys("Name", "Static", "Target", "HostNetwork")
_TIMEOUTS = Keys("ExecutionTimeout", "QueueTimeout", "TotalTimeout")
_LOGS = Keys("Ship")
_OFFLINE = Keys("Wait", "Replace", "OnReturn")
_CONSTRAINT = Keys("Key", "Operator", "Values")
_STATE = Keys("StateType", "Message", "Details")

_TYPES = {word: word for word in ("batch", "service", "daemon", "ops")}
_NETWORKS = {word.lower(): word for word in ("Default", "None", "Host", "Full", "HTTP", "Bridge")}
_SHIP = {word: word for word in ("live", "end")}
_ON_RETURN = {word: word for word in ("keep-first", "keep-original", "stop")}
_RESERVED_RESULTS = ("stdout", "stderr", "exitcode")

_ID = re.compile(r"j-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
"""The shape of a job's id: a job of such a name could be taken for another."""
_PORT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,236}")
_DOMAIN = re.compile(r"\.?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")


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
    if kind not in ("batch", ""):
        reading.later.append(f"Type {kind!r} (only 'batch' yet)")
    job["Name"] = reading.text(job.get("Name"), "Name", limit=MAX_NAME_BYTES).strip()
    if _ID.fullmatch(job["Name"]):
        reading.wrong("Name", job["Name"], "a name that does not look like a job's id")
    job["Namespace"] = _namespace(reading, job.get("Namespace"))
    job["Priority"] = reading.integer(job.get("Priority"), "Priority", -MAX_PRIORITY, MAX_PRIORITY)
    job["Count"] = reading.integer(job.get("Count"), "Count", 0, MAX_COUNT, default=1)
    job["Constraints"] = [
        _constraint(reading, item, f"Constraints[{index}]")
        for index, item in enumerate(reading.items(job.get("Constraints"), "Constraints"))
    ]
    job["Meta"] = _meta(reading, reading.mapping(job.get("Meta"), "Meta"))
    job["Labels"] = reading.mapping(job.get("Labels"), "Labels", entries=MAX_LABELS, limit=MAX_LABEL_BYTES)
    tasks = reading.items(job.get("Tasks"), "Tasks")
    if not 1 <= len(tasks) <= MAX_TASKS:
        if not reading.problems or reading.problems[-1].path != "Tasks":
            reading.missing("Tasks", f"1 to {MAX_TASKS} tasks", f"{len(tasks)} tasks")
    elif len(tasks) > 1:
        reading.later.append(f"{len(tasks)} Tasks (only one yet)")
    job["Tasks"] = [_task(reading, task, f"Tasks[{index}]") for index, task in enumerate(tasks[:MAX_TASKS])]
    reading.unique([(f"Tasks[{i}].Name", task["Name"]) for i, task in enumerate(job["Tasks"])], "name")
    job["Offline"] = _offline(reading, job.get("Offline"))
    return job


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


def _task(reading: Reading, raw: object, path: str) -> dict[str, Any]:
    task = reading.record(raw, path, _TASK)
    task["Name"] = reading.needed(task.get("Name"), f"{path}.Name", limit=MAX_NAME_BYTES)
    task["Engine"] = _config(reading, task.get("Engine"), f"{path}.Engine", needed=True)
    engine_params(reading, task["Engine"]["Type"], task["Engine"]["Params"], f"{path}.Engine.Params")
    task["Publisher"] = _config(reading, task.get("Publisher"), f"{path}.Publisher", needed=False)
    task["Env"] = _env(reading, task.get("Env"), f"{path}.Env")
    task["Meta"] = reading.mapping(task.get("Meta"), f"{path}.Meta")
    task["InputSources"] = _inputs(reading, task.get("InputSources"), f"{path}.InputSources")
    task["ResultPaths"] = _results(reading, task.get("ResultPaths"), f"{path}.ResultPaths")
    task["Resources"] = _resources(reading, task.get("Resources"), f"{path}.Resources")
    task["Network"] = _network(reading, task.get("Network"), f"{path}.Network")
    task["Timeouts"] = _timeouts(reading, task.get("Timeouts"), f"{path}.Timeouts")
    task["Logs"] = _logs(reading, task.get("Logs"), f"{path}.Logs")
    return task


def _config(reading: Reading, raw: object, path: str, *, needed: bool) -> dict[str, Any]:
    config = reading.record(raw, path, _CONFIG)
    kind = config.get("Type")
    config["Type"] = (reading.needed if needed else reading.text)(kind, f"{path}.Type", limit=MAX_NAME_BYTES).strip()
    params = config.get("Params")
    if params is not None and not (isinstance(params, Mapping) and all(isinstance(key, str) for key in params)):
        reading.wrong(f"{path}.Params", params, "an object")
        params = None
    config["Params"] = params or {}
    return config


def _env(reading: Reading, raw: object, path: str) -> dict[str, str]:
    env = reading.mapping(raw, path, entries=MAX_ENV)
    for name, value in env.items():
        where = f"{path}.{name}"
        letters = name.replace("_", "")
        if not (name[:1].isalpha() and letters.isalnum() and name == name.upper()) or name.startswith("BACALHAU_"):
            reading.wrong(where, name, "a name of upper case letters, digits and `_`, not starting with `BACALHAU_`")
        if not value:
            reading.wrong(where, value, "a value that is not empty")
    return env


def _inputs(reading: Reading, raw: object, path: str) -> list[dict[str, Any]]:
    inputs = []
    for index, item in enumerate(reading.items(raw, path)):
        where = f"{path}[{index}]"
        found = reading.record(item, where, _INPUT)
        found["Source"] = _config(reading, found.get("Source"), f"{where}.Source", needed=True)
        found["Target"] = reading.needed(found.get("Target"), f"{where}.Target")
        found["Alias"] = reading.text(found.get("Alias"), f"{where}.Alias")
        storage_params(reading, found["Source"]["Type"], found["Source"]["Params"], f"{where}.Source.Params")
        inputs.append(found)
    reading.unique([(f"{path}[{i}].Target", item["Target"]) for i, item in enumerate(inputs)], "target")
    reading.unique([(f"{path}[{i}].Alias", item["Alias"]) for i, item in enumerate(inputs)], "alias")
    return inputs


def _results(reading: Reading, raw: object, path: str) -> list[dict[str, Any]]:
    results = []
    for index, item in enumerate(reading.items(raw, path)):
        where = f"{path}[{index}]"
        found = reading.record(item, where, _RESULT)
        name = found["Name"] = reading.needed(found.get("Name"), f"{where}.Name", limit=MAX_NAME_BYTES)
        if "/" in name or name in (".", "..") or name.lower() in _RESERVED_RESULTS:
            reading.wrong(f"{where}.Name", name, "a folder name: no `/`, `.` or `..`, none of stdout, stderr, exitCode")
        inside = found["Path"] = reading.needed(found.get("Path"), f"{where}.Path")
        if inside.strip() and not inside.startswith("/"):
            reading.wrong(f"{where}.Path", inside, "an absolute path")
        results.append(found)
    reading.unique([(f"{path}[{i}].Name", item["Name"]) for i, item in enumerate(results)], "name")
    reading.unique([(f"{path}[{i}].Path", item["Path"]) for i, item in enumerate(results)], "path")
    return results


def _resources(reading: Reading, raw: object, path: str) -> dict[str, Any]:
    found = reading.record(raw, path, _RESOURCES)
    size = "bytes such as `512Mb`, `1Gi` or plain digits"
    for name, parse, high, allowed in (
        ("CPU", parse_cpu, MAX_CPU_MILLI, "cores (`2`, `1.5`) or thousandths of a core (`500m`)"),
        ("Memory", parse_bytes, MAX_BYTES, size),
        ("Disk", parse_bytes, MAX_BYTES, size),
        ("GPU", parse_gpu, MAX_GPU, "a whole number"),
    ):
        found[name] = reading.amount(found.get(name), f"{path}.{name}", parse, high, allowed)
    found["CPU"] = found["CPU"] or DEFAULT_CPU
    found["Memory"] = found["Memory"] or DEFAULT_MEMORY
    return found


def _timeouts(reading: Reading, raw: object, path: str) -> dict[str, Any]:
    found = reading.record(raw, path, _TIMEOUTS)
    for name in _TIMEOUTS.names:
        found[name] = reading.seconds(found.get(name), f"{path}.{name}", MAX_SECONDS)
    parts = found["ExecutionTimeout"] + found["QueueTimeout"]
    if 0 < found["TotalTimeout"] < parts:
        allowed = f"at least ExecutionTimeout + QueueTimeout ({parts}), or 0 for none"
        reading.wrong(f"{path}.TotalTimeout", found["TotalTimeout"], allowed)
    return found


def _logs(reading: Reading, raw: object, path: str) -> dict[str, Any]:
    found = reading.record(raw, path, _LOGS)
    found["Ship"] = reading.choice(found.get("Ship"), f"{path}.Ship", _SHIP, "live")
    return found


def _network(reading: Reading, raw: object, path: str) -> dict[str, Any]:
    found = reading.record(raw, path, _NETWORK)
    kind = found["Type"] = reading.choice(found.get("Type"), f"{path}.Type", _NETWORKS, "Default")
    domains = [
        reading.text(item, f"{path}.Domains[{index}]").strip().lower()
        for index, item in enumerate(reading.items(found.get("Domains"), f"{path}.Domains"))
    ]
    found["Domains"] = domains
    if domains and kind != "HTTP":
        reading.wrong(f"{path}.Domains", domains, "none unless Network.Type is HTTP")
    for index, domain in enumerate(domains):
        if not (_DOMAIN.fullmatch(domain) or _is_ip(domain)):
            reading.wrong(
                f"{path}.Domains[{index}]", domain, "a domain such as `example.com` or `.example.com`, or an IP"
            )
    ports = reading.items(found.get("Ports"), f"{path}.Ports")
    if ports and kind not in ("Host", "Full", "Bridge"):
        reading.missing(f"{path}.Ports", "none unless Network.Type is Host or Bridge", f"{len(ports)} ports")
    found["Ports"] = [_port(reading, port, f"{path}.Ports[{i}]", kind) for i, port in enumerate(ports)]
    for key in ("Name", "Static", "Target"):
        values = [(f"{path}.Ports[{i}].{key}", str(port[key] or "")) for i, port in enumerate(found["Ports"])]
        reading.unique(values, key.lower())
    if kind not in ("Default", "None"):
        reading.later.append(f"{path}.Type {kind!r} (only 'Default' and 'None' yet)")
    return found


def _port(reading: Reading, raw: object, path: str, kind: str) -> dict[str, Any]:
    port = reading.record(raw, path, _PORT)
    name = port["Name"] = reading.text(port.get("Name"), f"{path}.Name")
    if not _PORT_NAME.fullmatch(name):
        reading.wrong(f"{path}.Name", name, "letters, digits and `_`, not starting with a digit, at most 237")
    static = port["Static"] = reading.integer(port.get("Static"), f"{path}.Static", 0, 65_535)
    if 0 < static < 1024:
        reading.wrong(f"{path}.Static", static, "0 (any free port) or 1024 to 65535")
    target = port["Target"] = reading.integer(port.get("Target"), f"{path}.Target", 0, 65_535)
    if target and kind in ("Host", "Full"):
        reading.wrong(f"{path}.Target", target, "0 with Network.Type Host")
    host = port["HostNetwork"] = reading.text(port.get("HostNetwork"), f"{path}.HostNetwork").strip()
    if host and not _is_ip(host):
        reading.wrong(f"{path}.HostNetwork", host, "an IP address")
    return port


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
