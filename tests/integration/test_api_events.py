"""Events of a job over a real port, a real record and a real transport; many jobs at once; and what a caller holds."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2
import pytest

from skrei_domain import subjects
from skrei_domain.envelope import unwrap
from skrei_domain.feed import JOB, Change, FeedBatch, messages
from skrei_kit.bus import Message
from skrei_orchestrator_api.routes import events
from skrei_orchestrator_api.routes.batch import MOST_JOBS
from tests.support.api import HELLO, JOBS, NODES, Api, listening, running_api

SECONDS = 20.0
"""For anything that a loaded machine does here; reached only by failures."""


@pytest.fixture
async def api(postgres_url: str, nats_url: str) -> AsyncIterator[Api]:
    async with running_api(postgres_url, nats_url, event_listeners=2) as running:
        yield running


@asynccontextmanager
async def reading(port: int, job: str, *, last: str = "", query: str = "") -> AsyncIterator[AsyncIterator[Any]]:
    """The events of a job as (id, kind, data), from a client that is connected."""
    headers = {"Last-Event-ID": last} if last else {}
    url = f"http://127.0.0.1:{port}/api/v1/events?job={job}{query}"
    async with (
        asyncio.timeout(SECONDS),
        httpx2.AsyncClient(timeout=SECONDS) as client,
        client.stream("GET", url, headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert len(answer.headers["x-request-id"]) == 36
        async with aclosing(_events(answer)) as found:
            yield found


async def _events(answer: Any) -> AsyncIterator[tuple[str, str, Any]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
            fields = {}


async def test_what_happens_to_a_job_is_told_as_it_happens_and_its_end(api: Api) -> None:
    job_id = await api.submit(Name="told")
    async with listening(api) as port, reading(port, "told") as told:
        number, kind, item = await anext(told)
        assert (number, kind, item["Event"]["Message"]) == ("1", "history", "Job submitted")
        await api.rows.history(job_id, "Requested execution on n-1", "e-1")
        for subject, payload in messages([Change("default", JOB, job_id, 2)], source="test"):
            await api.deps.bus.publish(subject, payload)
        number, kind, item = await anext(told)
        assert (number, item["ExecutionID"]) == ("2", "e-1")
        await api.http.request("DELETE", f"{JOBS}/{job_id}", json={"reason": "enough"})
        seen = [await anext(told) for _ in range(3)]
        assert [each[:2] for each in seen] == [("3", "history"), ("4", "history"), ("", "end")]
        assert seen[-1][2] == {"JobID": job_id, "StateType": "Stopped", "Version": 1}
        await api.http.put(f"{JOBS}/{job_id}/rerun", json={})
        assert (await anext(told))[2]["Event"]["Message"] == "Job rerun requested", "it stays for what comes"


async def test_a_reader_that_comes_back_misses_none_and_hears_none_twice(api: Api) -> None:
    job_id = await api.submit()
    for number in range(2, events.PAGE + 5):
        await api.rows.history(job_id, f"item {number}")
    async with listening(api) as port:
        async with reading(port, job_id) as told:
            first = [(await anext(told))[0] for _ in range(7)]
        async with reading(port, job_id[:12], last=first[-1], query="&follow=false") as told:
            rest = [number async for number, kind, _ in told if kind == "history"]
        async with reading(port, job_id, query="&follow=false&last_event_id=203") as told:
            assert [number async for number, _, _ in told] == ["204"]
    assert [int(number) for number in first + rest] == list(range(1, events.PAGE + 5))


async def test_without_the_transport_events_are_read_all_the_same(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is woken: what changed is found by looking now and then."""
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.05)
    job_id = await api.submit()
    async with listening(api) as port, reading(port, job_id) as told:
        await anext(told)
        await api.rows.history(job_id, "nobody tells of this")
        assert (await anext(told))[2]["Event"]["Message"] == "nobody tells of this"


