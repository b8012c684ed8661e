"""The HTTP functions of wasm programs: whom they reach, what they answer, and what a program's memory gets of it."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skrei_plugin_api.engine import ServiceWay
from skrei_plugin_api.outbound import Found, Outbound, networks
from skrei_plugin_wasm import web as webs
from skrei_plugin_wasm.web import Asked, Refused, Result, Web, most_bytes, read_headers
from tests.support.wasm_engine import Bench, failure
from tests.support.wat import wat
from tests.support.web import listening

LOCAL = networks(["127.0.0.0/8"])

ASK = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi:http/requests" "http_request"
    (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 1024) "{url}")
  (data (i32.const 4096) "X-Mine: 1\\nHost: evil.org\\n")
  (data (i32.const 5000) "body")
  (func (export "_start") (local $result i32)
    (i32.store (i32.const 16) (i32.const 2048))
    (i32.store (i32.const 20) (i32.const {room}))
    (local.set $result (call $ask (i32.const {method}) (i32.const 1024) (i32.const {size}) (i32.const 4096)
      (i32.const 26) (i32.const 5000) (i32.const 4) (i32.const 8192) (i32.const 16) (i32.const {at}) (i32.const 20)
      (i32.const 24)))
    (i32.store (i32.const 0) (i32.const 16384))
    (i32.store (i32.const 4) (i32.load (i32.const 20)))
    (if (i32.eqz (local.get $result))
      (then (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $exit (i32.load (i32.const 24)))))
    (call $exit (local.get $result))))
"""


def asking(url: str, *, method: int = 1, room: int = 4096, at: int = 16384) -> bytes:
    """A program that asks once, prints what it gets, and exits with the status, or with why it got none."""
    text = ASK.format(url=url, size=len(url), method=method, room=room, at=at)
    return wat(text)


