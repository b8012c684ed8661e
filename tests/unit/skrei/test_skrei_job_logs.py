"""What all of a job's partitions say as one stream, and what is told where one cannot be asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from skrei import AsyncClient, job_logs
from skrei.errors import LogsFailed
from skrei.views import LogLine
from skrei_plugin_api.testing import eventually
from tests.support.fake_api import event, execution, job

Talk = Callable[[ServerConnection, dict[str, str]], Awaitable[None]]
JOBS = "/api/v1/orchestrator/jobs"
ID = job()["ID"]
RUNNING, DONE = 6, 9


def one_of(number: int, state: int, **more: Any) -> dict[str, Any]:
    return execution(number, partition=number, state=state, Task="main", **more)


def line(connection: ServerConnection, text: str, stream: int = 1) -> Awaitable[None]:
    return connection.send(json.dumps({"value": {"Type": stream, "Line": text}}))


def problem(connection: ServerConnection, text: str) -> Awaitable[None]:
    return connection.send(json.dumps({"error": text, "value": {"Type": 0, "Line": ""}}))


class Api:
    """A job over HTTP, its output over WebSockets."""

    def __init__(self, talk: Talk, *executions: dict[str, Any], state: str = "Completed") -> None:
        self.executions = list(executions)
        self.state = state
        self.moving = False
        """Whether each look at the history finds something new."""
        self.asked: list[dict[str, str]] = []
        self._happened = 1
        self._talk = talk

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        path = urlsplit(request.path).path
        if path.endswith("/logs"):
            return None
        self._happened += self.moving and path.endswith("/history")
        listed = {"NextToken": "", "Items": self.executions}
        found = {"Job": job(self.state, count=len(self.executions) or 1)}
        told = {"NextToken": "t", "Items": [event(self._happened, "begun")]} if path.endswith("/history") else found
        return connection.respond(HTTPStatus.OK, json.dumps(listed if path.endswith("/executions") else told))

    async def _logs(self, connection: ServerConnection) -> None:
        assert connection.request
        asked = {key: values[0] for key, values in parse_qs(urlsplit(connection.request.path).query).items()}
        self.asked.append(asked)
        await self._talk(connection, asked)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        async with serve(self._logs, "127.0.0.1", 0, process_request=self._answer) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with AsyncClient(f"http://127.0.0.1:{port}") as client:
                yield client


async def told_all(api: Api, **query: Any) -> list[LogLine]:
    """What is told, with the problem that it ends with as the last of stream 0."""
    heard: list[LogLine] = []
    async with api.client() as client:
        try:
            async for each in (await client.jobs.get(ID)).logs(**query):
                heard.append(each)  # noqa: PERF401 - what came before the problem counts too
        except LogsFailed as error:
            heard.append(LogLine(0, error.message))
    return heard


async def told(api: Api, **query: Any) -> list[LogLine]:
    async with api.client() as client:
        found = await client.jobs.get(ID)
        return [each async for each in found.logs(**query)]


async def says_its_id(connection: ServerConnection, asked: dict[str, str]) -> None:
    await line(connection, asked.get("execution_id", "none"))


async def test_all_partitions_are_told_in_order_and_each_piece_says_whose_it_is() -> None:
    lines = await told(Api(says_its_id, one_of(0, DONE), one_of(1, DONE), one_of(2, DONE)))
    assert [(each.task, each.partition) for each in lines] == [("main", 0), ("main", 1), ("main", 2)]
    assert all(each.text == each.execution_id for each in lines)


async def test_one_of_several_is_chosen() -> None:
    api = Api(says_its_id, one_of(0, DONE), one_of(1, DONE))
    assert [each.partition for each in await told(api, partition=1)] == [1]
    assert [each.text for each in await told(api, execution_id="e-x")] == ["e-x"]


async def test_why_a_job_says_nothing_is_the_api_s_to_tell() -> None:
    async def none(connection: ServerConnection, _: dict[str, str]) -> None:
        await problem(connection, "no execution has begun")

    with pytest.raises(LogsFailed, match="no execution has begun"):
        await told(Api(none, state="Queued"))


async def test_a_node_that_cannot_be_asked_is_told_after_what_the_others_said() -> None:
    async def talk(connection: ServerConnection, asked: dict[str, str]) -> None:
        await line(connection, asked["execution_id"])
        if asked["execution_id"] == one_of(0, DONE)["ID"]:
            await problem(connection, "its node does not answer")

    *heard, last = await told_all(Api(talk, one_of(0, DONE), one_of(1, DONE)))
    assert ([each.partition for each in heard], last) == ([0, 1], LogLine(0, "its node does not answer"))


async def test_what_runs_is_followed_together_until_the_job_ends() -> None:
    async def talk(connection: ServerConnection, asked: dict[str, str]) -> None:
        await line(connection, "first ")
        await line(connection, asked["follow"])
        api.executions = [one_of(0, DONE), one_of(1, DONE)]
        api.state = "Completed"

    api = Api(talk, one_of(0, RUNNING), one_of(1, RUNNING), state="Running")
    lines = await told(api, follow=True)
    assert sorted((each.partition or 0, each.text) for each in lines) == [
        *((0, "first "), (0, "true"), (1, "first "), (1, "true"))
    ]


async def test_a_silent_node_has_said_what_was_sent_and_is_told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_logs, "AGAIN_SECONDS", (0.01, 0.01))

    async def talk(connection: ServerConnection, asked: dict[str, str]) -> None:
        await line(connection, "sent\n")
        await problem(connection, "its node does not answer")
        if len(api.asked) == 3:
            api.executions, api.state = [], "Stopped"

    api = Api(talk, one_of(0, RUNNING, State="Unknown"), state="Running")
    heard = await told_all(api, follow=True)
    assert ([each.text for each in heard], len(api.asked)) == (["sent\n", "its node does not answer"], 3)


async def test_a_stream_that_breaks_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_logs, "AGAIN_SECONDS", (0.01, 0.01))

    async def talk(connection: ServerConnection, _: dict[str, str]) -> None:
        await line(connection, "one ")
        if len(api.asked) == 1:
            connection.transport.abort()
            return
        await line(connection, "two")
        api.executions, api.state = [one_of(0, DONE)], "Completed"

    api = Api(talk, one_of(0, RUNNING), state="Running")
    assert "".join(each.text for each in await told(api, follow=True)) == "one two"


async def test_with_only_new_what_had_ended_before_stays_untold() -> None:
    async def talk(connection: ServerConnection, asked: dict[str, str]) -> None:
        await line(connection, "new" if asked["execution_id"] == running["ID"] else "old")
        api.executions, api.state = [ended, one_of(1, DONE)], "Completed"

    ended, running = one_of(0, DONE), one_of(1, RUNNING)
    api = Api(talk, ended, running, state="Running")
    assert [each.text for each in await told(api, follow=True, only_new=True)] == ["new"]
    assert [asked["execution_id"] for asked in api.asked] == [running["ID"]]


async def test_who_has_to_wait_for_its_turn_is_still_asked_for_what_is_new_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_logs, "MOST_FOLLOWED", 1)

    async def talk(connection: ServerConnection, asked: dict[str, str]) -> None:
        await line(connection, "new")
        api.moving = True
        if len(api.asked) == 3:
            api.executions, api.state = [one_of(number, DONE) for number in range(3)], "Completed"

    api = Api(talk, *(one_of(number, RUNNING) for number in range(3)), state="Running")
    assert [each.text for each in await told(api, follow=True, only_new=True)] == ["new"] * 3
    assert [(asked["tail"], asked["lines"]) for asked in api.asked] == [("true", "0")] * 3


async def test_no_more_are_read_at_once_when_the_job_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_logs, "MOST_FOLLOWED", 2)
    reading, most = 0, 0

    async def talk(connection: ServerConnection, asked: dict[str, str]) -> None:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        api.moving = True
        api.executions, api.state = [one_of(number, DONE) for number in range(8)], "Completed"
        for _ in range(200):  # turns of the loop, in which the others would come
            await asyncio.sleep(0)
        await line(connection, "x")
        reading -= 1

    api = Api(talk, one_of(0, RUNNING), state="Running")
    assert (len(await told(api, follow=True)), most) == (8, 2)


async def test_one_that_was_lost_goes_on_where_it_was_also_when_only_its_last_lines_were_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_logs, "AGAIN_SECONDS", (0.01,))

    async def talk(connection: ServerConnection, asked: dict[str, str]) -> None:
        if asked["tail"] == "false":
            await line(connection, {"1": "last\n"}.get(asked.get("lines", ""), "much\nlast\n"))
        if len(api.asked) < 3:
            api.moving = len(api.asked) == 2
            await problem(connection, "its node does not answer")
            return
        await line(connection, "more\n")
        api.executions, api.state = [one_of(0, DONE)], "Completed"

    api = Api(talk, one_of(0, RUNNING), state="Running")
    assert [each.text for each in await told_all(api, follow=True, lines=1)] == ["last\n", "more\n"]


async def test_of_one_that_ended_while_it_was_lost_nothing_is_told_from_the_wrong_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_logs, "AGAIN_SECONDS", (0.01,))

    async def talk(connection: ServerConnection, asked: dict[str, str]) -> None:
        await line(connection, "last\n" if len(api.asked) == 1 else "much\nlast\nmore\n" * (len(api.asked) > 2))
        if len(api.asked) == 2:
            api.moving = True
            api.executions, api.state = [one_of(0, DONE)], "Completed"
        await problem(connection, "its node does not answer")

    api = Api(talk, one_of(0, RUNNING), state="Running")
    heard = await told_all(api, follow=True, lines=1)
    assert [each.text for each in heard] == ["last\n", "its node does not answer"]


async def test_who_stops_reading_ends_every_stream() -> None:
    closed = []

    async def talk(connection: ServerConnection, asked: dict[str, str]) -> None:
        await line(connection, "x")
        await connection.wait_closed()
        closed.append(asked["execution_id"])

    api = Api(talk, one_of(0, RUNNING), one_of(1, RUNNING), state="Running")
    async with api.client() as client:
        lines = (await client.jobs.get(ID)).logs(follow=True)
        assert (await anext(lines)).text == "x"
        await lines.aclose()  # type: ignore[attr-defined]
        await eventually(lambda: len(closed) == len(api.asked) > 0)
