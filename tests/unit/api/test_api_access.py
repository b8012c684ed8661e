"""Who is let in: the decision as a table, and the gate around it."""

import asyncio
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from skrei_orchestrator_api.access import (
    PASSED_ON,
    Caller,
    Door,
    Knock,
    Refusal,
    Shown,
    decide,
    door_of,
    is_loopback,
    was_passed_on,
)
from skrei_orchestrator_api.app import ROUTES
from skrei_orchestrator_api.deps import caller_of
from skrei_orchestrator_api.frame import Frame, RateLimit
from skrei_orchestrator_api.gate import FAILED_ADDRESSES, FAILED_TOKENS, FAILED_WINDOW_SECONDS, Failures, Gate
from skrei_orchestrator_api.settings import LOCAL_HOSTS

HERE, THERE = "127.0.0.1", "10.0.0.7"
JOBS = "/api/v1/orchestrator/jobs"


@pytest.mark.parametrize(
    ("door", "peer", "passed_on", "shown", "expected"),
    [
        # Whoever owns it, from wherever.
        (Door.OWNER, THERE, False, Shown.OWNER, Caller.OWNER),
        (Door.OWNER, HERE, False, Shown.OWNER, Caller.OWNER),
        (Door.OWNER, HERE, True, Shown.OWNER, Caller.OWNER),
        # This machine without a token, and nobody on whose behalf it speaks.
        (Door.OWNER, HERE, False, Shown.NONE, Caller.LOCAL),
        (Door.OWNER, "::1", False, Shown.NONE, Caller.LOCAL),
        (Door.OWNER, HERE, True, Shown.NONE, Refusal.NEEDS_OWNER),
        (Door.OWNER, THERE, False, Shown.NONE, Refusal.NEEDS_OWNER),
        (Door.OWNER, "", False, Shown.NONE, Refusal.NEEDS_OWNER),
        # A wrong token is not the same as none, on this machine neither.
        (Door.OWNER, HERE, False, Shown.OTHER, Refusal.WRONG_OWNER),
        (Door.OWNER, HERE, False, Shown.CLIENT, Caller.LOCAL),
        (Door.OWNER, HERE, True, Shown.CLIENT, Refusal.NEEDS_OWNER),
        (Door.OWNER, THERE, False, Shown.CLIENT, Refusal.NEEDS_OWNER),
        (Door.JOIN, HERE, False, Shown.CLIENT, Refusal.WRONG_JOIN),
        (Door.OWNER, HERE, False, Shown.JOIN, Refusal.WRONG_OWNER),
        (Door.OWNER, THERE, False, Shown.JOIN, Refusal.WRONG_OWNER),
        # Joining takes its own token wherever it comes from, and that alone.
        (Door.JOIN, THERE, False, Shown.JOIN, Caller.JOINING),
        (Door.JOIN, HERE, True, Shown.JOIN, Caller.JOINING),
        (Door.JOIN, HERE, False, Shown.NONE, Refusal.NEEDS_JOIN),
        (Door.JOIN, THERE, False, Shown.OWNER, Refusal.WRONG_JOIN),
        (Door.JOIN, THERE, False, Shown.OTHER, Refusal.WRONG_JOIN),
        # Their routes check what is shown; health is everybody's.
        (Door.OWN_TOKEN, THERE, False, Shown.OTHER, Caller.BEARER),
        (Door.OWN_TOKEN, THERE, False, Shown.NONE, Caller.BEARER),
        (Door.OPEN, THERE, True, Shown.OTHER, Caller.ANYBODY),
    ],
)
@pytest.mark.row("9.1/who-is-let-in")
def test_who_is_let_in(door: Door, peer: str, passed_on: bool, shown: Shown, expected: Caller | Refusal) -> None:
    assert decide(Knock(door, peer, passed_on, shown)) is expected


