"""A service says whether it lives and is ready, over a real socket, to whoever asks well and to whoever does not."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from skrei_domain.errors import Invalid, Unavailable
from skrei_embedded.nats import free_port
from skrei_kit import health_check, health_door
from skrei_kit.health import Health
from skrei_kit.health_door import CONNECTIONS, HEAD_BYTES, listening
from skrei_kit.settings import Settings, host_and_port, load


@asynccontextmanager
async def asked(health: Health) -> AsyncIterator[int]:
    port = free_port()
    async with listening(f"127.0.0.1:{port}", health):
        yield port


async def get(port: int, raw: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    answer = b""
    with contextlib.suppress(ConnectionError):  # closed before it had read what was asked
        answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]) if head else 0, body


def a(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def test_alive_is_who_answers_and_ready_is_who_finds_nothing_wrong() -> None:
    health, wrong = Health(), [""]
    health.check("record", lambda: wrong[0])
    async with asked(health) as port:
        assert (await get(port, a("GET", "/readyz?verbose"))) == (
            200,
            b'{"Status": "OK", "Checks": {"record": "OK"}}\n',
        )
        wrong[0] = "it is away"
        health.check("transport", lambda: "")
        status, body = await get(port, a("GET", "/readyz"))
        assert status == 503
        assert json.loads(body) == {"Status": "NotReady", "Checks": {"record": "it is away", "transport": "OK"}}
        assert (await get(port, a("GET", "/healthz")))[0] == 200
        assert (await get(port, a("HEAD", "/healthz"))) == (200, b"")


async def test_figures_are_told() -> None:
    health = Health()
    health.figures.counter("skrei_x_total", "Any.").add(3)
    async with asked(health) as port:
        assert b"skrei_x_total 3\n" in (await get(port, a("GET", "/metrics")))[1]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (a("GET", "/"), 404),
        (a("GET", "/metrics/.."), 404),
        (a("POST", "/metrics"), 405),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/2\r\n\r\n", 400),
        (b"\xff\xfe\0\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES + 1) + b"\r\n\r\n", 431),
    ],
)
async def test_rubbish_is_answered_and_harms_nobody(raw: bytes, status: int) -> None:
    async with asked(Health()) as port:
        assert (await get(port, raw))[0] == status
        assert (await get(port, a("GET", "/healthz")))[0] == 200


async def test_who_says_nothing_is_let_go_and_too_many_are_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_door, "REQUEST_SECONDS", 0.2)
    async with asked(Health()) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
        assert await get(port, a("GET", "/healthz")) == (0, b"")  # all places are taken
        assert [await asyncio.wait_for(reader.read(), 10) for reader, _ in silent] == [b""] * CONNECTIONS
        assert (await get(port, a("GET", "/healthz")))[0] == 200
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()


async def test_a_check_that_hangs_is_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skrei_kit.health.CHECK_SECONDS", 0.05)
    health = Health()

    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    health.check("record", hang)
    assert await health.wrong() == {"record": "it did not answer within 0.05 s"}


async def test_however_many_ask_things_are_looked_at_once_a_second() -> None:
    health, looks = Health(), []
    health.check("record", lambda: looks.append(1) or "")  # type: ignore[func-returns-value]
    await asyncio.gather(*(health.ready() for _ in range(50)))
    assert len(looks) == 1


async def test_nothing_listens_unless_it_is_asked_for() -> None:
    async with listening("", Health()):
        pass


async def test_a_taken_port_is_told_with_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable) as refused:
            async with listening(f"127.0.0.1:{taken.getsockname()[1]}", Health()):
                pass
    assert "SKREI_HEALTH_LISTEN" in refused.value.hint


async def test_an_image_asks_without_curl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    health = Health()
    health.check("record", lambda: "it is away")

    async def check(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["health_check", *arguments])
        try:
            await asyncio.to_thread(health_check.main)
        except SystemExit as ended:
            return str(ended.code)
        return ""

    async with asked(health) as port:
        monkeypatch.setenv("SKREI_HEALTH_LISTEN", f"0.0.0.0:{port}")
        assert "it is away" in await check()
        assert await check("--live") == ""
    assert "nothing answers at 0.0.0.0" in await check("--live")
    monkeypatch.delenv("SKREI_HEALTH_LISTEN")
    assert "set SKREI_HEALTH_LISTEN" in await check()


@pytest.mark.parametrize("text", ["1236", "localhost", "::1:1236", "a:b", "a:65536", ":1236"])
def test_what_is_no_address_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_HEALTH_LISTEN", text)
    with pytest.raises(Invalid, match=r"SKREI_HEALTH_LISTEN: .* is no address to listen on"):
        load(Settings)


def test_addresses_of_both_kinds_are_read() -> None:
    assert host_and_port("[::1]:1236") == ("::1", 1236)
    assert host_and_port("0.0.0.0:0") == ("0.0.0.0", 0)
