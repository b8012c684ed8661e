"""What a job may be, as a JSON schema: for editors, which complete from it and underline what is wrong.

Made from the fields of `skrei_domain.spec`, so a field that is added there is here too; what a field means, and what
else than its type it may be, stands in the tables below. What the schema accepts the parser reads; it is stricter in
two things only, so that a typo is seen: unknown keys, and keys in another case.
"""

import copy
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from skrei_domain import constraints, data_sets, docker_params, job_parse, job_task, retention, services, spec
from skrei_domain.constraints import Constraint
from skrei_domain.spec import JobSpec, Part

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
"""What editors read best."""
PATH = "/schemas/job.json"
"""Where the API serves it."""

_DURATION: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": job_task.MAX_SECONDS},
        {"type": "string", "pattern": r"^([0-9]{1,9}|([0-9]{1,4}(\.[0-9]{1,9})?[dhms]){1,4})$"},
    ]
}


def _span(least: int, unit: str, short: str) -> Schema:
    """Return the schema of a duration from `least` seconds to an hour, in seconds or minutes."""
    return {
        "anyOf": [
            {"type": "integer", "minimum": least, "maximum": 3600},
            {"type": "string", "pattern": f"^({short}{unit}|([1-9]|[1-5][0-9])m|1h)$"},
        ]
    }


