"""Certificates and time limits of a profile hold for every way to its API: calls, output and downloads."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.server import ServerConnection, serve

from skrei import AsyncClient, Client, calls, profiles, transport
from skrei.cli import log_frames
from skrei.cli.ask import Ask
from skrei.cli.doors import opened
from skrei.cli.log_frames import frames
from skrei.errors import LogsFailed, Unreachable
from skrei.log_query import LogQuery
from skrei.profiles import Profile, Profiles
from skrei.trust import context_for, limit_seconds
from skrei.views import LogLine
from tests.support.fake_api import FakeApi, job
from tests.support.served_api import serving

JOBS = "/api/v1/orchestrator/jobs"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """What a server shows that has made its certificate itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "box")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1)
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(
        made.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.fixture
def endpoint(tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with serving(FakeApi({f"GET {JOBS}/x": {"Job": job()}}), tls) as url:
        yield url


def ask_command_line(url: str) -> None:
    with Ask(url) as ask:
        assert ask.send(calls.job("x")).name == "hello"


def ask_sdk(url: str) -> None:
    with Client(url) as client:
        assert client.job("x").name == "hello"


def read_output_command_line(url: str) -> None:
    with pytest.raises(LogsFailed, match="did not open a log stream"):  # what answers speaks no WebSocket
        next(frames(url, LogQuery("x")))


def read_output_sdk(url: str) -> None:
    with Client(url) as client, pytest.raises(LogsFailed, match="did not open a log stream"):
        next(client.logs("x"))


WAYS = (ask_command_line, ask_sdk, read_output_command_line, read_output_sdk)


@pytest.mark.parametrize("way", WAYS)
def test_a_certificate_that_nobody_vouches_for_is_refused_in_the_same_words(
    way: Callable[[str], None], endpoint: str
) -> None:
    with pytest.raises(Unreachable, match=r"^The certificate of https://127.0.0.1:\d+ is not trusted: self-signed"):
        way(endpoint)


@pytest.mark.parametrize("way", WAYS)
def test_a_profile_that_does_not_look_at_certificates_holds_everywhere(
    way: Callable[[str], None], endpoint: str
) -> None:
    profiles.store(Profiles({"box": Profile("box", endpoint, insecure=True)}))
    way(endpoint)


async def test_output_over_tls_comes_frame_by_frame_and_a_quiet_stream_gives_its_reader_a_turn(
    tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(log_frames, "LOOK_SECONDS", 0.01)
    loop, waited = asyncio.get_running_loop(), asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        await connection.send('{"value": {"Type": 1, "Line": "one"}}')
        await waited.wait()
        await connection.send('{"value": {"Type": 2, "Line": "two"}}')

    def read(url: str) -> list[LogLine | None]:
        heard: list[LogLine | None] = []
        for said in frames(url, LogQuery("x")):
            heard.append(said)
            if heard[-2:] == [LogLine(1, "one"), None]:
                loop.call_soon_threadsafe(waited.set)
        return heard

    async with serve(talk, "127.0.0.1", 0, ssl=tls) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        profiles.store(Profiles({"box": Profile("box", url, insecure=True)}))
        heard = await asyncio.to_thread(read, url)
    assert [said for said in heard if said is not None] == [LogLine(1, "one"), LogLine(2, "two")]
    assert heard[0] is None


def test_downloads_from_the_api_s_host_alone_are_trusted_as_it_is(endpoint: str) -> None:
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        opened(endpoint, f"{endpoint}{JOBS}/x", silence_seconds=30)
    profiles.store(Profiles({"box": Profile("box", endpoint, insecure=True)}))
    with opened(endpoint, f"{endpoint}{JOBS}/x", silence_seconds=30) as answer:
        assert answer.status == 200
    elsewhere = context_for(endpoint, "https://s3.example/result")
    assert elsewhere is not None
    assert elsewhere.verify_mode == ssl.CERT_REQUIRED
    assert context_for("http://box:1") is None


async def test_what_a_profile_says_of_a_host_holds_for_downloads_from_an_address_in_brackets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken: list[ssl.SSLContext | None] = []

    def taking(endpoint: str, url: str = "") -> ssl.SSLContext | None:
        taken.append(context_for(endpoint, url))
        return taken[-1]

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(transport, "context_for", taking)
    profiles.store(Profiles({"box": Profile("box", "https://[::1]:1234", insecure=True)}))
    api = FakeApi({"GET /results/e": {}})
    async with AsyncClient("https://[::1]:1234", transport=api.transport) as client:
        for url in ("/results/e", "https://[::2]:1234/results/e"):
            async with client.download(url, {}) as answer:
                assert answer.status_code == 200
    assert [context and context.verify_mode for context in taken] == [*[ssl.CERT_NONE] * 2, ssl.CERT_REQUIRED]


def test_authorities_are_read_once_for_all_connections(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = context_for(endpoint)
    assert context_for(endpoint, "https://s3.example/result") is first
    profiles.store(Profiles({"box": Profile("box", endpoint, insecure=True)}))
    assert context_for(endpoint) is not first
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert context_for(endpoint, "https://s3.example/result") is not first


async def test_a_name_that_leads_nowhere_is_told_as_that() -> None:
    def lost(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("lookup") from socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with AsyncClient("http://skrie.example", transport=httpx2.MockTransport(lost)) as client:
        with pytest.raises(Unreachable) as raised:
            await client.send(calls.version())
    assert raised.value.message == "The name in http://skrie.example leads nowhere: Name or service not known."
    assert raised.value.hint.startswith("Check the address")


def test_what_speaks_no_tls_is_told_with_the_address_that_may_be_meant() -> None:
    with serving(FakeApi({})) as url:
        for way in WAYS:
            with pytest.raises(Unreachable, match="speaks no TLS") as refused:
                way(url.replace("http:", "https:"))
            assert refused.value.hint == f"Try --api {url}"


def test_a_profile_s_limit_holds_unless_the_call_says_another(endpoint: str) -> None:
    assert limit_seconds(endpoint, None) == 35
    profiles.store(Profiles({"box": Profile("box", endpoint, timeout_seconds=90)}))
    assert (limit_seconds(endpoint, None), limit_seconds(endpoint, 1.0)) == (90, 1)
