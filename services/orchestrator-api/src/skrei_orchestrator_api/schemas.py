"""The shapes of answers: what the record holds, as API clients know it.

Lists and the objects that clients dereference are never null; times are RFC 3339 or integer nanoseconds.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import RunOutput
from skrei_domain.node import KEPT_HERE, DataSet, InputCache, NearServer, NodeInfo, Plugin
from skrei_domain.node_results import OF_PATHS
from skrei_domain.resources import Resources

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
NEVER = "0001-01-01T00:00:00Z"
"""How API clients write a time that has not come."""
PROTOCOLS = ("skrei/v1",)
"""What nodes and servers speak with each other."""


def nanoseconds(at: datetime) -> int:
    """Return integer nanoseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND * 1000


def rfc3339(at: datetime | None) -> str:
    """Return a time in text, in UTC."""
    return NEVER if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def dump(value: object) -> str:
    """Return compact JSON; characters stay as they are (`&` is no entity)."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def job(
    *,
    job_id: str,
    spec_json: str,
    state: str,
    message: str,
    details_json: str,
    version: int,
    revision: int,
    created: datetime,
    modified: datetime,
) -> str:
    """Return a job as JSON text, around its spec's own text, which is not parsed."""
    told = f',"Message":{dump(message)}' if message else ""
    if details_json not in ("", "{}"):
        told += f',"Details":{details_json}'
    return (
        f'{{"ID":"{job_id}",{spec_json[1:-1]},"State":{{"StateType":"{state}"{told}}},'
        f'"Version":{version},"Revision":{revision},'
        f'"CreateTime":{nanoseconds(created)},"ModifyTime":{nanoseconds(modified)}}}'
    )


def with_parts(job_json: str, states: Sequence[Mapping[str, Any]], partitions: int | None) -> str:
    """Return a job with how each of its tasks stands, and with how many partitions it has where its spec does not say;
    any other as it is.
    """
    tasks = f',"TaskStates":{dump(states)}' if states else ""
    told = tasks if partitions is None else f'{tasks},"Partitions":{partitions}'
    return f"{job_json[:-1]}{told}}}" if told else job_json


def page(items: list[str], next_token: str) -> str:
    """Return a page of a list whose items are JSON already."""
    return f'{{"NextToken":{dump(next_token)},"Items":[{",".join(items)}]}}'


def execution(
    *,
    execution_id: str,
    namespace: str,
    evaluation_id: str,
    node_id: str,
    job_id: str,
    job_version: int,
    task: str,
    partition: int,
    attempt: int,
    state: ExecutionState,
    observed: ExecutionState,
    want: Want,
    message: str,
    reason: str,
    reserved: Resources,
    exit_code: int | None,
    problem: str,
    output: RunOutput | None,
    image_digest: str,
    ports: list[dict[str, Any]],
    data: dict[str, Any],
    ready: bool | None,
    published: dict[str, Any],
    revision: int,
    created: datetime,
    modified: datetime,
) -> dict[str, Any]:
    """Return an execution; its states are numbers, and `RunOutput` is null until it has ended."""
    told: dict[str, Any] = {"StateType": state.number(observed)}
    if message:
        told["Message"] = message
    answer: dict[str, Any] = {
        "ID": execution_id,
        "Namespace": namespace,
        "EvalID": evaluation_id,
        "Name": "",
        "NodeID": node_id,
        "JobID": job_id,
        "JobVersion": job_version,
        "AllocatedResources": {"Tasks": {task: resources(reserved)}},
        "DesiredState": desired(state, want, reason),
        "ComputeState": told,
        "PublishedResult": published,
        "RunOutput": run_output(exit_code, problem, output) if state.is_terminal else None,
        "PreviousExecution": "",
        "NextExecution": "",
        "FollowupEvalID": "",
        "Revision": revision,
        "CreateTime": nanoseconds(created),
        "ModifyTime": nanoseconds(modified),
        "Task": task,
        "Attempt": attempt,
        "State": state.value.capitalize(),
    }
    if partition:
        answer["PartitionIndex"] = partition
    if image_digest:
        answer["ImageDigest"] = image_digest
    if ports:
        answer["Ports"] = ports
    if data:
        answer["DataRead"] = data
    if ready is not None:
        answer["Ready"] = ready
    return answer


