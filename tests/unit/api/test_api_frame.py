import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from skrei_domain.errors import (
    Ambiguous,
    AmbiguousExecution,
    AmbiguousNode,
    Conflict,
    Exhausted,
    Invalid,
    NotFound,
    SkreiError,
    Unavailable,
    Unsupported,
)
from skrei_kit.tokens import TokenInvalid, TokenWrongKind
from skrei_orchestrator_api import http
from skrei_orchestrator_api.cors import Cors
from skrei_orchestrator_api.frame import Frame, RateLimit
from skrei_orchestrator_api.gate import Gate
from skrei_orchestrator_api.settings import LOCAL_HOSTS
from skrei_store.node_intents import NodeStateConflict


async def echo(request: Request) -> Response:
    return http.answer(request, {"size": len(await request.body())})


async def hang(request: Request) -> Response:
    await asyncio.Event().wait()
    return Response()


def raising(error: Exception) -> Any:
    async def endpoint(request: Request) -> Response:
        raise error

    return endpoint


def client(
    *,
    rate: int = 1_000,
    limit: int = 1_000,
    seconds: float = 5,
    error: Exception | None = None,
    origins: frozenset[str] = frozenset(),
) -> httpx2.AsyncClient:
    routes = [Route("/echo", echo, methods=["GET", "PUT"]), Route("/hang", hang)]
    if error is not None:
        routes.append(Route("/fail", raising(error)))
    frame = Frame(
        Router(routes),
        headers={"X-Bacalhau-Git-Version": "v1.9.3"},
        gate=Gate(hosts=LOCAL_HOSTS | {"skrei.example"}, owner_token="owner", origins=origins),
        rate=RateLimit(rate),
        max_body_bytes=limit,
        timeout_seconds=seconds,
        cors=Cors(origins),
    )
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=frame), base_url="http://localhost:1234")


@pytest.mark.row("1.1/request-id", "1.1/version-headers")
async def test_every_answer_carries_a_request_id_and_the_servers_version() -> None:
    async with client() as api:
        answer = await api.get("/echo", headers={"X-Request-Id": "mine-1"})
        assert (answer.headers["x-request-id"], answer.headers["x-bacalhau-git-version"]) == ("mine-1", "v1.9.3")
        made = (await api.get("/echo")).headers["x-request-id"]
        assert len(made) == 36
        forged = (await api.get("/echo", headers={"X-Request-Id": "a b"})).headers["x-request-id"]
        assert forged != "a b"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:99", "127.0.0.1:1234", "[::1]:1234", "LOCALHOST", "skrei.example"]
)
async def test_a_local_or_configured_name_is_served(host: str) -> None:
    async with client() as api:
        assert (await api.get("/echo", headers={"Host": host})).status_code == 200
        assert (await api.get("/echo", headers={"Origin": f"http://{host}"})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost@evil.example"},
        {"Origin": "http://[::1"},
    ],
)
@pytest.mark.row("9.1/origin")
async def test_a_foreign_origin_or_host_is_refused_on_loopback(headers: dict[str, str]) -> None:
    async with client() as api:
        answer = await api.get("/echo", headers=headers)
    assert (answer.status_code, answer.json()["Code"]) == (403, "Forbidden")


@pytest.mark.row("1.1/body-limit")
async def test_a_body_over_the_limit_is_refused_announced_or_not() -> None:
    async def streamed() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    async with client() as api:
        assert (await api.put("/echo", content=b"x" * 1_000)).json() == {"size": 1_000}
        announced = await api.put("/echo", content=b"x" * 1_001)
        unannounced = await api.put("/echo", content=streamed())
    for answer in (announced, unannounced):
        assert answer.status_code == 413
        assert answer.json()["Message"] == "Request Entity Too Large: at most 1,000 bytes"
        assert (answer.json()["Code"], answer.json()["Component"]) == ("BadRequest", "APIServer")


