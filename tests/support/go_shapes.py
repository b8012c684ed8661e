"""How a Go program reads JSON: the types that Bacalhau's command line decodes answers into, and what it trips over.

A shape is a function from a value and its place to the problems found. Go matches names in any case, leaves absent
fields zero, ignores unknown ones, takes null for anything, and refuses a number where text is expected (and the other
way round). `needed` fields are those that the program dereferences without looking.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Problems = list[str]
Shape = Callable[[Any, str], Problems]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_INT = (-(2**63), 2**63)
_UINT = (0, 2**64)


def text(value: Any, place: str) -> Problems:
    """A string."""
    return [] if value is None or isinstance(value, str) else [f"{place}: {value!r} is no text"]


def boolean(value: Any, place: str) -> Problems:
    """A bool."""
    return [] if value is None or isinstance(value, bool) else [f"{place}: {value!r} is no truth value"]


def whole(value: Any, place: str, bounds: tuple[int, int] = _INT) -> Problems:
    """An int64."""
    if value is None:
        return []
    good = type(value) is int and bounds[0] <= value < bounds[1]
    return [] if good else [f"{place}: {value!r} is no whole number of 64 bits"]


def unsigned(value: Any, place: str) -> Problems:
    """An uint64."""
    return whole(value, place, _UINT)


def number(value: Any, place: str) -> Problems:
    """A float64."""
    good = value is None or (type(value) in (int, float) and math.isfinite(value))
    return [] if good else [f"{place}: {value!r} is no number"]


def time(value: Any, place: str) -> Problems:
    """A time.Time: RFC 3339 with its zone."""
    good = value is None or (isinstance(value, str) and _TIME.fullmatch(value) is not None)
    return [] if good else [f"{place}: {value!r} is no time"]


def anything(value: Any, place: str) -> Problems:
    """An interface{}."""
    return []


def word(*known: str) -> Shape:
    """A text that is decoded into an enum, where an unknown one is an error."""

    def check(value: Any, place: str) -> Problems:
        if value is None:
            return []
        good = isinstance(value, str) and value.lower() in {each.lower() for each in known}
        return [] if good else [f"{place}: {value!r} is none of {', '.join(known)}"]

    return check


def seq(item: Shape, *, never_null: bool = False) -> Shape:
    """A slice."""

    def check(value: Any, place: str) -> Problems:
        if value is None:
            return [f"{place}: null instead of a list"] if never_null else []
        if not isinstance(value, list):
            return [f"{place}: {value!r} is no list"]
        return [problem for at, each in enumerate(value) for problem in item(each, f"{place}[{at}]")]

    return check


def mapping(item: Shape) -> Shape:
    """A map with texts as keys."""

    def check(value: Any, place: str) -> Problems:
        if value is None:
            return []
        if not isinstance(value, dict):
            return [f"{place}: {value!r} is no object"]
        return [problem for key, each in value.items() for problem in item(each, f"{place}[{key}]")]

    return check


def struct(fields: Mapping[str, Shape], *, needed: tuple[str, ...] = ()) -> Shape:
    """A struct, or a pointer to one; `needed` fields must be there and not be null, in this very spelling."""
    lowered = {name.lower(): shape for name, shape in fields.items()}

    def check(value: Any, place: str) -> Problems:
        if value is None:
            return []
        if not isinstance(value, dict):
            return [f"{place}: {value!r} is no object"]
        found = [f"{place}.{name} is missing" for name in needed if value.get(name) is None]
        for key, each in value.items():
            if shape := lowered.get(key.lower()):
                found += shape(each, f"{place}.{key}")
        return found

    return check


STRINGS = mapping(text)
SPEC = struct({"Type": text, "Params": mapping(anything)}, needed=("Type",))
STATE = {"Message": text, "Details": STRINGS}
JOB_STATES = ("Undefined", "Pending", "Queued", "Running", "Completed", "Failed", "Stopped")
NETWORKS = ("Default", "None", "Host", "Full", "HTTP", "Bridge")
TASK = struct(
    {
        "Name": text,
        "Engine": SPEC,
        "Publisher": SPEC,
        "Env": STRINGS,
        "Meta": STRINGS,
        "InputSources": seq(struct({"Source": SPEC, "Alias": text, "Target": text}, needed=("Source",))),
        "ResultPaths": seq(struct({"Name": text, "Path": text})),
        "Resources": struct({"CPU": text, "Memory": text, "Disk": text, "GPU": text}),
        "Network": struct(
            {
                "Type": word(*NETWORKS),
                "Domains": seq(text),
                "Ports": seq(struct({"Name": text, "Static": whole, "Target": whole, "HostNetwork": text})),
            }
        ),
        "Timeouts": struct({"ExecutionTimeout": whole, "QueueTimeout": whole, "TotalTimeout": whole}),
    },
    needed=("Name", "Engine", "Publisher"),
)
JOB = struct(
    {
        "ID": text,
        "Name": text,
        "Namespace": text,
        "Type": text,
        "Priority": whole,
        "Count": whole,
        "Constraints": seq(struct({"Key": text, "Operator": text, "Values": seq(text)})),
        "Meta": STRINGS,
        "Labels": STRINGS,
        "Tasks": seq(TASK, never_null=True),
        "State": struct({"StateType": word(*JOB_STATES)} | STATE, needed=("StateType",)),
        "Version": unsigned,
        "Revision": unsigned,
        "CreateTime": whole,
        "ModifyTime": whole,
    },
    needed=("ID", "Name", "Namespace", "Type", "Count", "Tasks", "State", "Version", "CreateTime", "ModifyTime"),
)
AMOUNTS = struct(
    {
        "CPU": number,
        "Memory": unsigned,
        "Disk": unsigned,
        "GPU": unsigned,
        "GPUs": seq(struct({"Index": unsigned, "Name": text, "Vendor": text, "Memory": unsigned, "PCIAddress": text})),
    }
)
RUN_OUTPUT = struct(
    {
        "Stdout": text,
        "StdoutTruncated": boolean,
        "stderr": text,
        "StderrTruncated": boolean,
        "ExitCode": whole,
        "ErrorMsg": text,
    },
    needed=("Stdout", "stderr", "ExitCode"),
)
_NUMBERED = struct({"StateType": whole} | STATE, needed=("StateType",))
EXECUTION = struct(
    {
        "ID": text,
        "Namespace": text,
        "EvalID": text,
        "Name": text,
        "NodeID": text,
        "JobID": text,
        "JobVersion": unsigned,
        "Job": JOB,
        "AllocatedResources": struct({"Tasks": mapping(AMOUNTS)}, needed=("Tasks",)),
        "DesiredState": _NUMBERED,
        "ComputeState": _NUMBERED,
        "PublishedResult": SPEC,
        "RunOutput": RUN_OUTPUT,
        "PreviousExecution": text,
        "NextExecution": text,
        "FollowupEvalID": text,
        "PartitionIndex": whole,
        "Revision": unsigned,
        "CreateTime": whole,
        "ModifyTime": whole,
    },
    needed=("ID", "NodeID", "JobID", "AllocatedResources", "DesiredState", "ComputeState", "PublishedResult"),
)
EVENT = struct(
    {"Message": text, "Topic": text, "Timestamp": time, "Details": STRINGS}, needed=("Message", "Topic", "Timestamp")
)
HISTORY = struct(
    {
        "SeqNum": unsigned,
        "Type": word("JobLevel", "ExecutionLevel"),
        "JobID": text,
        "JobVersion": unsigned,
        "ExecutionID": text,
        "Event": EVENT,
        "Time": time,
    },
    needed=("SeqNum", "Type", "JobID", "Event", "Time"),
)
BUILD = struct(
    {
        "Major": text,
        "Minor": text,
        "GitVersion": text,
        "GitCommit": text,
        "BuildDate": time,
        "GOOS": text,
        "GOARCH": text,
    },
    needed=("GitVersion", "BuildDate"),
)
NODE_INFO = {
    "NodeID": text,
    "NodeType": word("Requester", "Compute"),
    "Labels": STRINGS,
    "SupportedProtocols": seq(text),
    "ComputeNodeInfo": struct(
        {
            "ExecutionEngines": seq(text),
            "Publishers": seq(text),
            "StorageSources": seq(text),
            "MaxCapacity": AMOUNTS,
            "QueueCapacity": AMOUNTS,
            "AvailableCapacity": AMOUNTS,
            "MaxJobRequirements": AMOUNTS,
            "RunningExecutions": whole,
            "EnqueuedExecutions": whole,
            "address": text,
        }
    ),
    "BacalhauVersion": BUILD,
}
CONNECTION = word("CONNECTED", "DISCONNECTED")
NODE = struct(
    {
        "Info": struct(NODE_INFO, needed=("NodeID", "NodeType", "BacalhauVersion")),
        "Membership": word("PENDING", "APPROVED", "REJECTED", "UNKNOWN"),
        "Connection": CONNECTION,
        "ConnectionState": struct(
            {
                "Status": CONNECTION,
                "LastHeartbeat": time,
                "LastComputeSeqNum": unsigned,
                "LastOrchestratorSeqNum": unsigned,
                "ConnectedSince": time,
                "DisconnectedSince": time,
                "LastError": text,
            }
        ),
    },
    needed=("Info", "Membership", "Connection", "ConnectionState"),
)


def page(item: Shape, name: str = "Items") -> Shape:
    """A list with its token; the list is never null."""
    return struct({"NextToken": text, name: seq(item, never_null=True)}, needed=("NextToken", name))


ANSWERS: dict[str, Shape] = {
    "put job": struct({"JobID": text, "EvaluationID": text, "Warnings": seq(text)}, needed=("JobID", "EvaluationID")),
    "get job": struct({"Job": JOB, "History": page(HISTORY), "Executions": page(EXECUTION)}, needed=("Job",)),
    "list jobs": page(JOB),
    "stop job": struct({"EvaluationID": text}),
    "job history": page(HISTORY),
    "job executions": page(EXECUTION),
    "job results": page(SPEC),
    "job versions": page(JOB),
    "diff job": struct({"Diff": text, "Warnings": seq(text)}, needed=("Diff",)),
    "rerun job": struct(
        {"JobID": text, "EvaluationID": text, "JobVersion": unsigned, "Warnings": seq(text)},
        needed=("JobID", "EvaluationID", "JobVersion"),
    ),
    "list nodes": page(NODE, "Nodes"),
    "get node": struct({"Node": NODE}, needed=("Node",)),
    "put node": struct({"Success": boolean, "Error": text}, needed=("Success",)),
    "agent debug": mapping(anything),
    "agent config": struct({"config": mapping(anything)}, needed=("config",)),
    "agent authconfig": struct({"Version": text, "Config": mapping(anything)}, needed=("Version",)),
    "auth methods": struct(
        {"NextToken": text, "Methods": mapping(struct({"type": text, "params": anything}, needed=("type", "params")))},
        needed=("Methods",),
    ),
    "authn": struct(
        {"Authentication": struct({"success": boolean, "reason": text, "token": text}, needed=("success",))},
        needed=("Authentication",),
    ),
    "agent alive": struct({"Status": text}, needed=("Status",)),
    "agent version": BUILD,
    "agent node": struct(NODE_INFO, needed=("NodeID", "NodeType")),
}
"""By the call; of an error, see ERROR."""
ERROR = struct(
    {
        "Status": whole,
        "Message": text,
        "RequestID": text,
        "Code": text,
        "Component": text,
        "Hint": text,
        "Details": STRINGS,
    },
    needed=("Status", "Message", "Code"),
)
LOG_FRAME = struct({"value": struct({"Type": whole, "Line": text}), "error": text}, needed=("value",))