def desired(state: ExecutionState, want: Want, reason: str) -> dict[str, Any]:
    """Return what is wanted of an execution: 0 while Pending, 1 to run, 2 to stop or once it has ended."""
    number = 0 if state is ExecutionState.PENDING else 1
    if state.is_terminal or want is not Want.RUN:
        number = 2
    return {"StateType": number} | ({"Message": reason} if reason else {})


def run_output(exit_code: int | None, problem: str, output: RunOutput | None) -> dict[str, Any]:
    """Return what a program said and how it ended; without an exit code (it never ran) that is -1."""
    said = output or RunOutput()
    return {
        "Stdout": said.stdout,
        "StdoutTruncated": said.stdout_truncated,
        "stderr": said.stderr,
        "StderrTruncated": said.stderr_truncated,
        "ExitCode": -1 if exit_code is None else exit_code,
        "ErrorMsg": problem,
    }


def history(
    *,
    seq: int,
    job_id: str,
    job_version: int,
    execution_id: str,
    topic: str,
    message: str,
    details: Mapping[str, str],
    at: datetime,
) -> dict[str, Any]:
    """Return one transition."""
    time = rfc3339(at)
    event: dict[str, Any] = {"Message": message, "Topic": topic, "Timestamp": time}
    if details:
        event["Details"] = {key: str(value) for key, value in details.items()}
    item: dict[str, Any] = {
        "SeqNum": seq,
        "Type": "ExecutionLevel" if execution_id else "JobLevel",
        "JobID": job_id,
        "JobVersion": job_version,
        "Event": event,
        "Time": time,
    }
    if execution_id:
        item["ExecutionID"] = execution_id
    return item


def resources(amount: Resources) -> dict[str, Any]:
    """Return an amount in numbers: cores, bytes, GPUs; zeros are left out."""
    told = {
        "CPU": amount.cpu_milli / 1000,
        "Memory": amount.memory_bytes,
        "Disk": amount.disk_bytes,
        "GPU": amount.gpu,
    }
    return {name: value for name, value in told.items() if value}


def node_event(*, at: datetime, topic: str, message: str) -> dict[str, Any]:
    """Return something that happened to a node."""
    return {"Time": rfc3339(at), "Topic": topic, "Message": message}


def _publishers(info: NodeInfo) -> list[Plugin]:
    """Return the publishers of a node that a job may name."""
    return [each for each in info.publishers if each.name != OF_PATHS]


def plugins(info: NodeInfo) -> list[dict[str, Any]]:
    """Return what works on a node and what does not, with version and reason: a field that is ours alone."""
    found = [
        {"Kind": kind, "Name": plugin.name, "Version": plugin.version, "Available": True, "Reason": plugin.note}
        for kind, some in (("engine", info.engines), ("storage", info.storages), ("publisher", _publishers(info)))
        for plugin in some
    ]
    found += [
        {"Kind": each.kind, "Name": each.name, "Version": "", "Available": False, "Reason": each.reason}
        for each in info.absent
    ]
    return [{name: value for name, value in item.items() if value != ""} for item in found]


def data_set(each: DataSet) -> dict[str, Any]:
    """Return data that jobs may name; `Size` (bytes) is there once somebody has counted."""
    size = {} if each.size_bytes is None else {"Size": each.size_bytes, "AtLeast": each.at_least}
    return {"Name": each.name, "ReadWrite": each.read_write, **size}


