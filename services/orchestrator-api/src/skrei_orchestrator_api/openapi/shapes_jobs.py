"""Shapes of jobs: what is submitted, what is read, and what happens to it."""

from typing import Any

from skrei_domain.spec import MAX_COUNT, MAX_ENV, MAX_LABELS, MAX_TASKS
from skrei_orchestrator_api.openapi.building import (
    FLAG,
    MAP,
    NANOSECONDS,
    TEXT,
    TEXTS,
    TIME,
    WHOLE,
    Schema,
    or_null,
    page,
    ref,
    said,
    several,
    thing,
    word,
)

HELLO: dict[str, Any] = {
    "Name": "hello",
    "Type": "batch",
    "Count": 1,
    "Labels": {"team": "docs"},
    "Tasks": [
        {
            "Name": "main",
            "Engine": {
                "Type": "docker",
                "Params": {"Image": "busybox:1.37.0", "Entrypoint": ["/bin/sh"], "Parameters": ["-c", "echo 15"]},
            },
            "Resources": {"CPU": "500m", "Memory": "512Mb"},
            "Timeouts": {"ExecutionTimeout": 60},
        }
    ],
}
JOB_ID = "j-8c9f9f0e-3a0b-4d0e-9d4e-2a7f0f6d7a11"
EXECUTION_ID = "e-5a0a3d6e-7d3f-4f37-9f9f-0d5b86d1b1c3"
NODE_ID = "n-0a1b2c3d-0000-4000-8000-000000000001"
EVALUATION_ID = "b1c5a8a0-4b6f-4b46-9a39-0f4a1c0b7a52"

_NOTHING_RAN: Schema = {"type": "null"}

SPEC_CONFIG = thing(
    "A plugin by name, and what it is told.",
    {},
    {"Type": TEXT, "Params": {"type": ["object", "null"], "additionalProperties": True}},
)
RESOURCES = thing(
    "What a task asks for, as texts (`500m`, `512Mb`, `1Gi`) or numbers (cores, bytes).",
    {},
    {name: {"type": ["string", "number", "null"]} for name in ("CPU", "Memory", "Disk", "GPU")},
)
SECONDS: Schema = {"type": ["integer", "string", "null"], "description": 'Seconds, or a duration such as `"5m"`.'}
CONSTRAINT = thing(
    "A condition on a node's labels.",
    {"Key": TEXT, "Operator": word("in", "notin", "exists", "!", "=", "==", "!=", "gt", "lt")},
    {"Values": or_null(TEXTS)},
)

TASK_SPEC = thing(
    "One program: what runs it, what it reads, what it leaves, what it needs.",
    {"Name": TEXT, "Engine": ref("SpecConfig")},
    {
        "Publisher": or_null(ref("SpecConfig")),
        "KeepFailed": or_null(FLAG),
        "Env": or_null(MAP | {"maxProperties": MAX_ENV}),
        "Meta": or_null(MAP),
        "InputSources": or_null(
            several(
                thing("Data that lies at `Target`.", {"Source": ref("SpecConfig"), "Target": TEXT}, {"Alias": TEXT})
            )
        ),
        "ResultPaths": or_null(
            several(
                thing(
                    "A folder that is kept.",
                    {"Name": TEXT, "Path": TEXT},
                    {"Publisher": or_null(ref("SpecConfig"))},
                )
            )
        ),
        "Resources": or_null(ref("ResourcesConfig")),
        "Network": or_null(
            thing(
                "What of the network it may reach.",
                {},
                {"Type": word("Default", "None", "Host", "Full", "HTTP", "Bridge"), "Domains": or_null(TEXTS)},
            )
        ),
        "Timeouts": or_null(
            thing("Limits.", {}, dict.fromkeys(("ExecutionTimeout", "QueueTimeout", "TotalTimeout"), SECONDS))
        ),
        "Logs": or_null(thing("When output leaves the node.", {}, {"Ship": word("live", "end")})),
    },
)
JOB_SPEC = thing(
    "What a user wants. Keys may be in any case; unknown ones are kept and answered with a warning.",
    {
        "Type": word("batch", "ops", "daemon", "service"),
        "Tasks": several(ref("TaskSpec"), minItems=1, maxItems=MAX_TASKS),
    },
    {
        "Name": said(TEXT | {"maxLength": 256}, "Unique in its namespace: a job of the same name is updated."),
        "Namespace": TEXT | {"maxLength": 256},
        "Priority": {"type": "integer", "minimum": -(2**31) + 1, "maximum": 2**31 - 1},
        "Count": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_COUNT},
        "Constraints": or_null(several(ref("Constraint"))),
        "Meta": or_null(MAP),
        "Labels": or_null(MAP | {"maxProperties": MAX_LABELS}),
        "Offline": or_null(
            thing(
                "What becomes of work on a node that fell silent.",
                {},
                {"Wait": SECONDS, "Replace": FLAG, "OnReturn": word("keep-first", "keep-original", "stop")},
            )
        ),
        "Retention": or_null(
            thing("How long what it leaves is kept.", {}, dict.fromkeys(("Results", "Logs", "History"), SECONDS))
        ),
    },
    examples=[HELLO],
)

