"""Logs over a real WebSocket: from a node that answers, a node that does not, and results of what has ended."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from websockets.asyncio.client import connect

from skrei_domain import subjects
from skrei_domain.envelope import unwrap, wrap
from skrei_domain.messages import LogChunk, LogRequest, Problem
from skrei_orchestrator_api.__main__ import new_server
from tests.support.api import JOBS, Api, listening, running_api
from tests.support.log_keeper import LogKeeper, a_log_keeper
from tests.support.servers import running_nats

Say = Callable[..., Any]


@pytest.fixture
async def api(postgres_url: str, nats_url: str) -> AsyncIterator[Api]:
    async with running_api(postgres_url, nats_url) as running:
        yield running


async def read(api: Api, path: str) -> tuple[list[dict[str, Any]], int]:
    """Return all frames and the close code."""
    frames = []
    async with listening(api) as port, connect(f"ws://127.0.0.1:{port}{path}", proxy=None) as stream:
        async for frame in stream:
            assert isinstance(frame, str)
            frames.append(json.loads(frame))
        return frames, stream.close_code or 0


def value(stream: int, line: str) -> dict[str, Any]:
    return {"value": {"Type": stream, "Line": line}}


def problem(text: str) -> dict[str, Any]:
    return {"error": text, "value": {"Type": 0, "Line": ""}}


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@asynccontextmanager
async def node(nats_url: str, node_id: str, chunks: list[dict[str, Any]]) -> AsyncIterator["asyncio.Queue[LogRequest]"]:
    """A node that answers every log request with `chunks`; yields the requests that it gets."""
    client = await nats.connect(nats_url)
    asked: asyncio.Queue[LogRequest] = asyncio.Queue()

    async def answer(message: Any) -> None:
        request = unwrap(LogRequest, message.data)
        await asked.put(request)
        if request.cancel:
            return
        for number, fields in enumerate(chunks, start=1):
            chunk = LogChunk(**({"request_id": request.request_id, "sequence": number} | fields))
            payload = wrap(chunk, type_="skrei.log.chunk.v1", source=node_id, id_=str(number))
            await client.publish(subjects.log(node_id, request.request_id), payload)

    await client.subscribe(subjects.rpc(node_id), cb=answer)
    await client.flush()
    try:
        yield asked
    finally:
        await client.close()


@pytest.mark.row("1.8/live")
async def test_a_running_executions_output_comes_from_its_node_as_it_is_said(api: Api, nats_url: str) -> None:
    job_id = await api.submit()
    execution_id = await api.rows.execution(job_id, node_id="n-live")
    chunks = [{"stream": 1, "data": "one\n"}, {"stream": 2, "data": "two"}, {"data": ""}, {"end": True}]
    async with node(nats_url, "n-live", chunks) as asked:
        frames, code = await read(api, f"{JOBS}/{job_id}/logs?follow=true&tail=false")
    assert (frames, code) == ([value(1, "one\n"), value(2, "two")], 1000)
    request = asked.get_nowait()
    assert (request.execution_id, request.follow, request.tail) == (execution_id, True, False)


@pytest.mark.row("1.8/last-lines")
async def test_of_what_was_said_before_only_the_last_lines_are_asked_for_where_one_says_so(
    api: Api, nats_url: str
) -> None:
    job_id = await api.submit()
    await api.rows.execution(job_id, node_id="n-live")
    async with node(nats_url, "n-live", [{"end": True}]) as asked:
        await read(api, f"{JOBS}/{job_id}/logs?follow=true&lines=7")
    assert asked.get_nowait().lines == 7
    ended = await api.submit()
    execution_id = await api.rows.execution(ended, state="completed", observed="completed", stdout="")
    await api.rows.result(ended, execution_id, inline=archive(stdout=b"1\n2\n3\n", stderr=b"bad", exitCode=b"0"))
    frames, _ = await read(api, f"{JOBS}/{ended}/logs?lines=2")
    assert frames == [value(1, "2\n3\n"), value(2, "bad")]
    frames, _ = await read(api, f"{JOBS}/{ended}/logs?lines=10001")
    assert "lines: '10001'; allowed" in frames[0]["error"]


@pytest.mark.row("1.8/unit")
async def test_a_partition_and_a_task_name_the_execution_that_is_read(api: Api) -> None:
    job_id = await api.submit()
    for task, partition in (("main", 0), ("main", 1), ("then", 1)):
        await api.rows.execution(
            job_id,
            state="completed",
            observed="completed",
            task=task,
            partition=partition,
            stdout=f"{task} {partition}",
        )
    for query, said in (("partition=1&task=main", "main 1"), ("partition=0", "main 0"), ("task=then", "then 1")):
        frames, _ = await read(api, f"{JOBS}/{job_id}/logs?{query}")
        assert frames[0] == value(1, said)
    frames, code = await read(api, f"{JOBS}/{job_id}/logs?partition=9&task=main")
    assert (frames, code) == ([problem(f"no execution of task 'main' and partition 9 of job {job_id}")], 1000)


@pytest.mark.row("1.8/readers")
async def test_a_reader_too_many_is_told_to_come_again(postgres_url: str, nats_url: str) -> None:
    async with running_api(postgres_url, nats_url, log_readers=0) as api:
        frames, code = await read(api, f"{JOBS}/x/logs")
    assert code == 1000
    assert "0 log readers are served already (SKREI_LOG_READERS); try again" in frames[0]["error"]


async def test_the_node_is_told_when_the_reader_goes(api: Api, nats_url: str) -> None:
    job_id = await api.submit()
    await api.rows.node("n-quiet")
    await api.rows.execution(job_id, node_id="n-quiet")
    async with node(nats_url, "n-quiet", [{"stream": 1, "data": "x"}]) as asked, listening(api) as port:
        async with connect(f"ws://127.0.0.1:{port}{JOBS}/{job_id}/logs?follow=true", proxy=None) as stream:
            assert json.loads(await stream.recv()) == value(1, "x")
        async with asyncio.timeout(5):
            assert [(await asked.get()).cancel for _ in range(2)] == [False, True]


async def test_a_silent_node_is_said_so(api: Api) -> None:
    job_id = await api.submit()
    await api.rows.node("n-silent")
    await api.rows.execution(job_id, node_id="n-silent")
    frames, code = await read(api, f"{JOBS}/{job_id}/logs")
    assert (frames, code) == ([problem("node n-silent does not answer (0.3 s)")], 1000)


async def test_a_node_that_is_known_to_be_away_is_said_so_to_followers_too(api: Api) -> None:
    job_id = await api.submit()
    await api.rows.node("n-away", "DISCONNECTED")
    await api.rows.execution(job_id, node_id="n-away", state="unknown")
    frames, code = await read(api, f"{JOBS}/{job_id}/logs?follow=true")
    assert (frames, code) == ([problem("node n-away does not answer (0.3 s)")], 1000)


async def test_with_the_transport_away_jobs_are_taken_and_only_live_logs_are_not(postgres_url: str) -> None:
    with running_nats() as url:
        api_running = running_api(postgres_url, url)
        api = await api_running.__aenter__()
    try:
        async with asyncio.timeout(10):
            job_id = await api.submit()
            await api.rows.execution(job_id)
            assert (await api.http.get(f"{JOBS}/{job_id}")).status_code == 200
            while api.deps.bus.connected:  # noqa: ASYNC110 - the bus tells nobody but its owner
                await asyncio.sleep(0)
            frames, _ = await read(api, f"{JOBS}/{job_id}/logs")
            assert frames == [problem("the transport is away: live logs cannot be read now")]
            assert (await api.http.request("DELETE", f"{JOBS}/{job_id}")).status_code == 200
    finally:
        await api_running.__aexit__(None, None, None)


async def test_output_lost_on_its_way_is_not_passed_over(api: Api, nats_url: str) -> None:
    job_id = await api.submit()
    await api.rows.execution(job_id, node_id="n-gap")
    async with node(nats_url, "n-gap", [{"stream": 1, "data": "a"}, {"sequence": 5, "data": "z"}]):
        frames, code = await read(api, f"{JOBS}/{job_id}/logs")
    lost = problem("some output was lost on its way: the reader or the node was too slow")
    assert (frames, code) == ([value(1, "a"), lost], 1000)


async def test_what_a_node_has_no_output_of_is_told_by_the_node(api: Api, nats_url: str) -> None:
    job_id = await api.submit()
    await api.rows.execution(job_id, node_id="n-none")
    told = Problem(code="not-found", message="not on this node (any more)")
    async with node(nats_url, "n-none", [{"end": True, "problem": told}]):
        frames, _ = await read(api, f"{JOBS}/{job_id}/logs")
    assert frames == [problem("not on this node (any more)")]


@pytest.mark.row("1.8/ended", "5.6/kept")
async def test_an_ended_executions_output_is_its_results(api: Api) -> None:
    job_id = await api.submit()
    execution_id = await api.rows.execution(job_id, state="completed", observed="completed", stdout="beginn")
    await api.rows.result(job_id, execution_id, inline=archive(stdout=b"x" * 40_000, stderr=b"bad", exitCode=b"0"))
    frames, code = await read(api, f"{JOBS}/{job_id}/logs")
    assert code == 1000
    assert "".join(frame["value"]["Line"] for frame in frames if frame["value"]["Type"] == 1) == "x" * 40_000
    assert frames[-1] == value(2, "bad")


async def test_what_was_taken_over_is_fetched_from_the_publisher(postgres_url: str, nats_url: str) -> None:
    served: list[str] = []
    content = archive(stdout=b"stored")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[1])
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))
        await writer.drain()
        writer.close()

    publisher = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{publisher.sockets[0].getsockname()[1]}"
    async with publisher, running_api(postgres_url, nats_url, publisher_url=url) as api:
        job_id = await api.submit()
        execution_id = await api.rows.execution(job_id, state="completed", observed="completed")
        await api.rows.result(job_id, execution_id, inline=None)
        frames, _ = await read(api, f"{JOBS}/{job_id}/logs")
    assert frames == [value(1, "stored")]
    assert served[0].startswith(f"/results/{execution_id}.tar.gz?token=")


@pytest.mark.row("1.8/failed", "12/log-fallback")
async def test_without_a_result_the_beginning_that_the_record_keeps_is_shown(api: Api) -> None:
    job_id = await api.submit()
    said = {"stdout": "out", "stderr": "err", "stdout_truncated": False, "stderr_truncated": False}
    await api.rows.execution(job_id, state="failed", observed="failed", **said)
    frames, code = await read(api, f"{JOBS}/{job_id}/logs")
    assert (frames, code) == ([value(1, "out"), value(2, "err")], 1000)


@asynccontextmanager
async def with_log_keeper(postgres_url: str, nats_url: str, folder: Path) -> AsyncIterator[tuple[Api, LogKeeper]]:
    """An API whose publisher keeps at most 1,000 bytes of what runs, on each stream."""
    async with (
        a_log_keeper(folder, stream_bytes=1000) as keeper,
        running_api(postgres_url, nats_url, publisher_url=keeper.url) as api,
    ):
        keeper.verifier.known = api.deps.verifier
        yield api, keeper


UNTIL = "this is what it had sent until 20"


@pytest.mark.row("1.8/silent-node", "12/dead-node-logs")
async def test_what_a_silent_node_had_sent_is_shown_and_that_it_is_no_more(
    postgres_url: str, nats_url: str, tmp_path: Path
) -> None:
    async with with_log_keeper(postgres_url, nats_url, tmp_path) as (api, keeper):
        job_id = await api.submit()
        await api.rows.node("n-away", "DISCONNECTED")
        execution_id = await api.rows.execution(job_id, node_id="n-away", state="unknown")
        keeper.book.append(execution_id, 1, "stdout", 0, "grüße\n".encode())
        keeper.book.append(execution_id, 1, "stderr", 0, b"oh")
        frames, code = await read(api, f"{JOBS}/{job_id}/logs")
        assert (frames[:-1], code) == ([value(1, "grüße\n"), value(2, "oh")], 1000)
        assert frames[-1]["error"].startswith(f"node n-away does not answer: {UNTIL}")
        frames, _ = await read(api, f"{JOBS}/{job_id}/logs?follow=true")
        assert frames[0] == value(1, "grüße\n")
        frames, _ = await read(api, f"{JOBS}/{job_id}/logs?tail=true")
        assert frames == [problem("node n-away does not answer (0.3 s)")]


async def test_what_a_lost_node_had_sent_is_what_is_left_of_its_execution(
    postgres_url: str, nats_url: str, tmp_path: Path
) -> None:
    async with with_log_keeper(postgres_url, nats_url, tmp_path) as (api, keeper):
        job_id = await api.submit()
        lost = await api.rows.execution(job_id, node_id="n-away", state="lost")
        keeper.book.append(lost, 1, "stdout", 0, b"half")
        frames, _ = await read(api, f"{JOBS}/{job_id}/logs?execution_id={lost}")
        assert frames[0] == value(1, "half")
        assert UNTIL in frames[1]["error"]


async def test_last_words_take_the_place_of_a_beginning_and_are_whole(
    postgres_url: str, nats_url: str, tmp_path: Path
) -> None:
    async with with_log_keeper(postgres_url, nats_url, tmp_path) as (api, keeper):
        job_id = await api.submit()
        said = {"stdout": "be", "stderr": "", "stdout_truncated": True, "stderr_truncated": False}
        killed = await api.rows.execution(job_id, state="failed", observed="failed", **said)
        keeper.book.append(killed, 1, "stdout", 0, b"beginning", end=True)
        assert (await read(api, f"{JOBS}/{job_id}/logs"))[0] == [value(1, "beginning")]
        keeper.book.append(killed, 1, "stdout", 9, b"x" * 2000)
        frames, _ = await read(api, f"{JOBS}/{job_id}/logs")
        assert frames[-1] == problem("only the beginning of so long an output is kept of what left no result yet")
        keeper.book.drop([killed])
        frames, _ = await read(api, f"{JOBS}/{job_id}/logs")
        told = problem("only the beginning of its output is kept: it left no result that is stored")
        assert frames == [value(1, "be"), told]


@pytest.mark.row("1.8/execution-choice")
async def test_an_execution_that_is_named_is_the_one_that_is_read(api: Api) -> None:
    job_id = await api.submit(Count=2)
    for partition in (0, 1):
        said = {"stdout": f"{partition}", "stderr": "", "stdout_truncated": False, "stderr_truncated": False}
        last = await api.rows.execution(
            job_id, partition=partition, id=f"e-{partition}", state="completed", observed="completed", **said
        )
    assert last == "e-1"
    assert (await read(api, f"{JOBS}/{job_id}/logs?execution_id=e-0"))[0] == [value(1, "0")]
    assert (await read(api, f"{JOBS}/{job_id}/logs"))[0] == [value(1, "1")]


async def test_logs_are_those_of_the_current_version_another_or_any(api: Api) -> None:
    job_id = await api.submit(Name="mine")
    for version in (1, 2):
        said = {"stdout": f"v{version}", "stderr": "", "stdout_truncated": False, "stderr_truncated": False}
        ended = {"state": "completed", "observed": "completed", "job_version": version}
        await api.rows.execution(job_id, id=f"e-{version}", **ended, **said)
    assert (await read(api, f"{JOBS}/{job_id}/logs"))[0] == [value(1, "v1")]
    await api.submit(Name="mine", Count=2)
    assert (await read(api, f"{JOBS}/{job_id}/logs"))[0] == [value(1, "v2")]
    assert (await read(api, f"{JOBS}/{job_id}/logs?job_version=1"))[0] == [value(1, "v1")]
    await api.submit(Name="mine", Count=3)
    assert (await read(api, f"{JOBS}/{job_id}/logs"))[0] == [problem(f"no executions of job {job_id} yet")]
    assert (await read(api, f"{JOBS}/{job_id}/logs?all_job_versions=1"))[0] == [value(1, "v2")]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"{JOBS}/j-nope/logs", "job not found: j-nope"),
        (f"{JOBS}/{{job}}/logs?execution_id=e-nope", "execution not found: e-nope (job {job})"),
        (f"{JOBS}/{{job}}/logs", "no executions of job {job} yet"),
        (f"{JOBS}/{{job}}/logs?follow=maybe", "follow: 'maybe'; allowed: true, false"),
    ],
)
@pytest.mark.row("1.8/frames", "B/logs-of-nothing", "1.8/no-executions")
async def test_after_the_upgrade_every_error_is_a_frame_and_the_close_is_normal(
    api: Api, path: str, expected: str
) -> None:
    job_id = await api.submit()
    frames, code = await read(api, path.format(job=job_id))
    assert (frames, code) == ([problem(expected.format(job=job_id))], 1000)


@pytest.mark.row("1.8/no-executions")
async def test_a_job_that_failed_before_it_was_placed_says_so(api: Api) -> None:
    job_id = await api.submit()
    await api.rows.link.execute("UPDATE jobs SET state = 'Failed', message = 'no node fits' WHERE id = $1", job_id)
    frames, code = await read(api, f"{JOBS}/{job_id}/logs")
    assert (frames, code) == ([problem(f"no execution of job {job_id} ever ran; it is Failed: no node fits")], 1000)


@pytest.mark.row("1.8/no-ping")
async def test_the_server_asks_no_reader_whether_it_is_there(api: Api) -> None:
    assert new_server(api.deps).config.ws_ping_interval is None


@pytest.mark.row("1.8/plain-get")
async def test_a_plain_request_for_logs_is_400(api: Api) -> None:
    assert (await api.http.get(f"{JOBS}/{await api.submit()}/logs")).status_code == 400