@pytest.mark.row("1.1/rate-limit", "B/rate")
async def test_more_requests_than_the_limit_are_told_to_wait() -> None:
    async with client(rate=1) as api:
        answers = [await api.get("/echo") for _ in range(5)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert (refused[0].json()["Code"], refused[0].headers["retry-after"]) == ("TooManyRequests", "1")
    rate = RateLimit(1_000)
    assert all(rate.allows(f"10.0.{n // 250}.{n % 250}") for n in range(3_000)), "each address has a limit of its own"


@pytest.mark.row("1.1/handler-timeout", "1.1/read-timeouts", "B/slow-handler")
async def test_a_handler_that_takes_too_long_is_cut_off() -> None:
    async with client(seconds=0.01) as api:
        answer = await api.get("/hang")
    assert (answer.status_code, answer.text) == (503, "Server Timeout!")


@pytest.mark.parametrize("version", ["", "v0.0.0", "v0.0.0-abc1234", "v1.4.0", "v1.9.3", "v1.6.0-rc1"])
@pytest.mark.row("1.1/version-gate")
async def test_known_client_versions_pass(version: str) -> None:
    async with client() as api:
        assert (await api.get("/echo", headers={"X-Bacalhau-Git-Version": version})).status_code == 200


@pytest.mark.row("1.1/version-gate")
async def test_a_client_version_that_is_none_is_refused() -> None:
    async with client() as api:
        answer = await api.get("/echo", headers={"X-Bacalhau-Git-Version": "yesterday"})
    assert (answer.status_code, answer.json()) == (400, {"Error": "Invalid client version 'yesterday'"})


@pytest.mark.row("1.1/version-gate", "B/old-client")
async def test_a_client_too_old_is_told_the_oldest_that_works() -> None:
    async with client() as api:
        answer = await api.get("/echo", headers={"X-Bacalhau-Git-Version": "v1.3.9"})
    assert answer.status_code == 403
    assert answer.json() == {
        "Error": "client version v1.3.9 is older than v1.4.0, the oldest that this server speaks with",
        "MinVersion": "v1.4.0",
        "ClientVersion": "v1.3.9",
        "ServerVersion": "v1.9.3",
    }


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Invalid("bad"), 400, "ValidationError"),
        (NotFound("none"), 404, "NotFound"),
        (TokenInvalid("no"), 401, "Unauthorized"),
        (TokenWrongKind("not that"), 403, "Forbidden"),
        (AmbiguousNode("many"), 409, "MultipleNodesFound"),
        (AmbiguousExecution("many"), 409, "MultipleExecutionsFound"),
        (NodeStateConflict("already"), 409, "ConflictNodeState"),
        (Ambiguous("many"), 409, "MultipleJobsFound"),
        (Conflict("used"), 409, "ResourceInUse"),
        (Exhausted("full"), 429, "ResourceExhausted"),
        (Unsupported("later"), 501, "NotImplemented"),
        (Unavailable("away"), 503, "ServiceUnavailable"),
        (ConnectionRefusedError("postgres"), 503, "ServiceUnavailable"),
        (SkreiError("odd"), 500, "InternalError"),
        (RuntimeError("secret"), 500, "InternalError"),
    ],
)
@pytest.mark.row("1.1/error-codes", "1.1/untyped-errors", "12/request-id")
async def test_an_error_is_answered_by_the_table(error: Exception, status: int, code: str) -> None:
    async with client(error=error) as api:
        answer = await api.get("/fail", headers={"X-Request-Id": "r-1"})
    body = answer.json()
    assert (answer.status_code, body["Status"], body["Code"], body["RequestID"]) == (status, status, code, "r-1")
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) is (status in (429, 503))


@pytest.mark.row("1.1/error-body")
async def test_details_and_hint_are_left_out_when_empty() -> None:
    async with client(error=NotFound("job not found: x", hint="look again", job_id="x")) as api:
        full = (await api.get("/fail")).json()
    async with client(error=NotFound("job not found: x")) as api:
        bare = (await api.get("/fail")).json()
    assert (full["Hint"], full["Details"]) == ("look again", {"job_id": "x"})
    assert set(bare) == {"Status", "Message", "RequestID", "Code", "Component"}


@pytest.mark.row("1.1/pretty")
async def test_pretty_indents_answers_and_errors() -> None:
    async with client(error=NotFound("none")) as api:
        assert (await api.get("/echo?pretty")).text == json.dumps({"size": 0}, indent=2)
        assert "\n  " in (await api.get("/fail?pretty")).text
        assert "\n" not in (await api.get("/echo")).text