PLUGIN = thing("A plugin by name, and what it is told; never null.", {"Type": TEXT, "Params": {"type": "object"}})
TASK = thing("A task as it is stored.", {"Name": TEXT, "Engine": PLUGIN, "Publisher": PLUGIN})
STATE = thing(
    "Where a job is, and why.",
    {"StateType": word("Pending", "Queued", "Running", "Completed", "Failed", "Stopped")},
    {"Message": TEXT, "Details": MAP},
)
TASK_STATE = thing(
    "How one task of a job of several stands.",
    {
        "Name": TEXT,
        "State": word("Pending", "Queued", "Running", "Completed", "Failed", "Stopped", "Skipped"),
        "Count": said(WHOLE, "Its partitions."),
        "Completed": WHOLE,
        "Running": said(WHOLE, "Executions that have not ended."),
        "DependsOn": several(TEXT),
    },
    {"Message": said(TEXT, "What it waits for, or why it failed.")},
)
JOB = thing(
    "A job: its spec, its state and its version.",
    {
        "ID": TEXT,
        "Name": TEXT,
        "Namespace": TEXT,
        "Type": TEXT,
        "Priority": WHOLE,
        "Count": WHOLE,
        "Constraints": several(ref("Constraint")),
        "Meta": MAP,
        "Labels": MAP,
        "Tasks": several(ref("Task")),
        "State": ref("JobState"),
        "Version": WHOLE,
        "Revision": said(WHOLE, "The number of the last item of its history."),
        "CreateTime": NANOSECONDS,
        "ModifyTime": NANOSECONDS,
    },
    {
        "TaskStates": several(ref("TaskState")),
        "Partitions": said(
            WHOLE, "Of a job that is split by who holds its data: how many it has, as far as that is known."
        ),
    },
    examples=[
        HELLO
        | {"ID": JOB_ID, "Namespace": "default", "Priority": 0, "Constraints": [], "Meta": {}}
        | {
            "Tasks": [HELLO["Tasks"][0] | {"Publisher": {"Type": "", "Params": {}}}],
            "State": {"StateType": "Completed"},
            "Version": 1,
            "Revision": 5,
            "CreateTime": 1755600000000000000,
            "ModifyTime": 1755600003000000000,
        }
    ],
)

