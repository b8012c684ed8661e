"""Shapes of nodes, and of joining."""

from skrei_orchestrator_api.openapi.building import (
    FLAG,
    MAP,
    NUMBER,
    TEXT,
    TEXTS,
    TIME,
    WHOLE,
    Schema,
    page,
    ref,
    said,
    several,
    thing,
    word,
)
from skrei_orchestrator_api.openapi.shapes_jobs import NODE_ID

AMOUNTS = thing(
    "Amounts in numbers: cores, bytes, GPUs; what is 0 is left out.",
    {},
    {"CPU": NUMBER, "Memory": WHOLE, "Disk": WHOLE, "GPU": WHOLE, "GPUs": several({"type": "object"})},
)
COMPUTE = thing(
    "What a machine can do, has, and has free.",
    {
        "ExecutionEngines": TEXTS,
        "Publishers": TEXTS,
        "StorageSources": TEXTS,
        "MaxCapacity": ref("Amounts"),
        "QueueCapacity": ref("Amounts"),
        "AvailableCapacity": ref("Amounts"),
        "MaxJobRequirements": ref("Amounts"),
        "RunningExecutions": WHOLE,
        "EnqueuedExecutions": WHOLE,
    },
    {
        "DataSets": several(ref("DataSet")),
        "Services": several(ref("NodeService")),
        "MaxUploadRate": said(WHOLE, "Bytes a second that results and logs may take of its link; absent: no limit."),
        "NearServers": several(ref("NearServer")),
        "InputCache": said(ref("InputCache"), "As it was within the last minute; absent where its node is older."),
    },
)
INPUT_CACHE = thing(
    "What a node keeps of fetched inputs, and what that was good for since its agent was started; amounts in bytes.",
    {
        "Files": WHOLE,
        "Size": WHOLE,
        "Limit": WHOLE,
        "Inputs": said(WHOLE, "Of which it can tell that it has them whole."),
        "Hits": said(WHOLE, "Files that were asked for and were there."),
        "Saved": said(WHOLE, "Bytes of those."),
        "Fetched": said(WHOLE, "Bytes that had to come."),
    },
    {"Pinned": said(WHOLE, "Inputs that the IPFS daemon of its machine has pinned.")},
    examples=[
        {"Files": 12, "Size": 61_000_000, "Limit": 10**10, "Inputs": 3, "Hits": 19, "Saved": 10**9, "Fetched": 10**8}
    ],
)
NEAR_SERVER = thing(
    "A server of objects as a node reaches it, measured some minutes ago.",
    {
        "URL": TEXT,
        "Region": TEXT,
        "LatencyMilliseconds": said(NUMBER, "How long a connection takes."),
        "Usual": said(FLAG, "Whether the node asks it where a job names no Endpoint."),
    },
    {},
    examples=[{"URL": "https://minio.example.org:9000", "Region": "", "LatencyMilliseconds": 0.4, "Usual": True}],
)
DATA_SET = thing(
    "Data of a node that jobs read by its name.",
    {"Name": TEXT, "ReadWrite": said(FLAG, "Whether jobs may write there too.")},
    {
        "Size": said(WHOLE, "Bytes, as counted some minutes ago."),
        "AtLeast": said(FLAG, "There is more than was counted."),
    },
    examples=[{"Name": "books", "ReadWrite": False, "Size": 61_000_000, "AtLeast": False}],
)
NODE_SERVICE = thing(
    "A service of a node that jobs use by its name.",
    {
        "Name": TEXT,
        "Kind": word("address", "file"),
        "ReadWrite": said(FLAG, "Whether jobs may write there, where it is a file."),
    },
    {},
    examples=[{"Name": "mongodb", "Kind": "address", "ReadWrite": False}],
)
INFO = thing(
    "A node as it describes itself.",
    {
        "NodeID": TEXT,
        "NodeType": word("Compute", "Requester"),
        "Labels": MAP,
        "SupportedProtocols": TEXTS,
        "BacalhauVersion": ref("Version"),
    },
    {"ComputeNodeInfo": ref("ComputeNodeInfo"), "Plugins": several({"type": "object"})},
)
CONNECTION = thing(
    "Whether it is heard.",
    {
        "Status": word("CONNECTED", "DISCONNECTED"),
        "LastHeartbeat": TIME,
        "LastComputeSeqNum": WHOLE,
        "LastOrchestratorSeqNum": WHOLE,
        "ConnectedSince": TIME,
        "DisconnectedSince": TIME,
        "LastError": TEXT,
    },
)
EVENT = thing("Something that happened to a node.", {"Time": TIME, "Topic": TEXT, "Message": TEXT})
NODE = thing(
    "A node: what it is, whether it may take work, and whether it is heard.",
    {
        "Info": ref("NodeInfo"),
        "Membership": word("PENDING", "APPROVED", "REJECTED"),
        "Connection": word("CONNECTED", "DISCONNECTED"),
        "ConnectionState": ref("ConnectionState"),
    },
    {
        "Events": several(ref("NodeEvent")),
        "Intake": said(
            word("open", "cordoned", "draining", "drained"),
            "What its operator lets be placed on it; `drained`: it drains, nothing runs on it, and nothing that has "
            "won waits there to be shown.",
        ),
        "DrainUntil": said(TIME, "Then what still runs on it is stopped."),
        "OperatorLabels": said(MAP, "Labels that its operator gave it; they are among `Labels` too, and win there."),
    },
)

