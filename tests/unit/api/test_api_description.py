"""The API describes itself: every route, every shape that it names, and examples that are true."""

import json
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.job import parse_job
from skrei_orchestrator_api import describing
from skrei_orchestrator_api.app import ROUTES
from skrei_orchestrator_api.describing import described
from skrei_orchestrator_api.frame import Frame, RateLimit
from skrei_orchestrator_api.gate import Gate
from skrei_orchestrator_api.openapi import shapes
from skrei_orchestrator_api.openapi.document import document, operations
from skrei_orchestrator_api.openapi.page import page
from skrei_orchestrator_api.routes import description
from skrei_orchestrator_api.settings import LOCAL_HOSTS
from tests.support.promises import broken_promise, the_document


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"].rpartition("/")[2]} if "$ref" in value else set()
        return own.union(*(references(each) for each in value.values()))
    return set().union(*(references(each) for each in value)) if isinstance(value, list) else set()


def test_every_public_route_is_described_and_says_what_it_does() -> None:
    for path, verbs in the_document()["paths"].items():
        for verb, operation in verbs.items():
            assert operation["summary"], f"{verb} {path}: its endpoint has no docstring"
            assert operation["responses"], f"{verb} {path}"


def test_a_route_without_a_description_is_refused_by_its_path() -> None:
    async def silent(request: Request) -> Response:
        return Response()

    with pytest.raises(ValueError, match="/new: silent is not described"):
        list(operations([Route("/new", silent)]))


def test_only_the_stacks_own_routes_and_the_description_itself_are_hidden() -> None:
    hidden = {
        route.path
        for route in ROUTES
        if isinstance(route, Route) and (told := describing.of(route.endpoint)) and told.hidden
    }
    assert {path for path in hidden if not path.startswith("/internal/")} == {
        "/openapi.json",
        "/docs",
        "/schemas/job.json",
    }


def test_every_shape_that_is_named_is_there_and_every_one_that_is_there_is_named() -> None:
    document = the_document()
    assert references(document) - set(shapes.SCHEMAS) == set()
    assert set(shapes.SCHEMAS) - references(document) == set()


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [verb["operationId"] for path in the_document()["paths"].values() for verb in path.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [name for name, schema in shapes.SCHEMAS.items() if schema.get("examples")])
def test_every_example_is_one(name: str) -> None:
    root = {"components": {"schemas": shapes.SCHEMAS}, "$ref": f"#/components/schemas/{name}"}
    for example in shapes.SCHEMAS[name]["examples"]:
        jsonschema_rs.validate(root, example)


def test_every_answer_that_is_promised_is_shown() -> None:
    shown = {name for name, schema in shapes.SCHEMAS.items() if schema.get("examples")}
    promised: set[str] = set()
    for verbs in the_document()["paths"].values():
        for operation in verbs.values():
            content = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
            promised |= references(content.get("schema", {}))
    assert promised - shown == set()


def test_the_job_of_the_examples_is_one_that_is_accepted() -> None:
    spec, warnings = parse_job(shapes.SCHEMAS["JobSpec"]["examples"][0])
    assert (spec.name, warnings) == ("hello", ())


@pytest.mark.parametrize(
    ("status", "body", "broken"),
    [
        (200, b'{"Status":"OK"}', ""),
        (200, b'{"Status":"no"}', "no Alive"),
        (200, b"{}", "no Alive"),
        (418, b"{}", "does not promise"),
        (503, b'{"Status":503}', "no Error"),
        (405, b"{}", ""),
    ],
)
def test_an_answer_that_breaks_a_promise_is_seen(status: int, body: bytes, broken: str) -> None:
    route = next(route for route in ROUTES if isinstance(route, Route) and route.path == "/api/v1/agent/alive")
    found = broken_promise(route, "GET", status, "application/json", body)
    assert broken in found if broken else found == ""


def test_the_page_shows_every_operation_and_fetches_nothing() -> None:
    html = page(the_document())
    for path in the_document()["paths"]:
        assert f"<code>{path}</code>" in html
    assert "http://" not in html.replace("http://127.0.0.1", "")
    assert not any(word in html for word in ("<script", "src=", "@import", "url("))


def test_what_stands_in_the_document_cannot_write_the_page() -> None:
    @described(answer="Alive")
    async def endpoint(request: Request) -> Response:
        """Say <script>alert(1)</script>."""
        return Response()

    html = page(document([Route("/x", endpoint)], "0"))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


async def test_both_are_served_to_everybody() -> None:
    from starlette.routing import Router

    frame = Frame(
        Router(description.ROUTES),
        headers={},
        gate=Gate(hosts=LOCAL_HOSTS),
        rate=RateLimit(100),
        max_body_bytes=10,
        timeout_seconds=30,
    )
    transport = httpx2.ASGITransport(app=frame, client=("203.0.113.9", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://skrei.example") as client:
        told = await client.get("/openapi.json")
        shown = await client.get("/docs")
    assert (told.json()["openapi"], told.headers["content-type"]) == ("3.1.0", "application/json")
    assert json.loads(told.content) == json.loads(json.dumps(the_document() | {"info": told.json()["info"]}))
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in shown.headers["content-security-policy"]