NUMBERED = thing("A state as a number.", {"StateType": WHOLE}, {"Message": TEXT})
RUN_OUTPUT = thing(
    "The first 2 KiB of what a program said, and how it ended; -1 where it never ran.",
    {
        "Stdout": TEXT,
        "StdoutTruncated": FLAG,
        "stderr": TEXT,
        "StderrTruncated": FLAG,
        "ExitCode": WHOLE,
        "ErrorMsg": TEXT,
    },
)
EXECUTION = thing(
    "One attempt of one unit of a job on one node. States are numbers: 1 planned, 2 offered, 5 staging, 6 running, "
    "7 publishing, 9 completed, 10 failed or lost, 11 stopped, 4 refused; `DesiredState` is 0, 1 (run) or 2 (stop).",
    {
        "ID": TEXT,
        "Namespace": TEXT,
        "EvalID": TEXT,
        "Name": TEXT,
        "NodeID": TEXT,
        "JobID": TEXT,
        "JobVersion": WHOLE,
        "AllocatedResources": thing(
            "By task.", {"Tasks": {"type": "object", "additionalProperties": {"type": "object"}}}
        ),
        "DesiredState": ref("NumberedState"),
        "ComputeState": ref("NumberedState"),
        "PublishedResult": PLUGIN,
        "RunOutput": {"anyOf": [ref("RunOutput"), _NOTHING_RAN]},
        "Revision": said(WHOLE, "How often it changed."),
        "CreateTime": NANOSECONDS,
        "ModifyTime": NANOSECONDS,
        "Task": TEXT,
        "Attempt": WHOLE,
        "State": TEXT,
    },
    {
        "PartitionIndex": WHOLE,
        "ImageDigest": said(TEXT, "What exactly ran."),
        "PreviousExecution": TEXT,
        "DataRead": said(ref("DataRead"), "What its inputs came to; absent where it read none, or its node is older."),
    },
)
DATA_READ = thing(
    "Bytes of inputs: those that were on the node, in place or in its cache, and those that were brought.",
    {
        "Local": said(WHOLE, "Bytes that were on the node."),
        "Moved": said(WHOLE, "Bytes that were brought."),
        "Cached": said(WHOLE, "Of the local ones, those in its cache, which an earlier execution had brought."),
        "CacheHits": said(WHOLE, "Files of those."),
        "AtLeast": said(FLAG, "More is local than was counted: the folder is too large to be measured at each start."),
    },
    examples=[{"Local": 61_000_000, "Moved": 1_300, "Cached": 0, "CacheHits": 0, "AtLeast": False}],
)
HISTORY = thing(
    "One transition, numbered within its job without a gap.",
    {
        "SeqNum": {"type": "integer", "minimum": 1},
        "Type": word("JobLevel", "ExecutionLevel"),
        "JobID": TEXT,
        "JobVersion": WHOLE,
        "Event": thing("What happened.", {"Message": TEXT, "Topic": TEXT, "Timestamp": TIME}, {"Details": MAP}),
        "Time": TIME,
    },
    {"ExecutionID": TEXT},
    examples=[
        {
            "SeqNum": 3,
            "Type": "ExecutionLevel",
            "JobID": JOB_ID,
            "JobVersion": 1,
            "ExecutionID": EXECUTION_ID,
            "Event": {
                "Message": "Requested execution on n-0a1b2c3d",
                "Topic": "Scheduling",
                "Timestamp": "2026-01-02T03:04:05.123456Z",
                "Details": {"NodeID": NODE_ID},
            },
            "Time": "2026-01-02T03:04:05.123456Z",
        }
    ],
)
RESULT = thing(
    "Where the archive of one unit's result is; the address works for an hour.",
    {
        "Type": TEXT,
        "Params": thing(
            "How to fetch it.",
            {
                "URL": TEXT,
                "ExecutionID": TEXT,
                "PartitionIndex": WHOLE,
                "Size": WHOLE,
                "Digest": TEXT,
                "KeptUntil": TIME,
            },
            {
                "Task": said(TEXT, "Whose it is, of a job of several tasks."),
                "NodeID": said(TEXT, "Who made it."),
                "NodeName": said(TEXT, "What that node calls itself, while it is known."),
                "ResultPaths": said(
                    several(TEXT),
                    "Of a result that went to several places: the paths that are here; none: what is in no other.",
                ),
            },
        ),
    },
)
INPUT_RESULTS = thing(
    "Results of an earlier task, for the node that runs a later one; `next` is the partition to go on from.",
    {
        "apart": said(FLAG, "Whether each has a folder of its own."),
        "results": several(
            thing("One partition's.", {"partition": WHOLE, "url": TEXT, "digest": TEXT, "size": WHOLE}),
        ),
        "next": or_null(WHOLE),
    },
)

STANDING = thing(
    "Whether what an execution left counts for its unit; null while that is not decided.", {"counts": or_null(FLAG)}
)