@pytest.mark.row("1.1/framework-errors")
async def test_a_method_that_a_path_does_not_know_is_refused_in_the_same_body() -> None:
    async with client() as api:
        answer = await api.post("/echo")
    assert (answer.status_code, answer.json()["Message"]) == (405, "Method Not Allowed")
    assert answer.json()["Code"] == "BadRequest"


@pytest.mark.parametrize("query", ["labels=%00", "order_by=a%00b", "next_token=%00", "namespace=%00", "x%00=1"])
async def test_a_nul_in_any_parameter_is_refused_by_its_name(query: str) -> None:
    async with client() as api:
        answer = await api.get(f"/echo?good=1&{query}")
    name = query.partition("=")[0].replace("%00", "\\u0000")
    assert (answer.status_code, answer.json()["Code"]) == (400, "ValidationError")
    assert answer.json()["Message"] == f"{name}: allowed: text without NUL characters"


async def test_a_body_too_large_is_read_to_its_end_within_bounds() -> None:
    read = 0

    async def streamed(pieces: int) -> AsyncIterator[bytes]:
        nonlocal read
        read = 0
        for _ in range(pieces):
            read += 100
            yield b"x" * 100

    async with client() as api:
        assert (await api.put("/echo", content=streamed(15))).status_code == 413
        assert read == 1_500
        assert (await api.put("/echo", content=streamed(1_000))).status_code == 413
        assert read == 2_100


PAGE = "https://ui.example"
ASKS = {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}


@pytest.mark.row("1.1/cors", "9.1/origin")
async def test_a_page_of_another_site_reads_answers_where_it_is_named_and_nowhere_else() -> None:
    async with client(origins=frozenset({PAGE})) as api:
        read = await api.get("/echo", headers={"Origin": PAGE})
        asked = await api.options("/echo", headers=ASKS)
        other = await api.get("/echo", headers={"Origin": "https://evil.example"})
        refused = await api.options("/echo", headers=ASKS | {"Origin": "https://evil.example"})
        plain = await api.get("/echo")
    assert (read.status_code, read.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "ETag" in read.headers["access-control-expose-headers"]
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, PAGE)
    assert {"PUT", "DELETE"} <= set(asked.headers["access-control-allow-methods"].split(", "))
    assert len(asked.headers["x-request-id"]) == 36
    assert {other.status_code, refused.status_code} == {403}
    assert not any("access-control-allow-origin" in each.headers for each in (other, refused, plain))
    assert plain.headers["vary"] == "Origin"


@pytest.mark.row("1.1/cors")
async def test_by_default_no_page_of_another_site_reads_anything() -> None:
    async with client() as api:
        for answer in (await api.get("/echo"), await api.options("/echo", headers=ASKS)):
            assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.row("1.1/no-timeout-for-websockets")
async def test_a_websocket_may_last_longer_than_a_request() -> None:
    ended: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, over.set)
        await over.wait()
        ended.append(True)

    async def nothing(*_: Any) -> Any:
        return {"type": "websocket.connect"}

    gate = Gate(hosts=LOCAL_HOSTS, owner_token="owner")
    frame = Frame(app, headers={}, gate=gate, rate=RateLimit(10), max_body_bytes=1, timeout_seconds=0.01)
    await frame({"type": "websocket", "path": "/x", "client": ("127.0.0.1", 1), "headers": []}, nothing, nothing)
    assert ended == [True]


async def test_a_websocket_carries_the_same_headers() -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    frame = Frame(
        app,
        headers={"X-Bacalhau-Git-Version": "v1.9.3"},
        gate=Gate(hosts=LOCAL_HOSTS, owner_token="owner"),
        rate=RateLimit(10),
        max_body_bytes=1,
        timeout_seconds=1,
    )

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    for address in ("127.0.0.1", "203.0.113.9"):
        scope = {"type": "websocket", "path": "/x", "client": (address, 1), "headers": [(b"x-request-id", b"mine")]}
        await frame(scope, receive, send)
    accepted, refused, _ = sent
    assert (accepted["type"], refused["type"]) == ("websocket.accept", "websocket.http.response.start")
    for message in (accepted, refused):
        assert (b"x-request-id", b"mine") in message["headers"]
        assert (b"x-bacalhau-git-version", b"v1.9.3") in message["headers"]
