"""When what runs is ready: answers counted, starts asked for as long as they run, and changes told once."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_compute_agent.asking import COMMANDS_AT_ONCE, SAID_CHARACTERS, CommandAsker, Inside, Reply, ask_port
from skrei_compute_agent.checks import Checks, Verdicts
from skrei_compute_agent.events import Checked, Exited, Stage, Staged
from skrei_domain.errors import SkreiError
from skrei_domain.messages import PortObserved, RunOrder
from skrei_domain.resources import Resources
from skrei_domain.spec import Check, ExecCheck, HttpCheck, SpecConfig, TaskSpec, TcpCheck
from skrei_plugin_api.engine import CommandOutcome, CommandRequest
from skrei_plugin_api.testing import eventually
from tests.support.web import listening

ORDER = RunOrder(job_id="j-1", job_version=1, task="main", partition=0, partition_count=1, task_json="{}")
WEB = PortObserved(name="web", host="node", port=1234, target=80)


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.booleans(), max_size=30))
def test_only_so_many_answers_in_a_row_change_what_is_found(healthy: int, unhealthy: int, answers: list[bool]) -> None:
    verdicts, ready, row, bad = Verdicts(healthy, unhealthy), False, 0, 0
    for good in answers:
        row, bad = row + 1 if good is not ready else 0, 0 if good else bad + 1
        changes = row == (healthy if good else unhealthy)
        assert verdicts.count(good) is (changes or (not ready and bad == unhealthy))
        if changes:
            ready, row = good, 0
        assert verdicts.ready is ready


class Asked:
    """Answers in order, then for ever the last one; remembers where it was asked."""

    def __init__(self, *answers: bool) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    async def __call__(self, check: Check, host: str, port: int) -> Reply:
        self.asked.append((host, port))
        good = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Reply(good, "" if good else "it is busy")


def staged(check: Check | None = None) -> tuple[Stage, Staged]:
    task = TaskSpec(name="main", engine=SpecConfig(type="docker"), check=check)
    return Stage("e-1", ORDER, task, Resources()), Staged("e-1", (WEB,))


async def watched(asked: Asked, until: Callable[[list[Checked]], bool], check: Check) -> list[Checked]:
    told: list[Checked] = []
    enough = asyncio.Event()

    def post(event: Checked) -> None:
        told.append(event)
        if until(told):
            enough.set()

    checks = Checks(post, asked, near=lambda host: "127.0.0.1" if host == "node" else host)
    checks.staged(*staged(check))
    checks.begun("e-1", 3)
    async with asyncio.timeout(10):
        await enough.wait()
    checks.ended("e-1", Exited("e-1", exit_code=0))
    await checks.close()
    return told


async def test_a_start_is_asked_where_this_machine_reaches_it_and_told_of_once() -> None:
    asked = Asked(False, False, True)
    told = await watched(asked, bool, Check(tcp=TcpCheck(port="web"), interval=1))
    assert told == [Checked("e-1", 3, ready=True)]
    assert asked.asked == [("127.0.0.1", 1234)] * 3


async def test_what_does_not_become_ready_is_told_of_once_with_the_reason() -> None:
    check = Check(tcp=TcpCheck(port="web"), interval=1, unhealthy=2)
    told = await watched(Asked(False, False, False, True), lambda told: told[-1].ready, check)
    assert told == [Checked("e-1", 3, ready=False, why="not ready: it is busy"), Checked("e-1", 3, ready=True)]


async def test_what_has_no_check_is_not_asked() -> None:
    asked = Asked(True)
    checks = Checks(lambda _: None, asked)
    checks.staged(*staged())
    checks.begun("e-1", 1)
    checks.ended("e-1", None)
    checks.dropped("e-1")
    await checks.close()
    assert not asked.asked


def serving(answer: bytes) -> AbstractAsyncContextManager[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return listening(serve)


async def test_http_is_ready_by_its_status_and_tcp_by_its_connection() -> None:
    http, tcp = Check(http=HttpCheck(port="web")), Check(tcp=TcpCheck(port="web"))
    for status, ready in (("200 OK", True), ("302 Found", True), ("404 Not Found", False), ("503 No", False)):
        async with serving(f"HTTP/1.1 {status}\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".encode()) as port:
            answer = await ask_port(http, "127.0.0.1", port)
            assert answer == Reply(ready, "" if ready else f"GET / is answered {status[:3]}")
    async with serving(b"") as port:
        assert (await ask_port(tcp, "127.0.0.1", port)).good
    for check in (http, tcp):
        assert await ask_port(check, "127.0.0.1", port) == Reply(good=False, why=f"nothing listens on port {port}")


async def test_rubbish_and_silence_are_no_good_answers() -> None:
    check = Check(http=HttpCheck(port="web"), timeout=1)
    async with serving(b"\x00\xffno http\r\n\r\n") as port:
        assert await ask_port(check, "127.0.0.1", port) == Reply(
            good=False, why=f"what listens on port {port} does not answer as it should"
        )

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(mute) as port:
        answer = await ask_port(check, "127.0.0.1", port)
        assert (answer.good, "has not answered within 1 s" in answer.why) == (False, True)


async def test_an_answer_without_an_end_of_line_is_a_bad_one() -> None:
    async with serving(b"x" * 100_000) as port:
        answer = await ask_port(Check(http=HttpCheck(port="web"), timeout=5), "127.0.0.1", port)
        assert answer == Reply(good=False, why=f"what listens on port {port} does not answer as it should")


async def test_who_hangs_up_at_once_only_stands_before_what_should_listen() -> None:
    """As docker's proxy does before a container in which nothing listens."""
    check = Check(tcp=TcpCheck(port="web"))

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello")
        writer.close()

    async with listening(proxy) as port:
        answer = await ask_port(check, "127.0.0.1", port)
        assert answer == Reply(good=False, why=f"port {port} hangs up at once: nothing listens behind")
    async with listening(greets) as port:
        assert (await ask_port(check, "127.0.0.1", port)).good


