"""What answers look like that are made of other answers' parts: one example each, as a stack would give it."""

from typing import Any

from skrei_domain.node import KEPT_HERE
from skrei_orchestrator_api.openapi.shapes_jobs import EVALUATION_ID, EXECUTION_ID, JOB_ID, NODE_ID, SCHEMAS
from skrei_orchestrator_api.openapi.shapes_server import VERSION
from skrei_orchestrator_api.schemas import PROTOCOLS

_NANOSECONDS = 1755600001000000000
_TIME = "2026-01-02T03:04:05.123456Z"
_NODE_NAME = "north-1"
_DIGEST = "sha256:8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"

_job: dict[str, Any] = SCHEMAS["Job"]["examples"][0]
_event: dict[str, Any] = SCHEMAS["History"]["examples"][0]
_execution: dict[str, Any] = {
    "ID": EXECUTION_ID,
    "Namespace": "default",
    "EvalID": EVALUATION_ID,
    "Name": "",
    "NodeID": NODE_ID,
    "JobID": JOB_ID,
    "JobVersion": 1,
    "AllocatedResources": {"Tasks": {"main": {"CPU": 0.5, "Memory": 512_000_000}}},
    "DesiredState": {"StateType": 2},
    "ComputeState": {"StateType": 9},
    "PublishedResult": {"Type": "", "Params": {}},
    "RunOutput": {
        "Stdout": "15\n",
        "StdoutTruncated": False,
        "stderr": "",
        "StderrTruncated": False,
        "ExitCode": 0,
        "ErrorMsg": "",
    },
    "PartitionIndex": 0,
    "Revision": 3,
    "CreateTime": _NANOSECONDS,
    "ModifyTime": _NANOSECONDS + 1_500_000_000,
    "Task": "main",
    "Attempt": 1,
    "State": "Completed",
}
_result: dict[str, Any] = {
    "Type": "urlDownload",
    "Params": {
        "URL": f"http://127.0.0.1:1235/results/{EXECUTION_ID}.tar.gz?token=eyJ...",
        "ExecutionID": EXECUTION_ID,
        "PartitionIndex": 0,
        "NodeID": NODE_ID,
        "NodeName": _NODE_NAME,
        "Size": 312,
        "Digest": _DIGEST,
        "KeptUntil": "2026-01-09T03:04:05.123456Z",
    },
}
_endpoint: dict[str, Any] = {
    "Address": "192.168.1.7:23001",
    "Host": "192.168.1.7",
    "Port": 23001,
    "Name": "http",
    "Task": "main",
    "PartitionIndex": 0,
    "ExecutionID": EXECUTION_ID,
    "NodeID": NODE_ID,
    "JobVersion": 1,
}
_amounts: dict[str, Any] = {"CPU": 8, "Memory": 26_000_000_000, "Disk": 90_000_000_000}
_version: dict[str, Any] = VERSION["examples"][0]
_node: dict[str, Any] = {
    "Info": {
        "NodeID": NODE_ID,
        "NodeType": "Compute",
        "Labels": {"os_type": "linux", "os_arch": "amd64", "name": _NODE_NAME, "region": "north"},
        "SupportedProtocols": list(PROTOCOLS),
        "BacalhauVersion": _version,
        "ComputeNodeInfo": {
            "ExecutionEngines": ["docker", "wasm"],
            "Publishers": list(KEPT_HERE),
            "StorageSources": ["inline", "local", "urldownload"],
            "MaxCapacity": _amounts,
            "QueueCapacity": {},
            "AvailableCapacity": _amounts | {"CPU": 7.5},
            "MaxJobRequirements": _amounts,
            "RunningExecutions": 1,
            "EnqueuedExecutions": 0,
        },
    },
    "Membership": "APPROVED",
    "Connection": "CONNECTED",
    "Intake": "open",
    "OperatorLabels": {"rack": "b7"},
    "ConnectionState": {
        "Status": "CONNECTED",
        "LastHeartbeat": _TIME,
        "LastComputeSeqNum": 12,
        "LastOrchestratorSeqNum": 0,
        "ConnectedSince": _TIME,
        "DisconnectedSince": "0001-01-01T00:00:00Z",
        "LastError": "",
    },
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "Collected": {
        "DryRun": True,
        "Complete": True,
        "Items": [{"Kind": "results", "Count": 3, "Bytes": 6_291_456, "Oldest": _TIME}],
    },
    "ServerNode": {
        "NodeID": "skrei",
        "NodeType": "Requester",
        "Labels": {},
        "SupportedProtocols": list(PROTOCOLS),
        "BacalhauVersion": _version,
    },
    "Debug": {"Jobs": {"ActiveJobs": 3}},
    "Config": {"config": {"log_level": "info", "database_url": "**********"}},
    "AuthConfig": {"Version": "", "Config": {}},
    "AuthMethods": {
        "NextToken": "",
        "Methods": {"ClientKey": {"type": "challenge", "params": {"InputPhrase": "c2tyZWk="}}},
    },
    "JobAnswer": {"Job": _job},
    "Jobs": {"NextToken": "", "Items": [_job]},
    "Execution": _execution,
    "Executions": {"NextToken": "", "Items": [_execution]},
    "HistoryPage": {"NextToken": "WyJoaXN0b3J5Iiw0LDEwMF0", "Items": [_event]},
    "Result": _result,
    "Results": {"NextToken": "", "Items": [_result]},
    "Endpoint": _endpoint,
    "Endpoints": {"NextToken": "", "Items": [_endpoint]},
    "BatchAnswer": {
        "Items": [
            {"JobID": JOB_ID, "EvaluationID": EVALUATION_ID, "Warnings": None},
            {
                "Error": {
                    "Status": 400,
                    "Message": "Type: 'night'; allowed: batch, ops, daemon, service",
                    "RequestID": "9f0c7a52-3a0b-4d0e-9d4e-2a7f0f6d7a11",
                    "Code": "ValidationError",
                    "Component": "APIServer",
                }
            },
        ]
    },
    "TaskState": {
        "Name": "count",
        "State": "Running",
        "Count": 4,
        "Completed": 3,
        "Running": 1,
        "DependsOn": ["split"],
    },
    "Standing": {"counts": True},
    "InputResults": {
        "apart": True,
        "results": [{"partition": 0, "url": _result["Params"]["URL"], "digest": _DIGEST, "size": 312}],
        "next": None,
    },
    "Node": _node,
    "NodeAnswer": {"Node": _node},
    "Nodes": {"NextToken": "", "Nodes": [_node]},
    "Joined": {
        "NodeID": NODE_ID,
        "JWT": "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ...",
        "NATSURL": "nats://127.0.0.1:4222",
        "NATSURLs": ["nats://127.0.0.1:4222"],
        "NATSCA": "",
        "APIURL": "http://127.0.0.1:1234",
        "PublisherURL": "http://127.0.0.1:1235",
        "TokenPublicKey": "kUz2m0Y3c4Zl2s1Qw5k5i9l3Yt2n7oJ8o3m1f0bQ4hI=",
        "ServerVersion": "0.5.0",
    },
    "Renewed": {"NodeID": NODE_ID, "JWT": "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ..."},
    "NodeRevoked": {"NodeID": NODE_ID},
    "JoinLine": {
        "Command": "skrei serve --compute --join http://127.0.0.1:1234 --token skj-...",
        "URL": "http://127.0.0.1:1234",
    },
}
