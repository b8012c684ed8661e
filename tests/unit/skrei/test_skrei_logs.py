import json
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve

from skrei.client import AsyncClient
from skrei.errors import LogsFailed, Unreachable
from skrei.views import LogLine

Talk = Callable[[ServerConnection], Awaitable[None]]


def frame(kind: int, line: str) -> str:
    return json.dumps({"value": {"Type": kind, "Line": line}})


async def said(talk: Talk, **query: bool) -> tuple[list[LogLine], str]:
    paths: list[str] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request
        paths.append(connection.request.path)
        await talk(connection)

    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with AsyncClient(f"http://127.0.0.1:{port}") as client:
            return [line async for line in client.logs("a job", **query)], paths[0]


async def test_frames_are_told_as_they_come_and_the_close_is_the_end() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send(frame(1, "one\ntw"))
        await connection.send(frame(2, "oh"))

    lines, path = await said(talk, follow=True)
    assert lines == [LogLine(1, "one\ntw"), LogLine(2, "oh")]
    assert path == "/api/v1/orchestrator/jobs/a%20job/logs?execution_id=&follow=true&tail=false&namespace="


@pytest.mark.parametrize("text", ['{"error":"job not found: a job","value":{"Type":0,"Line":""}}', "<html>", "[]"])
async def test_an_error_frame_is_an_error(text: str) -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send(text)

    with pytest.raises(LogsFailed, match=r"job not found|is not one"):
        await said(talk)


async def test_a_stream_that_breaks_off_is_not_taken_for_the_end() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send(frame(1, "half"))
        connection.transport.abort()

    with pytest.raises(LogsFailed, match="broke off"):
        await said(talk)


async def test_nobody_there_is_told_as_unreachable() -> None:
    async with AsyncClient("http://127.0.0.1:9") as client:
        with pytest.raises(Unreachable):
            [line async for line in client.logs("x")]
