"""What Bacalhau's command line sends and how it reads answers, without its binary: headers, queries, bodies, types.

Its bodies are whole structs with their zero values; any status but 200 is an error for it, and so is an empty body.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
from websockets.sync.client import connect

from tests.support import go_shapes

HEADERS = {
    "X-Bacalhau-Git-Version": "v1.9.3",
    "X-Bacalhau-Git-Commit": "4d1f0bd8f6ea0f5f6a1f5ad0c7b1d29bb7b5c7c9",
    "X-Bacalhau-Build-Date": "2026-08-19T08:00:00Z",
    "X-Bacalhau-Build-OS": "linux",
    "X-Bacalhau-Arch": "amd64",
    "X-Bacalhau-InstanceID": "i-6a1c5a2e-9f43-4c3c-9b3a-5f0d8a1b2c3d",
    "X-Bacalhau-InstallationID": "5e0d7f1a-0000-4000-8000-000000000001",
    "Accept-Encoding": "gzip",
    "User-Agent": "Go-http-client/1.1",
}


class GoClient:
    """Asks one API as the command line does."""

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url
        self._http = httpx2.Client(base_url=api_url, headers=HEADERS, timeout=40)

    def close(self) -> None:
        self._http.close()

    def ask(self, shape: str, method: str, path: str, body: object = None, **query: Any) -> Any:
        """Send one request and return what it answers, which has that shape. Raises AssertionError."""
        response = self.send(method, path, body, **query)
        assert response.status_code == 200, f"{method} {path}: {response.status_code} {response.text}"
        assert response.content, f"{method} {path}: an empty body"
        answer = response.json()
        assert go_shapes.ANSWERS[shape](answer, shape) == []
        return answer

    def refused(self, status: int, method: str, path: str, body: object = None, **query: Any) -> Any:
        """Send one request that is refused, and return the error, which has the documented form."""
        response = self.send(method, path, body, **query)
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        answer = response.json()
        assert go_shapes.ERROR(answer, "error") == []
        assert answer["Status"] == status
        return answer

    def send(self, method: str, path: str, body: object = None, **query: Any) -> httpx2.Response:
        """Send one request; an underscore in a query's name that should be a hyphen is written `__`."""
        asked = {name.replace("__", "-"): value for name, value in query.items()}
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        return self._http.request(method, f"/api/v1{path}", params=asked or None, content=content, headers=headers)

    def logs(self, path: str, **query: str) -> Iterator[Any]:
        """Yield the frames of a log stream, which ends with close code 1000."""
        asked = str(httpx2.QueryParams(query))
        url = f"ws{self.api_url.removeprefix('http')}/api/v1{path}?{asked}"
        headers = {name: value for name, value in HEADERS.items() if name not in ("Accept-Encoding", "User-Agent")}
        with connect(url, additional_headers=headers, proxy=None) as stream:
            for frame in stream:
                assert isinstance(frame, str), "frames are text"
                document = json.loads(frame)
                assert go_shapes.LOG_FRAME(document, "frame") == []
                yield document
            assert (stream.close_code, stream.close_reason) == (1000, "")


def put_body(job: dict[str, Any]) -> dict[str, Any]:
    """The body of a submission: what was set, and the zero values of all that was not."""
    tasks = [task | {name: zero for name, zero in _TASK.items() if name not in task} for task in job["Tasks"]]
    return {
        "Namespace": "",
        "IdempotencyToken": "",
        "Credential": None,
        "Job": _JOB | job | {"Tasks": tasks},
        "Force": False,
    }


_JOB: dict[str, Any] = {
    "ID": "",
    "Name": "",
    "Namespace": "default",
    "Type": "batch",
    "Priority": 0,
    "Count": 1,
    "Constraints": [],
    "Meta": {},
    "Labels": {},
    "State": {"StateType": "Undefined"},
    "Version": 0,
    "Revision": 0,
    "CreateTime": 0,
    "ModifyTime": 0,
}
_TASK: dict[str, Any] = {
    "Publisher": {"Type": ""},
    "Env": {},
    "Meta": None,
    "InputSources": [],
    "ResultPaths": [],
    "Resources": {},
    "Network": {"Type": "Default"},
    "Timeouts": {},
}
