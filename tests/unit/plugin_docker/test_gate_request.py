"""Requests as a proxy reads them: what two readers could take for two things is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_plugin_docker.gate.request import BadRequest, Body, Request, read


def head(line: str, *headers: str) -> bytes:
    return ("\r\n".join([line, *headers]) + "\r\n\r\n").encode("latin-1")


def test_a_tunnel_is_a_host_and_a_port() -> None:
    assert read(head("CONNECT Example.com:443 HTTP/1.1", "Host: other")) == Request("CONNECT", "example.com", 443)
    assert read(head("CONNECT [::1]:443 HTTP/1.1")).host == "[::1]"


def test_a_message_is_passed_on_for_the_host_of_its_address_alone() -> None:
    request = read(
        head(
            "GET http://example.com/a?b=c HTTP/1.1",
            *("Host: evil.org", "Accept: */*", "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eDp5"),
            *("Connection: close, X-Own", "X-Own: 1", "TE: trailers", "X-Kept: a:b"),
        )
    )
    assert (request.host, request.port, request.path) == ("example.com", 80, "/a?b=c")
    assert request.passed_on((("X-Bacalhau-Job-ID", "j-1"),)) == (
        b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\nX-Kept: a:b\r\nX-Bacalhau-Job-ID: j-1\r\n"
        b"Connection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("address", "host", "port", "path"),
    [
        ("http://a.com", "a.com", 80, "/"),
        ("HTTP://A.com:8080/x", "a.com", 8080, "/x"),
        ("http://a.com/#part", "a.com", 80, "/"),
        ("http://[2001:db8::1]/", "[2001:db8::1]", 80, "/"),
        ("http://127.1/", "127.1", 80, "/"),
    ],
)
def test_addresses_are_read(address: str, host: str, port: int, path: str) -> None:
    request = read(head(f"GET {address} HTTP/1.1"))
    assert (request.host, request.port, request.path) == (host, port, path)


def test_how_a_body_ends_is_kept() -> None:
    sized = read(head("POST http://a.com/ HTTP/1.1", "Content-Length: 5", "Connection: content-length"))
    assert (sized.body, sized.length) == (Body.LENGTH, 5)
    assert b"Content-Length: 5\r\n" in sized.passed_on()
    chunked = read(head("POST http://a.com/ HTTP/1.1", "Transfer-Encoding: chunked"))
    assert chunked.body is Body.CHUNKED
    assert b"Transfer-Encoding: chunked\r\n" in chunked.passed_on()


@pytest.mark.parametrize(
    "wrong",
    [
        head("GET / HTTP/1.1"),
        head("GET https://a.com/ HTTP/1.1"),
        head("GET ftp://a.com/ HTTP/1.1"),
        head("GET http://user:pw@a.com/ HTTP/1.1"),
        head("GET http:///x HTTP/1.1"),
        head("GET http://a.com:0/ HTTP/1.1"),
        head("GET http://a.com:99999/ HTTP/1.1"),
        head("GET http://a.com:x/ HTTP/1.1"),
        head("GET http://a b.com/ HTTP/1.1"),
        head("GET http://a.com/\xe9 HTTP/1.1"),
        head("GET http://a.com/ HTTP/2.0"),
        head("get http://a.com/ HTTP/1.1"),
        head("CONNECT a.com HTTP/1.1"),
        head("CONNECT a.com:443/x HTTP/1.1"),
        head("CONNECT http://a.com:443 HTTP/1.1"),
        head("GET http://a.com/ HTTP/1.1", "No colon"),
        head("GET http://a.com/ HTTP/1.1", " Folded: x"),
        head("GET http://a.com/ HTTP/1.1", "Space : x"),
        head("GET http://a.com/ HTTP/1.1", "A: x\ny: z"),
        head("GET http://a.com/ HTTP/1.1", "A: x\0"),
        head("POST http://a.com/ HTTP/1.1", "Content-Length: 5", "Content-Length: 6"),
        head("POST http://a.com/ HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked"),
        head("POST http://a.com/ HTTP/1.1", "Transfer-Encoding: gzip, chunked"),
        head("POST http://a.com/ HTTP/1.1", "Content-Length: +5"),
        head("POST http://a.com/ HTTP/1.1", "Content-Length: 5, 5"),
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_not_clear_is_refused(wrong: bytes) -> None:
    with pytest.raises(BadRequest):
        read(wrong)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(data: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert read(data).host


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60), st.text(max_size=40).map(ascii))
def test_what_is_passed_on_is_one_head(value: str, path: str) -> None:
    try:
        request = read(head(f"GET http://a.com/{path} HTTP/1.1", f"X-A: {value}"))
    except BadRequest:
        return
    passed = request.passed_on()
    assert passed.count(b"\r\n\r\n") == 1
    assert passed.endswith(b"\r\n\r\n")
    assert passed.count(b"\n") == passed.count(b"\r\n") == passed.count(b"\r")