SCHEMAS: dict[str, Schema] = {
    "Amounts": AMOUNTS,
    "ComputeNodeInfo": COMPUTE,
    "DataSet": DATA_SET,
    "InputCache": INPUT_CACHE,
    "NearServer": NEAR_SERVER,
    "NodeService": NODE_SERVICE,
    "NodeInfo": INFO,
    "ConnectionState": CONNECTION,
    "NodeEvent": EVENT,
    "Node": NODE,
    "Nodes": page("Nodes.", "Node", "Nodes"),
    "NodeAnswer": thing("A node.", {"Node": ref("Node")}),
    "NodeChange": thing(
        "What is to become of a node.",
        {"Action": word("approve", "reject", "delete", "cordon", "uncordon", "drain", "label")},
        {
            "Message": TEXT,
            "NodeID": TEXT,
            "Deadline": said(
                {"type": ["string", "number"]}, 'Of a drain: seconds, or "30m"; then what still runs is stopped.'
            ),
            "Labels": said(
                {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
                "Of `label`: labels with their values; null takes one back.",
            ),
        },
        examples=[
            {"Action": "approve", "Message": "it is ours"},
            {"Action": "drain", "Deadline": "30m", "Message": "a new disk"},
            {"Action": "label", "Labels": {"rack": "b7", "spare": None}},
        ],
    ),
    "NodeChanged": thing("It is done.", {"Success": {"const": True}}, examples=[{"Success": True}]),
    "Join": thing(
        "A machine that wants to become a node; `Time` is its clock, in seconds since 1970.",
        {"NodeID": TEXT, "PublicKey": TEXT, "Time": NUMBER},
        {"Name": TEXT, "TakeOver": {"type": "boolean"}},
        examples=[
            {
                "NodeID": NODE_ID,
                "PublicKey": "UCK5N7N66OBOINFXAYC2ACJQYFSOD4VYNU6APEJTAVFZB2SVHLKGEW7L",
                "Time": 1755600000,
                "Name": "attic",
            }
        ],
    ),
    "Joined": thing(
        "What lets a node in, and where everything is.",
        {
            "NodeID": TEXT,
            "JWT": TEXT,
            "NATSURL": TEXT,
            "NATSURLs": TEXTS,
            "NATSCA": {
                "type": "string",
                "description": "Certificates (PEM) that vouch for the transport; empty: those that the node trusts.",
            },
            "APIURL": TEXT,
            "PublisherURL": TEXT,
            "TokenPublicKey": TEXT,
            "ServerVersion": TEXT,
        },
    ),
    "Renewal": thing(
        "A node that joined wants to be let in with the next of its keys; both sign `skrei renewal`, the node's id and "
        "the two public keys, a line each.",
        {"NodeID": TEXT, "PublicKey": TEXT, "NextPublicKey": TEXT, "Proof": TEXT, "NextProof": TEXT},
    ),
    "Renewed": thing("What lets the node in with its next key.", {"NodeID": TEXT, "JWT": TEXT}),
    "NodeRevoke": thing(
        "What is said when a node's key is taken back.",
        {},
        {"Reason": {"type": "string", "description": "Why, for the audit."}},
        examples=[{"Reason": "the laptop was stolen"}],
    ),
    "NodeRevoked": thing(
        "The node that is let in no more.",
        {"NodeID": TEXT},
        {
            "Next": said(
                TEXT, "What the owner does so that the transport refuses it too, where that is not ours to tell."
            )
        },
    ),
    "JoinLine": thing("The command that makes another machine a node.", {"Command": TEXT, "URL": TEXT}),
}