_KEPT: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": retention.DAY, "maximum": retention.FOREVER_SECONDS},
        {"type": "string", "pattern": r"^(([1-9][0-9]{0,3}|[1-2][0-9]{4})d|(2[4-9]|[3-9][0-9]|[1-9][0-9]{2,4})h)$"},
    ]
}
_WAIT: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": job_parse.MAX_OFFLINE_SECONDS},
        {"type": "string", "pattern": r"^([0-9]{1,7}|([0-9]{1,2}(\.[0-9]{1,9})?[dhms]){1,3})$"},
    ]
}
_SIZE = r"^[0-9]{1,6}(\.[0-9]{1,3})? ?([kKmMgGtT][iI]?)?[bB]?$"
_BYTES: Schema = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE}]}
_ENV: Schema = {
    "type": "object",
    "propertyNames": {"pattern": "^(?!BACALHAU_)[A-Z][A-Z0-9_]*$"},
    "additionalProperties": {"type": "string", "minLength": 1},
    "maxProperties": spec.MAX_ENV,
}
_TEXT: Schema = {"type": "string"}
_FILLED: Schema = {"type": "string", "pattern": r"\S"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_ABSOLUTE: Schema = {"type": "string", "pattern": "^/"}
_ONE: Schema = {"minItems": 1, "maxItems": 1}
_ONE_NUMBER: Schema = _ONE | {"items": {"pattern": "^-?[0-9]{1,18}$"}}

_DEPENDENCY: Schema = {
    "type": "object",
    "required": ["Task"],
    "additionalProperties": False,
    "properties": {"Task": _FILLED, "Partition": {"enum": ["same"]}},
}

SAYS: Mapping[str, str] = {
    "Job": "What is to be run, how often, and on which nodes.",
    "Job.Name": "What the job is called; a submission under a name in use makes the next version of its job.",
    "Job.Namespace": "Names are unique in it.",
    "Job.Type": "batch: Count partitions, each once; ops: once on every node that matches now; daemon: on every node "
    "that matches, always; service: Count replicas, kept alive.",
    "Job.Priority": "Higher goes first.",
    "Job.Count": "How many partitions, or replicas.",
    "Job.Constraints": "Which nodes: all of these must hold for a node's labels.",
    "Job.Meta": "Notes of yours; nothing here reads them.",
    "Job.Labels": "What lists select jobs by.",
    "Job.Tasks": "The programs.",
    "Job.Offline": "What becomes of work on a node that fell silent.",
    "Job.Update": "How a service goes to its next version.",
    "Job.FailOn": "exit-code: a program that ends with another code than 0 has failed, and so has its job.",
    "Job.Retention": "How long what it leaves is kept once it has ended; else as its namespace has it.",
    "Retention.Results": "What executions left in Skrei's own store.",
    "Retention.Logs": "What executions said, beside what their results hold of it.",
    "Retention.History": "The job itself, with all that happened.",
    "Update.MaxSurge": "How many more than it needs run meanwhile.",
    "Update.MinReady": "How long a replica must have been ready before it counts; 0s for at once.",
    "Update.ProgressDeadline": "How long nothing more may become ready before it goes back by itself.",
    "Offline.Wait": "How long a node may be silent before a replacement is placed.",
    "Offline.Replace": "Whether one is placed at all.",
    "Offline.OnReturn": "Who goes on when the silent node is back.",
    "Task": "One program: what runs it, what it reads, what it leaves, what it needs.",
    "Task.Name": "What the task is called.",
    "Task.Engine": "What runs it.",
    "Task.Publisher": "Where its result goes; else Skrei's own result store.",
    "Task.Env": "Environment variables; `env:NAME` takes the node's own, where it allows that.",
    "Task.Count": "How many partitions of this task; else the job's.",
    "Task.DependsOn": "Which tasks must be over before: a name, or {Task: name, Partition: same} to wait for the same "
    "partition alone.",
    "Task.Uses": "Services of other jobs, or of nodes, by name: it waits until each is ready, and finds where it is "
    "reached as SKREI_SERVICE_<NAME>.",
    "Task.Split": "holder: one partition on each node that holds its data, so that Count follows.",
    "Task.Locality": "required: only on nodes that have its local paths, and what it fetches in their cache.",
    "Task.KeepFailed": "Whether what an execution left is kept that failed or was stopped; else yes.",
    "Task.Check": "When the task is ready; without one it is as soon as it runs.",
    "Check.HTTP": "Ready is what answers a GET with 200 to 399.",
    "Check.TCP": "Ready is what takes a connection.",
    "Check.Exec": "Ready is a task in which this command ends with exit code 0.",
    "Check.Interval": "How often it is asked.",
    "Check.Timeout": "How long an answer may take.",
    "Check.Healthy": "Good answers in a row that make it ready.",
    "Check.Unhealthy": "Bad answers in a row that make it not.",
    "HttpCheck.Port": "A name of Network.Ports; where there is one it may be left out.",
    "HttpCheck.Path": "What is asked for.",
    "TcpCheck.Port": "A name of Network.Ports; where there is one it may be left out.",
    "ExecCheck.Command": "The program and its arguments, for no shell: [pg_isready, -q].",
    "Task.StopGrace": "How long the program may take to end by itself when it is stopped; then it is ended.",
    "Task.Meta": "Notes of yours; nothing here reads them.",
    "Task.InputSources": "Data that lies at its target when the task starts.",
    "Task.ResultPaths": "Folders that the task fills; each is a folder of its result.",
    "Task.Resources": "What it needs of a node.",
    "Task.Network": "What of the network it may reach.",
    "Task.Timeouts": "How long it may wait and run.",
    "Task.Logs": "When its output leaves the node.",
    "Input.Source": "Where the data comes from.",
    "Input.Target": "Where the task finds it.",
    "Input.Alias": "What it is called in messages.",
    "Result.Name": "The folder in the result.",
    "Result.Path": "The folder that the task fills.",
    "Result.Publisher": "Where this folder goes, if not to where the rest of the result does.",
    "Resources.CPU": "Cores: `2`, `1.5`, `500m`.",
    "Resources.Memory": "Bytes: `512Mb`, `1Gi`.",
    "Resources.Disk": "Bytes: `10Gb`.",
    "Resources.GPU": "Whole devices.",
    "Network.Type": "None: nothing; Bridge: the Internet and ports of its own; Host: the node's network; HTTP: some "
    "domains.",
    "Network.Domains": "With HTTP: what may be reached; `.example.com` is every name below.",
    "Network.Ports": "What the task listens on.",
    "Port.Name": "The task finds the port as BACALHAU_PORT_<Name>.",
    "Port.Static": "The node's port; 0 takes a free one.",
    "Port.Target": "The port inside; 0 is the same.",
    "Port.HostNetwork": "The node's address to listen on.",
    "Timeouts.ExecutionTimeout": "How long one execution may run.",
    "Timeouts.QueueTimeout": "How long the job may wait for room.",
    "Timeouts.TotalTimeout": "How long the job may take in all.",
    "Logs.Ship": "live: while it runs; end: only with its result.",
    "Config.Type": "Which plugin.",
    "Config.Params": "What the plugin is told.",
    "Constraint": "A requirement on a node's label.",
    "Constraint.Key": "The label; `favour_KEY` prefers nodes and refuses none.",
    "Constraint.Operator": "How the label is compared.",
    "Constraint.Values": "With what.",
}
"""What each part and field means, for whoever sees it in an editor."""

NAMES = {
    "JobSpec": "Job",
    "TaskSpec": "Task",
    "SpecConfig": "Config",
    "InputSource": "Input",
    "ResultPath": "Result",
    "ResourcesConfig": "Resources",
    "NetworkConfig": "Network",
    "LogsConfig": "Logs",
    "RetentionConfig": "Retention",
    "UpdateConfig": "Update",
}
"""What parts are called here, where that is not the name of their class."""

NEEDED = {
    "Job": ("Type", "Tasks"),
    "Task": ("Name", "Engine"),
    "Input": ("Source", "Target"),
    "Result": ("Name", "Path"),
    "Config": ("Type",),
    "Port": ("Name",),
    "ExecCheck": ("Command",),
}

_PUBLISHER: Schema = {"type": "object", "properties": {"Type": _TEXT, "Params": {"type": "object"}},
                      "additionalProperties": False}  # fmt: skip
ALSO: Mapping[str, Schema] = {
    "Job.Name": {"type": "string", "maxLength": spec.MAX_NAME_BYTES},
    "Job.Namespace": {"type": "string", "pattern": r"^[^\s*]*$", "maxLength": spec.MAX_NAME_BYTES},
    "Job.Type": {"enum": ["batch", "service", "daemon", "ops"]},
    "Job.Priority": {"type": "integer", "minimum": -job_parse.MAX_PRIORITY, "maximum": job_parse.MAX_PRIORITY},
    "Job.Count": {"type": "integer", "minimum": 0, "maximum": spec.MAX_COUNT},
    "Job.Labels": {"type": "object", "additionalProperties": _TEXT, "maxProperties": spec.MAX_LABELS},
    "Job.Tasks": {"type": "array", "items": {"$ref": "#/definitions/Task"}, "minItems": 1, "maxItems": spec.MAX_TASKS},
    "Offline.Wait": _WAIT,
    "Task.Name": _FILLED | {"maxLength": spec.MAX_NAME_BYTES},
    "Task.Engine": {"$ref": "#/definitions/Engine"},
    "Task.Publisher": _PUBLISHER,
    "Result.Publisher": _PUBLISHER,
    "Task.Env": _ENV,
    "Task.Count": {"type": "integer", "minimum": 1, "maximum": spec.MAX_COUNT},
    "Task.DependsOn": {"type": "array", "maxItems": spec.MAX_TASKS, "items": {"anyOf": [_FILLED, _DEPENDENCY]}},
    "Task.StopGrace": _span(0, "s", "[0-9]{1,3}"),
    "ExecCheck.Command": {"type": "array", "items": _FILLED, "minItems": 1},
    "Task.Uses": {"type": "array", "maxItems": services.MAX_USES,
                  "items": _FILLED | {"maxLength": spec.MAX_NAME_BYTES}},
    "Task.Locality": {"enum": ["preferred", "required"]},
    "Task.Split": {"enum": [data_sets.HOLDER]},
    "Retention.Results": _KEPT,
    "Retention.Logs": _KEPT,
    "Retention.History": _KEPT,
    "Update.MaxSurge": {"type": "integer", "minimum": 1, "maximum": 100},
    "Update.MinReady": _span(0, "s", "[1-5]?[0-9]"),
    "Update.ProgressDeadline": _span(10, "s", "[1-9][0-9]"),
    "Check.Interval": _span(1, "s", "[1-9][0-9]?"),
    "Check.Timeout": _span(1, "s", "[1-9][0-9]?"),
    "Check.Healthy": {"type": "integer", "minimum": 1, "maximum": 100},
    "Check.Unhealthy": {"type": "integer", "minimum": 1, "maximum": 100},
    "HttpCheck.Path": {"type": "string", "pattern": "^/[!-~]*$"},
    "Input.Source": {"$ref": "#/definitions/Source"},
    "Input.Target": _FILLED,
    "Result.Name": {"type": "string", "pattern": r"^(?!(\.|\.\.|[sS][tT][dD](out|err)|exitCode)$)[^/\s][^/]*$",
                    "maxLength": spec.MAX_NAME_BYTES},
    "Result.Path": {"type": "string", "pattern": r"^/[\s\S]*[^/\s]"},
    "Resources.CPU": {"anyOf": [{"type": "number", "minimum": 0, "maximum": job_task.MAX_CPU_MILLI // 1000},
                                {"type": "string", "pattern": r"^([0-9]{1,6}m?|[0-9]{1,6}\.[0-9]{1,3})$"}]},
    "Resources.Memory": _BYTES,
    "Resources.Disk": _BYTES,
    "Resources.GPU": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": job_task.MAX_GPU},
                                {"type": "string", "pattern": "^[0-9]{1,4}$"}]},
    "Network.Type": {"enum": ["Default", "None", "Host", "Full", "HTTP", "Bridge"]},
    "Port.Name": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,236}$"},
    "Port.Static": {"type": "integer", "anyOf": [{"const": 0}, {"minimum": 1024, "maximum": 65535}]},
    "Port.Target": {"type": "integer", "minimum": 0, "maximum": 65535},
    "Timeouts.ExecutionTimeout": _DURATION,
    "Timeouts.QueueTimeout": _DURATION,
    "Timeouts.TotalTimeout": _DURATION,
    "Config.Type": _FILLED,
}  # fmt: skip
"""What a field may be, where its type in the model does not say it: what people write is more than what is stored."""