def test_loopback_alone_opens_nothing_where_it_is_not_trusted() -> None:
    knock = Knock(Door.OWNER, HERE, False, Shown.NONE)
    assert decide(knock, trust_loopback=False) is Refusal.NEEDS_OWNER
    assert decide(Knock(Door.OWNER, HERE, False, Shown.OWNER), trust_loopback=False) is Caller.OWNER


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_what_only_this_machine_has(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address", ["", "10.0.0.1", "localhost", "127.0.0.1.evil.example", "::ffff:10.0.0.1", "0.0.0.0", "::", "fe80::1%lo"]
)
def test_what_others_may_have(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize("header", sorted(PASSED_ON))
def test_each_header_of_a_proxy_is_known(header: str) -> None:
    assert was_passed_on(["host", header])
    assert not was_passed_on(["host", "accept", "authorization"])


@pytest.mark.row("9.1/who-is-let-in", "1.2/version", "1.3/open")
def test_every_route_but_health_and_those_with_tokens_of_their_own_is_the_owners() -> None:
    doors = {(route.path, door_of("GET", route.path)) for route in ROUTES if hasattr(route, "path")}
    assert {path for path, door in doors if door is Door.OPEN} == {
        "/api/v1/agent/alive",
        "/api/v1/agent/authconfig",
        "/api/v1/auth",
        "/api/v1/auth/{method}",
        "/docs",
        "/healthz",
        "/livez",
        "/openapi.json",
        "/readyz",
        "/schemas/job.json",
    }
    assert {path for path, door in doors if door is Door.OWN_TOKEN} == {
        "/api/v1/blobs/{digest}",
        "/api/v1/inputs/results",
        "/api/v1/inputs/standing",
        "/internal/activity",
        "/internal/left",
        "/internal/left/show",
        "/internal/needed",
        "/internal/results",
        "/internal/results/{execution_id}",
        "/internal/revoked",
    }
    assert door_of("GET", "/never/heard/of") is Door.OWNER
    assert door_of("DELETE", "/api/v1/agent/alive") is Door.OWNER


# ---------------------------------------------------------------- the gate


async def tell(request: Request) -> Response:
    return PlainTextResponse(caller_of(request).value)


def door(peer: str = THERE, failures: Failures | None = None, **headers: str) -> httpx2.AsyncClient:
    frame = Frame(
        Router([Route(JOBS, tell), Route("/livez", tell), Route("/api/v1/blobs/x", tell)]),
        headers={},
        gate=Gate(hosts=LOCAL_HOSTS, owner_token="owner", join_token="join", failures=failures),
        rate=RateLimit(10_000),
        max_body_bytes=1_000,
        timeout_seconds=5,
    )
    transport = httpx2.ASGITransport(app=frame, client=(peer, 4_321))
    return httpx2.AsyncClient(transport=transport, base_url="http://10.0.0.1:1234", headers=headers)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.row("1.1/authz-denial", "B/no-credential")
async def test_a_stranger_is_told_what_to_do() -> None:
    async with door() as api:
        answer = await api.get(JOBS)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    told = answer.json()
    assert (told["Code"], told["Component"]) == ("Unauthorized", "Authorizer")
    assert told["Message"] == f"Request Unauthorized: {told['Details']['Reason']}"
    assert "does not come from its own machine and shows no token" in told["Details"]["Reason"]
    assert "SKREI_API_KEY" in told["Hint"]


@pytest.mark.parametrize("shown", ["Bearer owner", "bearer owner", "BEARER  owner "])
@pytest.mark.row("9.2/api-key")
async def test_the_owner_comes_in_from_anywhere_by_any_name(shown: str) -> None:
    async with door(Host="skrei.example", Origin="https://skrei.example") as api:
        answer = await api.get(JOBS, headers={"Authorization": shown})
    assert (answer.status_code, answer.text) == (200, "owner")


@pytest.mark.parametrize("shown", ["Bearer", "Bearer ", "Basic b3duZXI=", "owner", "Bearer ownerx", "Bearer join", ""])
@pytest.mark.row("9.1/users", "B/no-credential")
async def test_what_is_not_the_token_is_refused(shown: str) -> None:
    async with door() as api:
        assert (await api.get(JOBS, headers={"Authorization": shown})).status_code == 401
    async with door(HERE) as api:
        assert (await api.get(JOBS, headers={"Authorization": shown, "Host": "localhost"})).status_code == 401


@pytest.mark.row("1.1/order")
async def test_who_may_not_come_in_is_told_so_whatever_else_is_wrong() -> None:
    wrong = {"X-Bacalhau-Git-Version": "v1.0.0", "Content-Type": "application/json"}
    async with door() as api:
        answer = await api.put(JOBS, content=b"x" * 1_001, headers=wrong)
        assert (answer.status_code, answer.json()["Code"]) == (401, "Unauthorized")
        answer = await api.put(JOBS, content=b"x" * 1_001, headers=wrong | bearer("owner"))
        assert (answer.status_code, "MinVersion" in answer.json()) == (403, True)
        answer = await api.put(JOBS, content=b"x" * 1_001, headers=bearer("owner"))
        assert answer.status_code == 413


async def test_an_empty_secret_is_nobodys() -> None:
    gate = Gate(hosts=LOCAL_HOSTS)
    assert gate._shown("Bearer ") is Shown.OTHER
    assert gate._shown("Bearer") is Shown.OTHER


@pytest.mark.row("9.1/origin", "1.1/authz-denial")
async def test_a_page_that_rebinds_its_name_to_this_machine_is_refused() -> None:
    async with door(HERE) as api:
        rebound = await api.get(JOBS, headers={"Host": "evil.example:1234"})
        assert (rebound.status_code, rebound.json()["Component"]) == (403, "Authorizer")
        assert rebound.json()["Message"].startswith("Request Forbidden: Host 'evil.example:1234' may not use")
        assert (await api.get(JOBS, headers={"Host": "localhost", "Origin": "http://evil.example"})).status_code == 403
        assert (await api.get(JOBS, headers={"Host": "localhost:1234"})).text == "anonymous"
        forwarded = {"Host": "localhost", "X-Forwarded-For": "203.0.113.9"}
        assert (await api.get(JOBS, headers=forwarded)).status_code == 401


@pytest.mark.row("1.2/alive")
async def test_health_is_open_and_tokens_of_routes_are_theirs() -> None:
    async with door() as api:
        assert (await api.get("/livez")).text == "anybody"
        assert (await api.get("/api/v1/blobs/x", headers=bearer("a run token"))).text == "bearer"


async def test_after_many_wrong_tokens_an_address_waits_and_the_right_one_still_opens() -> None:
    now = [0.0]
    async with door(failures=Failures(now=lambda: now[0])) as api:
        wrong = [(await api.get(JOBS, headers=bearer("guess"))).status_code for _ in range(FAILED_TOKENS + 1)]
        assert wrong == [401] * FAILED_TOKENS + [429]
        assert (await api.get(JOBS, headers=bearer("owner"))).status_code == 200
        now[0] = FAILED_WINDOW_SECONDS
        assert (await api.get(JOBS, headers=bearer("guess"))).status_code == 401


def test_failures_are_counted_for_so_many_addresses_and_no_more() -> None:
    failures = Failures(now=lambda: 0.0)
    for number in range(FAILED_ADDRESSES + 5):
        failures.count(str(number))
    assert len(failures._seen) == FAILED_ADDRESSES


async def test_a_websocket_goes_through_the_same_gate() -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append("reached")

    frame = Frame(
        app,
        headers={},
        gate=Gate(hosts=LOCAL_HOSTS, owner_token="owner"),
        rate=RateLimit(10),
        max_body_bytes=1,
        timeout_seconds=1,
    )

    async def call(*headers: tuple[bytes, bytes]) -> None:
        scope = {"type": "websocket", "path": f"{JOBS}/x/logs", "client": (THERE, 1), "headers": list(headers)}

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            await asyncio.Event().wait()

        await frame(scope, receive, send)

    await call()
    assert sent[0]["status"] == 401
    assert sent[-1] != "reached"
    await call((b"authorization", b"Bearer owner"))
    assert sent[-1] == "reached"
