"""Whom a filtered program reaches: names as they are listed, addresses as their kind allows."""

import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skrei_plugin_api.outbound import MOST_ADDRESSES, Forbidden, Found, Outbound, networks, plain


def found(*addresses: str) -> list[Found]:
    return [
        (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in addresses
    ]


@pytest.mark.parametrize(
    ("domain", "host", "known"),
    [
        ("example.com", "example.com", True),
        ("example.com", "EXAMPLE.com.", True),
        ("example.com", "www.example.com", False),
        ("example.com", "badexample.com", False),
        (".example.com", "example.com", True),
        (".example.com", "a.b.example.com", True),
        (".example.com", "badexample.com", False),
        ("*.example.com", "www.example.com", True),
        ("*.example.com", "example.com", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.70", False),
        ("2001:db8::1", "[2001:DB8:0::1]", True),
        ("example.com", "example.com.evil.org", False),
        ("example.com", "", False),
    ],
)
@pytest.mark.row("2.4/domains")
def test_a_name_is_known_as_the_list_says(domain: str, host: str, known: bool) -> None:
    assert Outbound((domain,)).knows(host) is known


def test_without_a_list_every_name_is_known_and_with_an_empty_one_none() -> None:
    assert Outbound().knows("anything.example")
    assert not Outbound(()).knows("anything.example")


@pytest.mark.parametrize(("port", "may"), [(80, True), (443, True), (8080, True), (22, False), (25, False), (0, False)])
def test_ports_are_those_of_the_web(port: int, may: bool) -> None:
    rules = Outbound(("example.com",))
    if may:
        rules.check("example.com", port)
    else:
        with pytest.raises(Forbidden, match=f"port not allowed: {port}"):
            rules.check("example.com", port)


@given(st.sampled_from(["127.0.0.1", "db.intern", "::1"]), st.integers(1, 65_535), st.booleans())
def test_a_service_of_the_node_is_that_host_and_that_port_alone(host: str, port: int, listed: bool) -> None:
    rules = Outbound(("example.com",) if listed else (), services=((host, port),))
    rules.check(host, port)
    private: Found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", port))
    assert rules.choose(host, [private]) == [private]
    for other_host, other_port in ((host, port % 65_535 + 1), ("127.0.0.2", port), (f"x.{host}", port)):
        with pytest.raises(Forbidden):
            rules.check(other_host, other_port)
    with pytest.raises(Forbidden):
        rules.choose("example.com", [private])


def test_a_refusal_says_what_is_allowed() -> None:
    with pytest.raises(
        Forbidden, match=r"host not allowed: other.org \(Network.Domains of the job lists example.com\)"
    ):
        Outbound(("example.com",)).check("other.org", 443)


PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_private_address_is_reached_however_it_is_written(address: str) -> None:
    assert not Outbound().reaches(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_reached(address: str) -> None:
    assert Outbound().reaches(address)


def test_an_owner_may_open_private_networks_and_no_others() -> None:
    rules = Outbound(None, networks(["10.1.0.0/16", "fd00::/8", "192.168.0.7"]))
    assert [rules.reaches(one) for one in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "192.168.0.7")] == [True] * 4
    assert [rules.reaches(one) for one in ("10.2.0.1", "192.168.0.8", "::1")] == [False] * 3


def test_of_a_names_addresses_the_public_ones_are_used_and_few() -> None:
    rules = Outbound(("example.com",))
    chosen = rules.choose("example.com", found("10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111"))
    assert [one[4][0] for one in chosen] == ["1.1.1.1", "2606:4700::1111"]
    many = rules.choose("example.com", found(*(f"1.1.1.{number}" for number in range(1, 10))))
    assert len(many) == MOST_ADDRESSES
    with pytest.raises(Forbidden, match=r"example.com is 10.0.0.1, 127.0.0.1, which is no public address"):
        rules.choose("example.com", found("127.0.0.1", "10.0.0.1"))
    with pytest.raises(Forbidden, match="no address"):
        rules.choose("example.com", [])


@given(st.ip_addresses(v=4))
def test_an_address_is_judged_the_same_in_every_form(address: object) -> None:
    number = int(address)  # type: ignore[call-overload]
    plain_form, rules = str(address), Outbound()
    mapped = f"::ffff:{plain_form}"
    nat64 = f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}"
    assert rules.reaches(plain_form) is rules.reaches(mapped) is rules.reaches(nat64)


@given(st.text())
@example("0 .")
@example("name. ..")
def test_any_text_is_a_host_that_is_not_listed_or_that_is(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    assert Outbound((".example.com",)).knows(text) in (True, False)