DOCKER: Schema = {
    "type": "object",
    "required": ["Image"],
    "additionalProperties": False,
    "properties": {
        "Image": {"type": "string", "pattern": r"^\S+$", "description": "What is run, such as ubuntu:24.04.",
                  "maxLength": docker_params.MAX_IMAGE},
        "Entrypoint": _TEXTS | {"description": "Instead of the image's own."},
        "Parameters": _TEXTS | {"description": "The command, or what the entrypoint is given."},
        "EnvironmentVariables": _TEXTS | {"description": "NAME=value each; they win over the task's Env."},
        "WorkingDirectory": _ABSOLUTE | {"description": "The folder to start in."},
        "Pull": {"enum": list(docker_params.PULLS), "description": "When a registry is asked for the image."},
    },
}  # fmt: skip
WASM: Schema = {
    "type": "object",
    "required": ["EntryModule"],
    "additionalProperties": False,
    "properties": {
        "EntryModule": _FILLED | {"description": "The target of the input that brings the module."},
        "Entrypoint": _TEXT | {"description": "The exported function to call; else _start."},
        "Parameters": _TEXTS | {"description": "The program's arguments."},
        "ImportModules": _TEXTS | {"description": "Targets of inputs that bring modules which it imports."},
    },
}
LOCAL: Schema = {
    "type": "object",
    "required": ["SourcePath"],
    "additionalProperties": False,
    "properties": {
        "SourcePath": _TEXT | {"description": "A path of the node; in a file it may be relative to that file."},
        "ReadWrite": {"type": "boolean", "description": "Whether the task may write there."},
        "CreateAs": {"enum": ["dir", "file", "noCreate"], "description": "What to make where nothing is."},
    },
}
INLINE: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "URL": {"type": "string", "pattern": "^data:", "description": "The data itself, as a data URL."},
        "File": _FILLED | {"description": "A file or folder beside this one, which travels with the job."},
    },
}
TASK: Schema = {
    "type": "object",
    "required": ["Task"],
    "additionalProperties": False,
    "properties": {
        "Task": _FILLED | {"description": "The task whose result is read; it is waited for."},
        "Path": _TEXT | {"description": "A file or folder in it; else all of it."},
    },
}
DATA: Schema = {
    "type": "object",
    "required": ["Name"],
    "additionalProperties": False,
    "properties": {
        "Name": {"type": "string", "pattern": data_sets.PATTERN, "description": "What nodes call it: `books`."},
        "Path": _TEXT | {"description": "A file or folder in it; else all of it."},
        "ReadWrite": {"type": "boolean", "description": "Whether the task may write there, where its owner lets it."},
    },
}
PLUGINS = {
    "Engine": {"docker": DOCKER, "kubernetes": DOCKER, "wasm": WASM},
    "Source": {"local": LOCAL, "inline": INLINE, "task": TASK, "data": DATA},
}
"""Parameters of the plugins that come with Skrei, by kind and type; those of others are not looked at."""


