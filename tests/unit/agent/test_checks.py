"""When what runs is ready: answers counted, starts asked for as long as they run, and changes told once."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from hypothesis import given
from hypothesis import strategies as st

from skrei_compute_agent.checks import Checks, Verdicts, ask_port
from skrei_compute_agent.events import Checked, Exited, Stage, Staged
from skrei_domain.messages import PortObserved, RunOrder
from skrei_domain.resources import Resources
from skrei_domain.spec import Check, HttpCheck, SpecConfig, TaskSpec, TcpCheck
from tests.support.web import listening

ORDER = RunOrder(job_id="j-1", job_version=1, task="main", partition=0, partition_count=1, task_json="{}")
WEB = PortObserved(name="web", host="node", port=1234, target=80)


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.booleans(), max_size=30))
def test_only_so_many_answers_in_a_row_change_what_is_found(healthy: int, unhealthy: int, answers: list[bool]) -> None:
    verdicts, ready, row = Verdicts(healthy, unhealthy), False, 0
    for good in answers:
        row = row + 1 if good is not ready else 0
        changes = row == (healthy if good else unhealthy)
        assert verdicts.count(good) is changes
        if changes:
            ready, row = good, 0
        assert verdicts.ready is ready


class Asked:
    """Answers in order, then for ever the last one; remembers where it was asked."""

    def __init__(self, *answers: bool) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    async def __call__(self, check: Check, host: str, port: int) -> bool:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


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
            assert await ask_port(http, "127.0.0.1", port) is ready
            assert await ask_port(tcp, "127.0.0.1", port)
    assert not await ask_port(http, "127.0.0.1", port)
    assert not await ask_port(tcp, "127.0.0.1", port)


async def test_rubbish_and_silence_are_no_good_answers() -> None:
    check = Check(http=HttpCheck(port="web"), timeout=1)
    async with serving(b"\x00\xffno http\r\n\r\n") as port:
        assert not await ask_port(check, "127.0.0.1", port)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(mute) as port:
        assert not await ask_port(check, "127.0.0.1", port)