SUBMIT = thing(
    "A job to run. `Namespace` counts where the job names none.",
    {"Job": ref("JobSpec")},
    {
        "Force": FLAG,
        "Namespace": TEXT,
        "IdempotencyToken": said(TEXT | {"maxLength": 256}, "The same body gets the same answer for 24 hours."),
        "Credential": {"type": "null"},
    },
    examples=[{"Job": HELLO}],
)
SUBMITTED = thing(
    "The job is accepted: its transaction has committed.",
    {"JobID": TEXT, "EvaluationID": TEXT, "Warnings": or_null(TEXTS)},
    examples=[{"JobID": JOB_ID, "EvaluationID": EVALUATION_ID, "Warnings": None}],
)

DIFF = thing(
    "What a submission would change; empty where that is nothing.",
    {"Diff": TEXT, "Warnings": or_null(TEXTS)},
    examples=[{"Diff": "- Count: 1\n+ Count: 2\n", "Warnings": []}],
)
RERUN = thing(
    "Which version is to be run once more (0: the current one), and why; with `SameInputs` over the lists of inputs "
    "that it was pinned to.",
    {},
    {
        "JobVersion": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        "Reason": TEXT,
        "SameInputs": {"type": "boolean"},
        "Namespace": TEXT,
        "IdempotencyToken": TEXT,
        "Credential": {"type": "null"},
    },
    examples=[{"JobVersion": 0, "Reason": "the data has changed"}],
)
RERUN_ACCEPTED = thing(
    "The next version of the job.",
    {"JobID": TEXT, "EvaluationID": TEXT, "JobVersion": WHOLE, "Warnings": or_null(TEXTS)},
    examples=[{"JobID": JOB_ID, "EvaluationID": EVALUATION_ID, "JobVersion": 2, "Warnings": None}],
)

SCHEMAS: dict[str, Schema] = {
    "EventStream": {"type": "string", "description": "Events as the HTML standard writes them: `id`, `event`, `data`."},
    "Batch": thing(
        "Many submissions at once.",
        {"Jobs": several(ref("Submit"), minItems=1, maxItems=256)},
        examples=[{"Jobs": [{"Job": HELLO, "IdempotencyToken": "night-7-part-1"}]}],
    ),
    "BatchAnswer": thing(
        "What became of each, in order.",
        {"Items": several({"anyOf": [ref("Submitted"), thing("Why one is refused.", {"Error": ref("Error")})]})},
    ),
    "Diff": DIFF,
    "RerunRequest": RERUN,
    "Rerun": RERUN_ACCEPTED,
    "SpecConfig": SPEC_CONFIG,
    "ResourcesConfig": RESOURCES,
    "Constraint": CONSTRAINT,
    "TaskSpec": TASK_SPEC,
    "JobSpec": JOB_SPEC,
    "Task": TASK,
    "JobState": STATE,
    "Job": JOB,
    "NumberedState": NUMBERED,
    "RunOutput": RUN_OUTPUT,
    "Execution": EXECUTION,
    "DataRead": DATA_READ,
    "History": HISTORY,
    "Result": RESULT,
    "InputResults": INPUT_RESULTS,
    "Standing": STANDING,
    "TaskState": TASK_STATE,
    "Submit": SUBMIT,
    "Submitted": SUBMITTED,
    "Jobs": page("A page of jobs.", "Job"),
    "Executions": page("Executions.", "Execution"),
    "Endpoints": page("Where ready executions are reached.", "Endpoint"),
    "Endpoint": thing(
        "A port of a ready execution.",
        {"Address": TEXT, "Host": TEXT, "Port": WHOLE, "Name": TEXT, "Task": TEXT, "PartitionIndex": WHOLE},
        {"ExecutionID": TEXT, "NodeID": TEXT, "JobVersion": WHOLE},
    ),
    "HistoryPage": page(
        "A page of history. The token stays non-empty until the job has ended and all of it was read.", "History"
    ),
    "Results": page("One result for each unit that has one.", "Result"),
    "JobAnswer": thing(
        "A job, and beside it what `include` asked for.",
        {"Job": ref("Job")},
        {"History": ref("HistoryPage"), "Executions": ref("Executions"), "Endpoints": ref("Endpoints")},
    ),
    "Stop": thing("Why.", {}, {"reason": TEXT}, examples=[{"reason": "not needed any more"}]),
    "Evaluation": thing(
        "What the scheduler was asked to look at; empty where there is nothing to do.",
        {"EvaluationID": TEXT},
        examples=[{"EvaluationID": EVALUATION_ID}],
    ),
}
