"""How the owner of a node says which services it offers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.bounds import wrong_with_info
from skrei_domain.node import NodeInfo, NodeService
from skrei_domain.node_changes import changes
from skrei_domain.node_services import Offered, parse_offered


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("127.0.0.1:27017", Offered("db", "127.0.0.1", 27017)),
        (" Localhost:5432 ", Offered("db", "localhost", 5432)),
        ("[::1]:5432", Offered("db", "::1", 5432)),
        ("db.intern:1", Offered("db", "db.intern", 1)),
        ("file:///srv/x.duckdb", Offered("db", path="/srv/x.duckdb")),
        ("file:///srv/x:rw", Offered("db", path="/srv/x", read_write=True)),
        ("file:///srv/x:ro", Offered("db", path="/srv/x")),
    ],
)
def test_a_service_is_an_address_or_a_file(text: str, told: Offered) -> None:
    found = parse_offered("db", text)
    assert found == told
    assert parse_offered("db", found.text) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "27017", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "::1:80", "[::g]:80", "[]:80"),
        *(
            "mongodb://user:pw@host:1",
            "a b:1",
            "file://srv/x",
            "file:///srv/\0",
            "host:८०",
            "unix:///run/x.sock",
            "/srv/x",
        ),
    ],
)
def test_what_is_neither_is_refused_with_what_would_do(text: str) -> None:
    with pytest.raises(ValueError, match="is not where a service is: an address such as"):
        parse_offered("db", text)


@pytest.mark.parametrize("name", ["", "My DB", "-db", "x" * 64, "../db"])
def test_a_name_becomes_part_of_a_path_and_is_as_plain(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a service: lower case letters"):
        parse_offered(name, "127.0.0.1:1")


@given(st.text(max_size=60))
def test_whatever_is_said_is_refused_or_says_itself_again(text: str) -> None:
    try:
        found = parse_offered("db", text)
    except ValueError:
        return
    assert parse_offered("db", found.text) == found
    assert bool(found.path) != bool(found.host and 0 < found.port < 65_536)


def test_what_a_node_tells_of_services_is_bounded() -> None:
    assert wrong_with_info(NodeInfo(node_id="n-1", services=(NodeService(name="db"),))) == ""
    many = tuple(NodeService(name=f"s{number}") for number in range(5_000))
    assert "services" in wrong_with_info(NodeInfo(node_id="n-1", services=many))
    assert wrong_with_info(NodeInfo(node_id="n-1", services=(NodeService(name="a\0b"),))) != ""
    assert wrong_with_info(NodeInfo(node_id="n-1", services=(NodeService(name="db", kind="x" * 5_000),))) != ""


def test_that_a_service_comes_and_goes_is_an_event() -> None:
    bare, with_db = NodeInfo(node_id="n-1"), NodeInfo(node_id="n-1", services=(NodeService(name="db"),))
    assert changes(bare, with_db) == ["service db is here"]
    assert changes(with_db, bare) == ["service db is gone"]