def node(
    *,
    info: NodeInfo,
    labels: Mapping[str, str],
    intake: str,
    drain_until: datetime | None,
    membership: str,
    connection: str,
    connected_since: datetime | None,
    disconnected_since: datetime | None,
    heard: datetime | None,
    confirmed: int,
    error: str,
    reserved: Resources,
    running: int,
) -> dict[str, Any]:
    """Return a compute node's state."""
    capacity = resources(info.capacity)
    if info.gpus:
        capacity["GPUs"] = [
            {
                "Index": gpu.index,
                "Name": gpu.name,
                "Vendor": gpu.vendor,
                "Memory": gpu.memory_bytes // 2**20,
                "PCIAddress": gpu.pci_address,
            }
            for gpu in info.gpus
        ]
    return {
        "Info": {
            "NodeID": info.node_id,
            "NodeType": "Compute",
            "Labels": {"os_type": info.os, "os_arch": info.arch, "name": info.name} | info.labels | dict(labels),
            "SupportedProtocols": PROTOCOLS,
            "ComputeNodeInfo": {
                "ExecutionEngines": sorted(plugin.name for plugin in info.engines),
                "Publishers": sorted({*KEPT_HERE, *(plugin.name for plugin in _publishers(info))}),
                "StorageSources": sorted(plugin.name for plugin in info.storages),
                "MaxCapacity": capacity,
                "QueueCapacity": {},
                "AvailableCapacity": resources(info.capacity - reserved),
                "MaxJobRequirements": resources(info.capacity),
                "RunningExecutions": running,
                "Engines": [
                    {"Name": plugin.name, "Version": plugin.version, "Note": plugin.note} for plugin in info.engines
                ],
                "DataSets": [data_set(each) for each in info.data],
                "Services": [
                    {"Name": one.name, "Kind": one.kind, "ReadWrite": one.read_write} for one in info.services
                ],
                **({"MaxUploadRate": info.upload_bytes_per_second} if info.upload_bytes_per_second else {}),
                **({"InputCache": input_cache(info.cache)} if info.cache is not None else {}),
                "NearServers": [near_server(each) for each in info.near],
                "Absent": [{"Kind": one.kind, "Name": one.name, "Reason": one.reason} for one in info.absent],
                "EnqueuedExecutions": 0,
                "address": "",
            },
            "BacalhauVersion": build(info.version, info.os, info.arch),
            "Plugins": plugins(info),
        },
        "Membership": membership,
        "Connection": connection,
        "Intake": intake,
        **({"DrainUntil": rfc3339(drain_until)} if drain_until is not None else {}),
        "OperatorLabels": dict(labels),
        "ConnectionState": {
            "Status": connection,
            "LastHeartbeat": rfc3339(heard),
            "LastComputeSeqNum": confirmed,
            "LastOrchestratorSeqNum": 0,
            "ConnectedSince": rfc3339(connected_since),
            "DisconnectedSince": rfc3339(disconnected_since),
            "LastError": error,
        },
    }


def near_server(server: NearServer) -> dict[str, Any]:
    """Return how far a server of objects is from a node."""
    return {
        "URL": server.url,
        "Region": server.region,
        "LatencyMilliseconds": round(server.latency_micros / 1000, 2),
        "Usual": server.usual,
    }


def input_cache(cache: InputCache) -> dict[str, int]:
    """Return what a node keeps of fetched inputs, and what that was good for since its agent was started."""
    return {
        "Files": cache.files,
        "Size": cache.size_bytes,
        "Limit": cache.limit_bytes,
        "Inputs": cache.inputs,
        "Hits": cache.hits,
        "Saved": cache.saved_bytes,
        "Fetched": cache.fetched_bytes,
        "Pinned": cache.pinned,
    }


def build(version: str, system: str, machine: str) -> dict[str, str]:
    """Return a program's version as API clients read it."""
    numbers = version.removeprefix("v").split(".")
    return {
        "Major": numbers[0] or "0",
        "Minor": numbers[1] if len(numbers) > 1 else "0",
        "GitVersion": f"v{version.removeprefix('v')}",
        "GitCommit": "",
        "BuildDate": "1970-01-01T00:00:00Z",
        "GOOS": system,
        "GOARCH": machine,
    }
