"""Shapes of the server itself, of proving who one is, and of errors."""

from skrei_orchestrator_api.openapi.building import (
    FLAG,
    MAP,
    TEXT,
    TIME,
    WHOLE,
    Schema,
    ref,
    said,
    several,
    thing,
    word,
)
from skrei_orchestrator_api.schemas import build

ERROR = thing(
    "What is wrong, and what to do about it.",
    {
        "Status": WHOLE,
        "Message": TEXT,
        "RequestID": TEXT,
        "Code": word(
            "BadRequest",
            "ValidationError",
            "Unauthorized",
            "Forbidden",
            "NotFound",
            "ResourceInUse",
            "MultipleJobsFound",
            "MultipleNodesFound",
            "MultipleExecutionsFound",
            "ConflictNodeState",
            "ResourceExhausted",
            "TooManyRequests",
            "NotImplemented",
            "ServiceUnavailable",
            "InternalError",
        ),
        "Component": TEXT,
    },
    {"Hint": TEXT, "Details": MAP},
    examples=[
        {
            "Status": 404,
            "Message": "job not found: j-1234",
            "RequestID": "9f0c7a52-3a0b-4d0e-9d4e-2a7f0f6d7a11",
            "Code": "NotFound",
            "Component": "JobStore",
            "Hint": "`skrei job list` shows what there is",
        }
    ],
)
VERSION = thing(
    "What a program was built from.",
    {
        "Major": TEXT,
        "Minor": TEXT,
        "GitVersion": TEXT,
        "GitCommit": TEXT,
        "BuildDate": TIME,
        "GOOS": TEXT,
        "GOARCH": TEXT,
    },
    examples=[build("0.5.0", "linux", "amd64")],
)
REQUIREMENT = thing(
    "What a method asks for: for `challenge`, that a phrase is signed.",
    {"type": word("challenge"), "params": thing("What is to be signed.", {"InputPhrase": TEXT})},
    examples=[{"type": "challenge", "params": {"InputPhrase": "c2tyZWk="}}],
)

SCHEMAS: dict[str, Schema] = {
    "Error": ERROR,
    "VersionRefusal": thing(
        "What a client hears whose version is too old, or none.",
        {"Error": TEXT},
        {"MinVersion": TEXT, "ClientVersion": TEXT, "ServerVersion": TEXT},
    ),
    "Version": VERSION,
    "Collection": thing("Whether what may go is only to be told.", {}, {"DryRun": FLAG}, examples=[{"DryRun": True}]),
    "Collected": thing(
        "What jobs left and may go now, by kind.",
        {"DryRun": FLAG, "Complete": FLAG, "Items": several(ref("Collectable"))},
    ),
    "Collectable": thing(
        "One kind of what jobs leave.",
        {
            "Kind": word("results", "logs", "jobs", "history"),
            "Count": WHOLE,
            "Bytes": said(WHOLE, "Of results in the store; of the rest in the record, about."),
        },
        {"Oldest": TIME},
        examples=[{"Kind": "results", "Count": 3, "Bytes": 6291456, "Oldest": "2026-01-02T03:04:05Z"}],
    ),
    "Alive": thing("It serves.", {"Status": {"const": "OK"}}, examples=[{"Status": "OK"}]),
    "ServerNode": thing(
        "The control plane as a node that runs no work.",
        {
            "NodeID": TEXT,
            "NodeType": {"const": "Requester"},
            "Labels": MAP,
            "SupportedProtocols": {"type": "array", "items": TEXT},
            "BacalhauVersion": ref("Version"),
        },
    ),
    "Debug": thing("By component, what it has to say of itself.", {}, additionalProperties={"type": "object"}),
    "Config": thing("How the server is set; secrets are stars.", {"config": {"type": "object"}}),
    "AuthConfig": thing(
        "How to sign on through an identity provider; empty where there is none.",
        {"Version": TEXT, "Config": {"type": "object"}},
    ),
    "AuthMethods": thing(
        "The ways to prove who one is; none where only tokens count.",
        {"NextToken": TEXT, "Methods": {"type": "object", "additionalProperties": ref("AuthRequirement")}},
    ),
    "AuthRequirement": REQUIREMENT,
    "AuthProof": thing(
        "A proof: `MethodData` is base64 of `{PhraseSignature, PublicKey}`, both base64 again: an RSA signature "
        "(PKCS#1 v1.5, SHA-256) of the phrase, and the key in PKCS#1 DER.",
        {"MethodData": TEXT},
        {"Name": TEXT, "Namespace": TEXT, "Credential": {"type": "null"}},
        examples=[{"Name": "ClientKey", "MethodData": "e30="}],
    ),
    "Authenticated": thing(
        "Whether the proof holds, and a token that says so.",
        {"Authentication": thing("How it went.", {"success": FLAG}, {"token": TEXT, "reason": TEXT})},
        examples=[{"Authentication": {"success": True, "token": "eyJ..."}}],
    ),
    "Figures": {"type": "string", "description": "The text format of Prometheus.", "examples": ["skrei_nodes 3\n"]},
    "Bytes": {"type": "string", "format": "binary", "description": "Bytes as they are."},
}