async def test_an_idle_stream_says_that_it_lives_and_outlasts_what_a_request_may_take(
    postgres_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(events, "BEAT_SECONDS", 0.02)
    async with running_api(postgres_url, nats_url, request_timeout_seconds=0.2) as api:
        job_id = await api.submit()
        async with (
            listening(api) as port,
            asyncio.timeout(SECONDS),
            httpx2.AsyncClient(timeout=SECONDS) as client,
            client.stream("GET", f"http://127.0.0.1:{port}/api/v1/events?job={job_id}") as answer,
        ):
            beats = 0
            async for line in answer.aiter_lines():
                beats += line == ":"
                if beats == 25:
                    break
    assert beats == 25


async def test_so_many_listen_and_no_more_and_a_place_is_free_again(api: Api) -> None:
    job_id = await api.submit()
    async with listening(api) as port:
        url = f"http://127.0.0.1:{port}/api/v1/events?job={job_id}"
        async with reading(port, job_id) as one, reading(port, job_id) as two:
            await anext(one)
            await anext(two)
            async with httpx2.AsyncClient() as client:
                refused = await client.get(url)
            assert (refused.status_code, refused.json()["Code"]) == (429, "ResourceExhausted")
        async with asyncio.timeout(SECONDS):
            while len(api.deps.listeners):  # noqa: ASYNC110 - the server learns of a reader's going when it does
                await asyncio.sleep(0.01)
        async with reading(port, job_id) as told:
            await anext(told)


async def test_a_head_is_answered_at_once(api: Api) -> None:
    await api.submit(Name="told")
    answer = await api.http.head("/api/v1/events?job=told")
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")


async def test_what_cannot_be_listened_to_is_refused(api: Api) -> None:
    await api.submit(Name="told")
    for query, status in (
        ("", 400),
        ("job=", 400),
        ("job=nope", 404),
        ("job=%00", 400),
        ("job=told&last_event_id=-1", 400),
        ("job=told&last_event_id=x", 400),
        ("job=told&follow=perhaps", 400),
    ):
        assert (await api.http.get(f"/api/v1/events?{query}")).status_code == status, query
    answer = await api.http.get("/api/v1/events?job=told&follow=false", headers={"Last-Event-ID": "first"})
    assert answer.status_code == 400


async def test_submissions_and_stops_are_told_in_the_feed(api: Api) -> None:
    heard: asyncio.Queue[FeedBatch] = asyncio.Queue()

    async def take(message: Message) -> None:
        heard.put_nowait(unwrap(FeedBatch, message.data))

    await api.deps.bus.subscribe(subjects.ALL_FEED, take)
    await api.deps.bus.flush()
    job_id = await api.submit(Namespace="team")
    async with asyncio.timeout(SECONDS):
        told = [await heard.get()]
        await api.http.delete(f"{JOBS}/{job_id}")
        told.append(await heard.get())
    assert [(each.namespace, each.kind, each.jobs) for each in told] == [
        ("team", "job", ((job_id, 1),)),
        ("team", "job", ((job_id, 3),)),
    ]


# ---------------------------------------------------------------- many at once


async def test_many_jobs_are_accepted_at_once_and_each_is_answered_by_itself(api: Api) -> None:
    await api.submit(Name="taken", Type="batch")
    good = {"Job": HELLO | {"Name": "one"}, "IdempotencyToken": "t-1"}
    bad = {"Job": HELLO | {"Count": -1}}
    answer = await api.http.post(f"{JOBS}:batch", json={"jobs": [good, bad, 7, {}, {"Job": HELLO}]})
    assert answer.status_code == 200
    items = answer.json()["Items"]
    assert [item.get("Error", {}).get("Status", 200) for item in items] == [200, 400, 400, 400, 200]
    assert items[1]["Error"]["Message"].startswith("Count: -1")
    assert items[1]["Error"]["RequestID"] == answer.headers["x-request-id"]
    assert (await api.http.get(f"{JOBS}/one")).json()["Job"]["ID"] == items[0]["JobID"]
    again = (await api.http.post(f"{JOBS}:batch", json={"Jobs": [good]})).json()["Items"]
    assert again[0]["JobID"] == items[0]["JobID"], "the token holds here too"


async def test_a_hundred_jobs_share_their_commits(api: Api) -> None:
    answer = await api.http.post(f"{JOBS}:batch", json={"Jobs": [{"Job": HELLO}] * 100})
    assert len({item["JobID"] for item in answer.json()["Items"]}) == 100
    commits = await api.rows.link.fetchval("SELECT count(DISTINCT xmin::text) FROM jobs")
    assert commits < 50, "what is read while a commit runs goes into the next one together"


async def test_what_is_no_list_of_submissions_is_refused(api: Api) -> None:
    for body in (b"", b"[]", b"{}", b'{"Jobs":[]}', b'{"Jobs":{}}', b'{"Jobs":null}'):
        assert (await api.http.post(f"{JOBS}:batch", content=body)).status_code == 400, body
    many = await api.http.post(f"{JOBS}:batch", json={"Jobs": [0] * (MOST_JOBS + 1)})
    assert (many.status_code, many.json()["Code"]) == (400, "ValidationError")


# ---------------------------------------------------------------- what the caller holds


async def test_what_the_caller_holds_is_not_sent_again(api: Api) -> None:
    job_id = await api.submit(Name="one")
    await api.rows.node("n-1")
    paths = ("jobs/one", "jobs/one?include=history,executions", "jobs", "nodes", "nodes/n-1")
    tags = {path: (await api.http.get(f"/api/v1/orchestrator/{path}")).headers["etag"] for path in paths}
    for path, tag in tags.items():
        for told in (tag, f'"x", W/{tag}', "*"):
            again = await api.http.get(f"/api/v1/orchestrator/{path}", headers={"If-None-Match": told})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), (path, told)
        other = await api.http.get(f"/api/v1/orchestrator/{path}", headers={"If-None-Match": '"other"'})
        assert other.status_code == 200
    await api.rows.state(job_id, "Running")
    await api.rows.link.execute("UPDATE nodes SET error = 'changed'")
    for path, tag in tags.items():
        changed = await api.http.get(f"/api/v1/orchestrator/{path}", headers={"If-None-Match": tag})
        assert (changed.status_code, changed.headers["etag"] != tag) == (200, True), path
    assert (await api.http.get(f"{NODES}?pretty", headers={"If-None-Match": tags["nodes"]})).status_code == 200
