"""An API in memory that speaks the documented shapes, for the client's own tests."""

import json
from collections.abc import Callable
from typing import Any

import httpx2

from skrei.client import AsyncClient

Document = dict[str, Any]


class FakeApi:
    """Answers from `answers` by "METHOD path"; an answer is a document, a response, or a list used up in order."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        key = f"{request.method} {request.url.path}"
        answer = self.answers.get(key, error(404, "The requested resource/URL was not found."))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self)

    def body(self, number: int = -1) -> Document:
        document: Document = json.loads(self.requests[number].content)
        return document


def client_of(api: FakeApi, **options: Any) -> AsyncClient:
    return AsyncClient("http://127.0.0.1:9", transport=api.transport, **options)


def page(token: str, *items: object) -> Document:
    return {"NextToken": token, "Items": list(items)}


def error(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
    body = {"Status": status, "Message": message, "RequestID": "", "Code": "NotFound", "Component": "JobStore"} | more
    return httpx2.Response(status, json=body, headers=headers)


def job(state: str = "Running", count: int = 1, **more: Any) -> Document:
    return {
        "ID": "j-8c9f9f0e-3a0b-4d0e-9d4e-2a7f0f6d7a11",
        "Name": "hello",
        "Namespace": "default",
        "Type": "batch",
        "Count": count,
        "Tasks": [{"Name": "main", "Engine": {"Type": "wasm", "Params": {}}, "Publisher": {"Type": ""}}],
        "State": {"StateType": state},
        "Version": 1,
        "CreateTime": 1755600000000000000,
        "ModifyTime": 1755600003000000000,
    } | more


def execution(number: int, partition: int = 0, state: int = 9, **more: Any) -> Document:
    return {
        "ID": f"e-{number:08d}-0000-4000-8000-000000000000",
        "NodeID": "n-1",
        "JobID": "j-1",
        "DesiredState": {"StateType": 1},
        "ComputeState": {"StateType": state},
        "PartitionIndex": partition,
        "CreateTime": 1755600000000000000 + number,
        "RunOutput": None,
    } | more


def event(sequence: int, message: str, execution_id: str = "", **details: str) -> Document:
    at = f"2026-08-19T10:00:0{sequence % 10}.123456789Z"
    return {
        "SeqNum": sequence,
        "Type": "ExecutionLevel" if execution_id else "JobLevel",
        "JobID": "j-1",
        "ExecutionID": execution_id,
        "Event": {"Message": message, "Topic": "Scheduling", "Timestamp": at, "Details": details},
        "Time": at,
    }