async def test_a_check_that_breaks_is_a_bad_answer_and_asks_on() -> None:
    asked = 0

    async def broken(check: Check, host: str, port: int) -> Reply:
        nonlocal asked
        asked += 1
        if asked in (2, 3):
            raise RuntimeError("no such thing")
        return Reply(good=True)

    check = Check(tcp=TcpCheck(port="web"), interval=1, unhealthy=2)
    told = await watched(broken, lambda told: len(told) == 3, check)
    assert [each.ready for each in told] == [True, False, True]
    assert told[1].why == "not ready: the check itself went wrong: no such thing"


class Commanded:
    """An engine's commands, each as the test says; it counts how many run at once."""

    def __init__(self, *outcomes: CommandOutcome | SkreiError) -> None:
        self.outcomes, self.requests, self.running, self.most = list(outcomes), [], 0, 0  # type: ignore[var-annotated]
        self.gate = asyncio.Event()

    async def command(self, request: CommandRequest) -> CommandOutcome:
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, SkreiError):
            raise outcome
        return outcome


def asker(played: Commanded) -> CommandAsker:
    played.gate.set()
    return CommandAsker({"docker": played})  # type: ignore[dict-item]


INSIDE = Inside("e-1", 3, "Docker", ("pg_isready", "-q"), 2)


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (CommandOutcome(0, b"fine"), Reply(good=True)),
        (CommandOutcome(2, b"no\x00 response\n\n"), Reply(False, "its command ended with exit code 2: no response")),
        (CommandOutcome(1), Reply(False, "its command ended with exit code 1")),
        (CommandOutcome(None, b"waits"), Reply(False, "its command has not ended within 2 s and was killed: waits")),
        (SkreiError("it is gone"), Reply(False, "it is gone")),
    ],
)
async def test_a_command_is_good_by_its_exit_code_and_says_the_end_of_what_it_said(
    outcome: CommandOutcome | SkreiError, reply: Reply
) -> None:
    played = Commanded(outcome)
    assert await asker(played)(INSIDE) == reply
    assert played.requests == [CommandRequest("e-1", 3, ("pg_isready", "-q"), 2.0)]


async def test_of_a_command_that_says_much_the_end_is_told() -> None:
    reply = await asker(Commanded(CommandOutcome(1, b"x" * 2000 + b" why")))(INSIDE)
    assert reply.why.endswith(" why")
    assert len(reply.why) < SAID_CHARACTERS + 50


async def test_only_so_many_commands_run_at_once() -> None:
    played = Commanded(CommandOutcome(0))
    ask = CommandAsker({"docker": played})  # type: ignore[dict-item]
    asked = [asyncio.ensure_future(ask(INSIDE)) for _ in range(3 * COMMANDS_AT_ONCE)]
    await eventually(lambda: played.running == COMMANDS_AT_ONCE)
    played.gate.set()
    assert all(reply.good for reply in await asyncio.gather(*asked))
    assert played.most == COMMANDS_AT_ONCE


async def test_a_check_by_command_asks_beside_the_start_and_needs_no_port() -> None:
    told: list[Checked] = []
    played = Commanded(CommandOutcome(1, b"starting"), CommandOutcome(0))
    checks = Checks(told.append, inside=asker(played))
    wanted, answer = staged(Check(exec=ExecCheck(command=("true",)), interval=1, unhealthy=1))
    checks.staged(wanted, replace(answer, ports=()))
    checks.begun("e-1", 3)
    await eventually(lambda: len(told) == 2)
    await checks.close()
    why = "not ready: its command ended with exit code 1: starting"
    assert told == [Checked("e-1", 3, ready=False, why=why), Checked("e-1", 3, ready=True)]
    assert {(request.execution_id, request.start_number) for request in played.requests} == {("e-1", 3)}