def job_schema() -> Schema:
    """Return the schema of a job in a file; the API takes the same under `Job`."""
    definitions: dict[str, Schema] = {"Constraint": _constraint()}
    for name, known in PLUGINS.items():
        definitions[name] = _plugin(known)
    job = _part(JobSpec, definitions)
    return {"$schema": DRAFT, "title": "A job of Skrei", **job, "definitions": dict(sorted(definitions.items()))}


def _part(model: type[Part], definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a part, and add those of the parts in it to `definitions`."""
    name = name_of(model)
    properties = {}
    for key, field in model.model_fields.items():
        alias = field.alias or key
        says = SAYS.get(f"{name}.{alias}", "")
        properties[alias] = _field(f"{name}.{alias}", field, definitions) | ({"description": says} if says else {})
        if "$ref" in properties[alias] and says:  # beside a reference nothing else is read
            properties[alias] = {"allOf": [{"$ref": properties[alias]["$ref"]}], "description": says}
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if name in NEEDED:
        found["required"] = list(NEEDED[name])
    return found | ({"description": SAYS[name]} if name in SAYS else {})


def name_of(model: type[Part]) -> str:
    """Return what a part is called in the tables of this module."""
    return NAMES.get(model.__name__, model.__name__)


def _field(path: str, field: FieldInfo, definitions: dict[str, Schema]) -> Schema:
    by_type = _of_type(field.annotation, definitions)  # also where the tables say more: parts in it are defined so
    found = copy.deepcopy(ALSO[path]) if path in ALSO else by_type
    default = field.default
    if isinstance(default, str | int | bool) and default not in ("", 0, False):
        found = found | {"default": default}
    return found


def _of_type(wanted: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a type of the models."""
    origin, inside = get_origin(wanted), get_args(wanted)
    if origin is typing.Annotated:
        return _of_type(inside[0], definitions)
    if origin is Literal:
        return {"enum": list(inside)}
    if origin is tuple:
        return {"type": "array", "items": _of_type(inside[0], definitions)}
    if origin is dict:
        return {"type": "object"} | ({"additionalProperties": _TEXT} if inside[1] is str else {})
    if origin in (typing.Union, types.UnionType):
        return _of_type(next(one for one in inside if one is not types.NoneType), definitions)
    if wanted is Constraint:
        return {"$ref": "#/definitions/Constraint"}
    if isinstance(wanted, type) and issubclass(wanted, Part):
        name = name_of(wanted)
        if name not in definitions:
            definitions[name] = {}  # taken, while its own parts are made
            definitions[name] = _part(wanted, definitions)
        return {"$ref": f"#/definitions/{name}"}
    plain = {str: "string", bool: "boolean", int: "integer", float: "number"}.get(wanted)
    return {"type": plain} if plain else {}  # of a type of its own, which ALSO describes


def _constraint() -> Schema:
    return {
        "type": "object",
        "description": SAYS["Constraint"],
        "additionalProperties": False,
        "required": ["Key", "Operator"],
        "properties": {
            "Key": _FILLED | {"description": SAYS["Constraint.Key"], "maxLength": spec.MAX_LABEL_BYTES},
            "Operator": {"enum": list(constraints.OPERATORS), "description": SAYS["Constraint.Operator"]},
            "Values": _TEXTS | {"description": SAYS["Constraint.Values"]},
        },
        "allOf": [
            _when("Operator", ["in", "notin"], {"required": ["Values"], "properties": {"Values": {"minItems": 1}}}),
            _when("Operator", ["exists", "!"], {"properties": {"Values": {"maxItems": 0}}}),
            _when("Operator", ["=", "==", "!="], {"required": ["Values"], "properties": {"Values": _ONE}}),
            _when("Operator", ["gt", "lt"], {"required": ["Values"], "properties": {"Values": _ONE_NUMBER}}),
        ],
    }


def _when(key: str, words: list[str], then: Schema) -> Schema:
    return {"if": {"required": [key], "properties": {key: {"enum": words}}}, "then": then}


def _plugin(known: Mapping[str, Schema]) -> Schema:
    """Return the schema of a plugin's name and what it is told: looked at where the plugin is one of ours."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["Type"],
        "properties": {
            "Type": {"anyOf": [{"enum": list(known)}, _FILLED], "description": SAYS["Config.Type"]},
            "Params": {"type": "object", "description": SAYS["Config.Params"]},
        },
        "allOf": [
            {
                "if": {"required": ["Type"], "properties": {"Type": {"pattern": _in_any_case(name)}}},
                "then": {"required": ["Params"], "properties": {"Params": params}},
            }
            for name, params in known.items()
        ],
    }


def _in_any_case(word: str) -> str:
    return "^" + "".join(f"[{letter.lower()}{letter.upper()}]" for letter in word) + "$"
