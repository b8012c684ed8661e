"""The joining side against all that may answer, or not, at the address that somebody typed."""

import contextlib
import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from skrei_domain.errors import Invalid, SkreiError, Unavailable
from skrei_embedded.nats import free_port
from skrei_kit import join, nats_auth
from skrei_kit.join import JOIN_PATH, KEY_REVOKED, NotOfSite, NotSkrei, Refused, read_kept, settle
from skrei_kit.sites import Site

TOKEN = "the-join-token"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(join, "GREETING_SECONDS", 0.5)


class ControlPlane:
    """An HTTP server that answers joins as it is told, or as a function of what it is asked, which it remembers."""

    def __init__(self, status: int, document: object) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status, self.document = status, document
        plane = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                plane.asked.append({"path": self.path, "shown": self.headers["Authorization"]} | json.loads(body))
                document, status = plane.document, plane.status
                if callable(document):
                    status, document = document(plane.asked[-1])
                raw = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def control_plane(status: int, document: object) -> Iterator[ControlPlane]:
    plane = ControlPlane(status, document)
    serving = threading.Thread(target=plane.server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield plane
    finally:
        plane.server.shutdown()
        serving.join()
        plane.server.server_close()


def lets_in(nats_url: str) -> dict[str, Any]:
    return {"NodeID": "n-1", "JWT": "a.b.c", "NATSURL": nats_url, "PublisherURL": "http://127.0.0.1:1"}


@contextmanager
def speaking(greeting: bytes) -> Iterator[int]:
    """A TCP server that says this to whoever comes; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), link:
                    link.sendall(greeting)
                    link.shutdown(socket.SHUT_WR)
                    while link.recv(4_096):
                        pass  # closing with unread bytes would reset the link under the reader

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir(exist_ok=True)
    return tmp_path / "data"


def test_who_is_let_in_keeps_what_it_was_told_to_itself(tmp_path: Path, nats_url: str) -> None:
    with control_plane(200, lets_in(nats_url)) as plane:
        joined = settle(folder(tmp_path), plane.url, TOKEN)
        again = settle(folder(tmp_path), plane.url, TOKEN)
    assert joined is not None
    assert again == joined == read_kept(folder(tmp_path))
    assert joined.nats_url == nats_url
    first, second = plane.asked
    assert (first["path"], first["shown"]) == (JOIN_PATH, f"Bearer {TOKEN}")
    assert nats_auth.is_user_key(first["PublicKey"])
    assert (first["NodeID"], first["PublicKey"]) == (second["NodeID"], second["PublicKey"])
    keys = folder(tmp_path) / "keys"
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert (keys / "node.seed").read_text() in Path(joined.nats_creds).read_text()
    assert (keys / "node.seed").read_text() not in json.dumps(plane.asked)
    assert TOKEN not in "".join(path.read_text() for path in keys.iterdir())


def test_a_node_that_joined_starts_again_without_the_token_and_without_the_control_plane(
    tmp_path: Path, nats_url: str
) -> None:
    with control_plane(200, lets_in(nats_url)) as plane:
        joined = settle(folder(tmp_path), plane.url, TOKEN)
    assert settle(folder(tmp_path), None, None) == joined
    assert settle(folder(tmp_path), plane.url, None) == joined
    assert settle(folder(tmp_path), plane.url, TOKEN) == joined
    with pytest.raises(Unavailable):
        settle(folder(tmp_path), plane.url, TOKEN, take_over=True)


def test_the_nodes_of_a_site_take_its_places_and_reach_its_own_server(tmp_path: Path, nats_url: str) -> None:
    site = Site("ship", nats_url, "skrei", "a certificate", ("n-a", "n-b"))
    holders: dict[str, str] = {}

    def lets_in_who_comes_first(body: dict[str, Any]) -> tuple[int, object]:
        if holders.setdefault(body["NodeID"], body["PublicKey"]) != body["PublicKey"]:
            return 409, refuses(409, "in use")
        return 200, lets_in("nats://10.255.255.1:4222")

    machines = [tmp_path / name for name in ("one", "two", "three")]
    for machine in machines:
        machine.mkdir()
    with control_plane(0, lets_in_who_comes_first) as plane:
        joined = [settle(each, plane.url, TOKEN, site=site) for each in machines[:2]]
        assert joined == [settle(each, plane.url, TOKEN, site=site) for each in machines[:2]], "and stay who they are"
        with pytest.raises(Refused, match="none of the 2 places of site ship is free") as full:
            settle(machines[2], plane.url, TOKEN, site=site)
        assert "--places" in full.value.hint
        farm = replace(site, name="farm", places=("n-c",))
        for take_over in (True, False):
            with pytest.raises(NotOfSite, match="which is none of site farm"):
                settle(machines[0], plane.url, TOKEN, site=farm, take_over=take_over)
        with pytest.raises(Invalid, match="which node of site ship"):
            settle(machines[2], plane.url, TOKEN, site=site, take_over=True)
    assert {each.node_id for each in joined if each} == set(site.places)
    for each in joined:
        assert each is not None
        assert (each.nats_url, each.nats_domain, Path(each.nats_ca).read_text()) == (nats_url, "skrei", "a certificate")
    assert [settle(each, None, None) for each in machines[:2]] == joined


def test_a_machine_whose_key_was_revoked_does_not_ask_for_each_place_of_a_site(tmp_path: Path) -> None:
    site = Site("ship", "nats://10.255.255.1:4222", "skrei", "", ("n-a", "n-b"))
    refusal = refuses(409, "this machine's key was revoked", "make another") | {"Details": {"Reason": KEY_REVOKED}}
    with control_plane(409, refusal) as plane, pytest.raises(Refused, match="key was revoked") as told:
        settle(folder(tmp_path), plane.url, TOKEN, site=site)
    assert (told.value.hint, len(plane.asked)) == ("make another", 1)


def test_a_machine_that_never_joined_needs_a_token(tmp_path: Path) -> None:
    assert settle(folder(tmp_path), None, None) is None
    with pytest.raises(Invalid, match="needs its join token") as caught:
        settle(folder(tmp_path), "http://10.0.0.1:1234", None)
    assert "skrei node join-line" in caught.value.hint


def refuses(status: int, message: str, hint: str = "") -> dict[str, Any]:
    return {"Status": status, "Message": message, "Code": "x", "Component": "Authorizer", "Hint": hint}


@pytest.mark.parametrize(
    ("status", "document", "error", "said"),
    [
        (401, refuses(401, "the join token is not the one", "print it"), Refused, "the join token is not the one"),
        (409, refuses(409, "node n-1 is in use", "--take-over"), Refused, "in use"),
        (400, refuses(400, "this machine's clock is 3 hours behind", "set it"), Refused, "3 hours behind"),
        (429, refuses(429, "too many wrong tokens", "wait"), Refused, "too many"),
        (503, refuses(503, "away"), Unavailable, "not ready"),
        (502, b"<html>bad gateway</html>", Unavailable, "not ready"),
        (404, refuses(404, "no such path"), NotSkrei, "not Skrei's API"),
        (200, b"<html>hello</html>", NotSkrei, "not Skrei's API"),
        (200, {"hello": "world"}, NotSkrei, "not Skrei's API"),
        (200, [], NotSkrei, "not Skrei's API"),
        (301, b"", NotSkrei, "not Skrei's API"),
        (401, b"Unauthorized", NotSkrei, "not Skrei's API"),
        (200, {"JWT": "a.b.c"}, NotSkrei, "not as a control plane does"),
    ],
)
def test_each_answer_is_told_in_a_line_with_what_to_do(
    tmp_path: Path, status: int, document: object, error: type[SkreiError], said: str
) -> None:
    with control_plane(status, document) as plane, pytest.raises(error, match=said) as caught:
        settle(folder(tmp_path), plane.url, TOKEN)
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    assert read_kept(folder(tmp_path)) is None


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b'INFO {"x":"' + b"y" * 900 + b'"}\r\n', b"\x1b[2J\x00"]
)
def test_what_speaks_another_language_is_not_skrei_and_is_quoted_within_bounds(tmp_path: Path, greeting: bytes) -> None:
    with speaking(greeting) as port, pytest.raises(NotSkrei, match="not in HTTP") as caught:
        settle(folder(tmp_path), f"http://127.0.0.1:{port}", TOKEN)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 120


@pytest.mark.parametrize("url", ["10.0.0.1:1234", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://[::1"])
def test_what_is_no_address_is_refused_before_anybody_is_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(Invalid, match="no address"):
        settle(folder(tmp_path), url, TOKEN)


@pytest.mark.parametrize("token", ["a b", "a\r\nHost: x", "\N{SNOWMAN}", "x" * 513])
def test_what_is_no_token_is_refused_before_anybody_is_asked(tmp_path: Path, token: str) -> None:
    with pytest.raises(Invalid, match="characters that no token has"):
        settle(folder(tmp_path), "http://127.0.0.1:1", token)


def test_https_where_nobody_speaks_it_is_said_so(tmp_path: Path) -> None:
    with control_plane(200, {}) as plane, pytest.raises(NotSkrei, match="no TLS") as caught:
        settle(folder(tmp_path), plane.url.replace("http", "https"), TOKEN)
    assert "http://" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        (lambda: f"http://127.0.0.1:{free_port()}", Unavailable, "cannot be reached: Connection refused"),
        (lambda: "http://no-such-machine.invalid:1234", Invalid, "no machine of that name"),
    ],
)
def test_an_address_where_nobody_is(tmp_path: Path, url: Callable[[], str], error: type[SkreiError], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        settle(folder(tmp_path), url(), TOKEN)
    assert caught.value.hint


def test_a_transport_that_cannot_be_reached_is_named_with_its_port(tmp_path: Path) -> None:
    port = free_port()
    with (
        control_plane(200, lets_in(f"nats://127.0.0.1:{port}")) as plane,
        pytest.raises(Unavailable, match=f"NATS at 127.0.0.1:{port} cannot be reached") as caught,
    ):
        settle(folder(tmp_path), plane.url, TOKEN)
    assert f"TCP port {port}" in caught.value.hint
    assert read_kept(folder(tmp_path)) is None


def test_something_else_on_the_transports_port_is_told_from_it(tmp_path: Path) -> None:
    with (
        speaking(b"220 mail\r\n") as port,
        control_plane(200, lets_in(f"nats://127.0.0.1:{port}")) as plane,
        pytest.raises(Unavailable, match="no nats-server"),
    ):
        settle(folder(tmp_path), plane.url, TOKEN)