class Site:
    """Keeps what it hears; answers with `hello`, or by its path."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        self.heard.append(head + await reader.readexactly(size))
        path = head.split(b" ")[1].decode()
        if path.startswith("/to/"):
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {path[4:]}\r\nContent-Length: 0\r\n\r\n".encode())
        elif path == "/silent":
            await reader.read()
        elif path.startswith("/dripping"):
            writer.write(b"HTTP/1.1 200 OK\r\n" + (b"X: " if path.endswith("head") else b"\r\n"))
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.02)
        elif path == "/large":
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 300_000)
        else:
            writer.write(b"HTTP/1.1 201 Created\r\nX-Theirs: 2\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    async with listening(made.handle) as made.port:
        yield made


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, grace_seconds="0.2", allow_addresses=["127.0.0.0/8"])
    yield bench
    await bench.engine.close()


# ---------------------------------------------------------------- a program and its memory


@pytest.mark.parametrize(("network", "domains"), [("Default", []), ("Host", []), ("HTTP", ["localhost"])])
@pytest.mark.row("5.3/http-request")
async def test_a_program_asks_and_gets_status_headers_and_body(
    bench: Bench, site: Site, network: str, domains: list[str]
) -> None:
    outcome = await bench.run(asking(f"{site.url}/a"), network=network, domains=domains)
    assert (outcome.exit_code, outcome.stdout_head.data) == (201, b"hello")
    (heard,) = site.heard
    assert heard.startswith(b"POST /a HTTP/1.1\r\n")
    assert b"X-Mine: 1\r\n" in heard
    assert f"Host: localhost:{site.port}".encode() in heard
    assert b"evil.org" not in heard
    assert heard.endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize(("network", "domains"), [("None", []), ("Default", []), ("HTTP", ["example.com"])])
async def test_a_service_of_the_node_is_reached_without_any_other_leave_and_nothing_beside_it(
    tmp_path: Path, site: Site, network: str, domains: list[str]
) -> None:
    bench = Bench(tmp_path / "closed")
    way = ServiceWay("SKREI_SERVICE_WEB", "127.0.0.1", site.port)
    try:
        reached = await bench.run(
            asking(f"http://127.0.0.1:{site.port}/a"), network=network, domains=domains, services=[way]
        )
        beside = [f"http://127.0.0.1:{site.port + 1}/", f"http://127.0.0.2:{site.port}/", site.url]
        others = [await bench.run(asking(url), network=network, domains=domains, services=[way]) for url in beside]
    finally:
        await bench.engine.close()
    assert reached.exit_code == 201
    assert {each.exit_code for each in others} == {Result.NOT_ALLOWED}
    assert len(site.heard) == 1


@pytest.mark.row("5.3/http-domains")
async def test_a_domain_that_is_not_listed_is_not_reached(bench: Bench, site: Site) -> None:
    outcome = await bench.run(asking(site.url), network="HTTP", domains=["example.com"])
    assert outcome.exit_code == Result.NOT_ALLOWED
    assert site.heard == []


@pytest.mark.row("5.3/http-private-addresses")
async def test_a_private_address_is_not_reached_without_the_owners_leave(tmp_path: Path, site: Site) -> None:
    bench = Bench(tmp_path / "closed")
    try:
        for network, domains in (("Default", []), ("HTTP", ["localhost"])):
            outcome = await bench.run(asking(site.url), network=network, domains=domains)
            assert outcome.exit_code == Result.NOT_ALLOWED
    finally:
        await bench.engine.close()
    assert site.heard == []


@pytest.mark.row("5.3/http-request")
async def test_without_a_network_there_is_no_such_module(bench: Bench, site: Site) -> None:
    code, message = failure(await bench.run(asking(site.url), network="None"))
    assert code == "module-invalid"
    assert "Network.Type None" in message


@pytest.mark.parametrize(
    ("program", "result"),
    [
        (asking("ftp://localhost/"), Result.INVALID_URL),
        (asking("http://localhost:99999/"), Result.INVALID_URL),
        (asking("http://localhost:1/"), Result.NOT_ALLOWED),
        (asking("http://localhost:1025/"), Result.NETWORK_ERROR),
        (asking("http://localhost:1025/", at=0), Result.BAD_INPUT),
    ],
)
@pytest.mark.row("5.3/http-result-codes")
async def test_what_goes_wrong_has_its_number(bench: Bench, program: bytes, result: Result) -> None:
    assert (await bench.run(program, network="Host")).exit_code == result


async def test_what_does_not_fit_into_memory_is_cut_or_refused(bench: Bench, site: Site) -> None:
    outcome = await bench.run(asking(site.url, room=3), network="Host")
    assert (outcome.exit_code, outcome.stdout_head.data) == (201, b"hel")
    assert (await bench.run(asking(site.url, at=262_142), network="Host")).exit_code == Result.MEMORY_ERROR


@pytest.mark.row("5.3/http-limits")
async def test_an_answer_beyond_its_limit_is_too_large(bench: Bench, site: Site) -> None:
    assert (await bench.run(asking(f"{site.url}/large"), network="Host")).exit_code == Result.TOO_LARGE


# ---------------------------------------------------------------- the web itself


def local(host: str, port: int) -> list[Found]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


async def ask(web: Web, url: str, most: int = 1 << 20) -> webs.Answer:
    return await asyncio.to_thread(web.ask, Asked("GET", url, (("Authorization", "secret"),)), most)


async def test_redirects_are_followed_where_the_list_goes(site: Site) -> None:
    web = Web(Outbound(("one.example", "two.example"), LOCAL), local)
    start = f"http://one.example:{site.port}/to/"
    assert (await ask(web, f"{start}http://two.example:{site.port}/x")).body == b"hello"
    assert b"secret" in site.heard[0]
    assert b"secret" not in site.heard[1]  # it was for the other site
    with pytest.raises(Refused, match=r"host not allowed: three\.example") as refused:
        await ask(web, f"{start}http://three.example:{site.port}/x")
    assert refused.value.result is Result.NOT_ALLOWED
    with pytest.raises(Refused, match="more than 10 redirects"):
        await ask(web, f"http://one.example:{site.port}" + "/to/" * 12 + "x")


@pytest.mark.row("5.3/http-limits")
async def test_a_site_that_says_nothing_is_a_timeout(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert webs.SECONDS == 30
    monkeypatch.setattr(webs, "SECONDS", 0.1)
    with pytest.raises(Refused) as refused:
        await ask(Web(Outbound(None, LOCAL), local), f"http://a.example:{site.port}/silent")
    assert refused.value.result is Result.TIMEOUT


@pytest.mark.parametrize("path", ["/dripping", "/dripping-head"])
async def test_a_site_that_says_a_byte_now_and_then_meets_the_same_limit(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(webs, "SECONDS", 0.3)
    with pytest.raises(Refused) as refused:
        await ask(Web(Outbound(None, LOCAL), local), f"http://a.example:{site.port}{path}")
    assert refused.value.result is Result.TIMEOUT


async def test_a_look_up_that_hangs_meets_the_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webs, "SECONDS", 0.1)
    hangs = threading.Event()

    def look_up(host: str, port: int) -> list[Found]:
        hangs.wait(10)
        return []

    with pytest.raises(Refused) as refused:
        await ask(Web(Outbound(None, LOCAL), look_up), "http://a.example/")
    hangs.set()
    assert refused.value.result is Result.TIMEOUT


async def test_a_redirect_to_no_address_is_a_failure_of_the_site(bench: Bench, site: Site) -> None:
    outcome = await bench.run(asking(f"{site.url}/to/http://[bad/"), network="Default")
    assert outcome.exit_code == Result.NETWORK_ERROR


async def test_tls_is_tried_and_its_failure_told() -> None:
    heard: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(3))

    async with listening(handle) as port:
        with pytest.raises(Refused) as refused:
            await ask(Web(Outbound(None, LOCAL), local), f"https://a.example:{port}/")
    assert heard == [b"\x16\x03\x01"]
    assert refused.value.result is Result.NETWORK_ERROR


def test_headers_are_lines_and_never_the_host() -> None:
    assert read_headers("A: 1\nhost: x\nno colon\n : y\nB:2\r\n") == (("A", "1"), ("B", "2"))


async def test_a_header_that_would_be_two_is_refused(site: Site) -> None:
    asked = Asked("GET", f"http://a.example:{site.port}/", (("A", "1\r\nB: 2"),))
    with pytest.raises(Refused) as refused:
        await asyncio.to_thread(Web(Outbound(None, LOCAL), local).ask, asked, 100)
    assert refused.value.result is Result.BAD_INPUT


def test_an_answer_may_have_four_fifths_of_memory() -> None:
    assert [most_bytes(size) for size in (0, 1_000_000, 2**40)] == [65_536, 800_000, 100 * 1024 * 1024]
