"""Where the stack listens, and what others are told of it."""

import socket

import pytest

from skrei_domain.errors import Invalid, Unavailable
from skrei_embedded import doors
from skrei_embedded.doors import Listen, check_free, near_host, read_listen
from skrei_embedded.nats import free_port
from skrei_embedded.whereabouts import StackOptions, Whereabouts
from skrei_kit.join import Joined


@pytest.mark.parametrize("text", [None, ""])
@pytest.mark.row("1.1/listen")
def test_nobody_else_is_let_in_unless_an_address_is_named(text: str | None) -> None:
    assert read_listen(text) == Listen(("127.0.0.1",), "127.0.0.1", "")


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("10.0.0.7", Listen(("127.0.0.1", "10.0.0.7"), "10.0.0.7", "10.0.0.7")),
        ("fd00::7", Listen(("127.0.0.1", "fd00::7"), "fd00::7", "fd00::7")),
        ("[fd00::7]", Listen(("127.0.0.1", "fd00::7"), "fd00::7", "fd00::7")),
        ("127.0.0.2", Listen(("127.0.0.2",), "127.0.0.2", "")),
        ("::1", Listen(("::1",), "::1", "")),
    ],
)
def test_this_machine_keeps_loopback_beside_an_address(text: str, listen: Listen) -> None:
    assert read_listen(text) == listen


def test_everywhere_is_told_as_an_address_that_others_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "usable_address", lambda: "192.0.2.9")
    assert read_listen("0.0.0.0") == Listen(("0.0.0.0",), "0.0.0.0", "192.0.2.9")


@pytest.mark.parametrize("text", ["no-such-machine.invalid", "10.0.0.1:1234", "http://10.0.0.1", "a b", "x" * 300])
def test_what_is_no_address_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_listen(text)
    assert "ip address" in caught.value.hint


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(Unavailable) as caught:
        check_free("203.0.113.1", 1234, "--port")
    assert "--listen" in caught.value.hint


def test_a_port_that_is_taken_on_any_of_the_hosts_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as caught:
            check_free("127.0.0.1,127.0.0.2", port, "--port")
    assert "--port" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1,10.0.0.7", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("fd00::7", "[fd00::7]")],
)
def test_how_this_machine_reaches_itself(host: str, near: str) -> None:
    assert near_host(host) == near


def test_children_use_loopback_and_nodes_are_told_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SKREI_PUBLISHER_URL", "SKREI_API_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SKREI_API_URL", "http://somewhere.else:1234")  # a client's: it names no server of ours
    addresses = Whereabouts(StackOptions(listen="10.0.0.7")).addresses("db", "nats://10.0.0.7:4222")
    assert (addresses.api_host, addresses.api_url) == ("127.0.0.1,10.0.0.7", "http://127.0.0.1:1234")
    assert addresses.join_url == "http://10.0.0.7:1234"
    assert addresses.public_publisher_url == "http://10.0.0.7:1235"
    alone = Whereabouts(StackOptions()).addresses("db", "nats://127.0.0.1:4222")
    assert (alone.join_url, alone.public_publisher_url) == ("", "")


def test_a_node_asks_the_api_that_it_joined_whatever_its_owners_shell_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_API_URL", "http://somewhere.else:1234")
    node = Whereabouts(StackOptions(orchestrator=False))
    assert node.addresses("", "nats://a:4222").api_url == "http://somewhere.else:1234", "nobody else says it"
    node.joined = Joined("n-1", "http://a:1234", "nats://a:4222", "/creds", "http://a:1234", "http://a:1235")
    assert node.addresses("", "nats://a:4222").api_url == "http://a:1234"


def test_no_port_is_given_twice_before_it_can_be_opened() -> None:
    """The kernel has some 28,000 to choose from, and would choose a dozen of these again."""
    ports = [free_port() for _ in range(900)]
    assert len(set(ports)) == len(ports)
