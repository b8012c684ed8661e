"""A task of a job as people send it: its engine, inputs, results, resources, timeouts, and every rule of them."""

from collections.abc import Mapping
from typing import Any

from skrei_domain import node_results, portions
from skrei_domain.data_sets import read_locality, read_split
from skrei_domain.job_checks import read_check
from skrei_domain.job_depends import read_depends
from skrei_domain.job_network import read_network
from skrei_domain.job_params import engine_params, storage_params
from skrei_domain.job_reading import Keys, Reading
from skrei_domain.resources import parse_bytes, parse_cpu, parse_gpu
from skrei_domain.services import read_uses
from skrei_domain.spec import MAX_COUNT, MAX_ENV, MAX_NAME_BYTES
from skrei_domain.wasm_legacy import lift_wasm

DEFAULT_CPU = "500m"
DEFAULT_MEMORY = "512mb"

ENV_NAME = "a name of upper case letters, digits and `_` that begins with a letter, and not with `BACALHAU_`"

MAX_SECONDS = 2**63 // 10**9
"""The longest timeout that API clients can say: 63 bits of nanoseconds."""
MAX_GRACE_SECONDS = 3_600
"""Between being asked to end and being ended: what needs longer is no stop, and an update waits for it."""
MAX_CPU_MILLI = 10**9
MAX_BYTES = 2**60
MAX_GPU = 10_000

_TASK = Keys(
    *("Name", "Engine", "Publisher", "Env", "Meta", "InputSources", "ResultPaths", "Resources", "Network", "Timeouts"),
    *("Logs", "Count", "DependsOn", "Check", "StopGrace", "Uses", "Split", "Locality", "KeepFailed"),
)
_CONFIG = Keys("Type", "Params")
_INPUT = Keys("Source", "Target", "Alias")
_RESULT = Keys("Name", "Path", "Publisher")
_RESOURCES = Keys("CPU", "Memory", "Disk", "GPU")
_TIMEOUTS = Keys("ExecutionTimeout", "QueueTimeout", "TotalTimeout")
_LOGS = Keys("Ship")

_SHIP = {word: word for word in ("live", "end")}
_RESERVED_RESULTS = ("stdout", "stderr", "exitcode")


def read_task(reading: Reading, raw: object, path: str) -> dict[str, Any]:
    """Return a task with its defaults; `path` is where it stands."""
    task = reading.record(raw, path, _TASK)
    task["Name"] = reading.needed(task.get("Name"), f"{path}.Name", limit=MAX_NAME_BYTES)
    task["Engine"] = _config(reading, task.get("Engine"), f"{path}.Engine", needed=True)
    lift_wasm(task)
    engine_params(reading, task["Engine"]["Type"], task["Engine"]["Params"], f"{path}.Engine.Params")
    task["Publisher"] = _config(reading, task.get("Publisher"), f"{path}.Publisher", needed=False)
    node_results.check_params(reading, task["Publisher"], f"{path}.Publisher")
    task["Env"] = _env(reading, task.get("Env"), f"{path}.Env")
    task["Meta"] = reading.mapping(task.get("Meta"), f"{path}.Meta")
    task["InputSources"] = _inputs(reading, task.get("InputSources"), f"{path}.InputSources")
    task["ResultPaths"] = _results(reading, task.get("ResultPaths"), f"{path}.ResultPaths")
    portions.check(reading, task, path)
    task["Resources"] = _resources(reading, task.get("Resources"), f"{path}.Resources")
    task["Network"] = read_network(reading, task.get("Network"), f"{path}.Network", task["Engine"]["Type"])
    task["Timeouts"] = _timeouts(reading, task.get("Timeouts"), f"{path}.Timeouts")
    task["Logs"] = _logs(reading, task.get("Logs"), f"{path}.Logs")
    task["Check"] = read_check(reading, task.get("Check"), f"{path}.Check", task["Network"], task["Engine"]["Type"])
    if task.get("StopGrace") is not None:
        task["StopGrace"] = reading.seconds(task["StopGrace"], f"{path}.StopGrace", MAX_GRACE_SECONDS)
    if task.get("Count") is not None:
        task["Count"] = reading.integer(task["Count"], f"{path}.Count", 1, MAX_COUNT, default=1)
    if task.get("KeepFailed") is not None:
        task["KeepFailed"] = reading.flag(task["KeepFailed"], f"{path}.KeepFailed", default=True)
    task["DependsOn"] = read_depends(reading, task.get("DependsOn"), path)
    task["Uses"] = read_uses(reading, task.get("Uses"), f"{path}.Uses")
    task["Locality"] = read_locality(reading, task, f"{path}.Locality")
    task["Split"] = read_split(reading, task.get("Split"), f"{path}.Split")
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
            reading.wrong(where, name, ENV_NAME)
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
        elif inside.strip() and not inside.strip().strip("/"):
            reading.wrong(f"{where}.Path", inside, "a folder below `/`: the program's own files lie there")
        own = _config(reading, found.pop("Publisher", None), f"{where}.Publisher", needed=False)
        if own["Type"]:
            node_results.check_params(reading, own, f"{where}.Publisher")
            found["Publisher"] = own
        elif own["Params"]:
            reading.missing(f"{where}.Publisher.Type", "the name of a publisher, beside its Params")
        results.append(found)
    reading.unique([(f"{path}[{i}].Name", item["Name"]) for i, item in enumerate(results)], "name")
    reading.unique([(f"{path}[{i}].Path", item["Path"]) for i, item in enumerate(results)], "path")
    return results


def _resources(reading: Reading, raw: object, path: str) -> dict[str, Any]:
    found = reading.record(raw, path, _RESOURCES)
    size = "bytes such as `512Mb`, `1Gi` or plain digits"
    cores = "cores (`2`, `1.5`) or thousandths of a core (`500m`)"
    for name, parse, high, most, allowed in (
        ("CPU", parse_cpu, MAX_CPU_MILLI, f"{MAX_CPU_MILLI // 1000:,} cores", cores),
        ("Memory", parse_bytes, MAX_BYTES, f"{MAX_BYTES // 2**60} EiB", size),
        ("Disk", parse_bytes, MAX_BYTES, f"{MAX_BYTES // 2**60} EiB", size),
        ("GPU", parse_gpu, MAX_GPU, f"{MAX_GPU:,}", "a whole number"),
    ):
        found[name] = reading.amount(found.get(name), f"{path}.{name}", parse, high=high, most=most, allowed=allowed)
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
