"""What a client asks of the proxy, read strictly: whatever two readers could take for two things is refused. Pure."""

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

METHOD = re.compile(r"[A-Z]{1,32}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\]")
_PRINTED = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FOR_THE_PROXY = {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade", "trailer"}
"""Headers that end here; those that `Connection` names end here too."""
_THE_BODYS = {"content-length", "transfer-encoding"}


class BadRequest(Exception):
    """A request that is none, or not one for a proxy; the text says what is wrong."""


class Body(Enum):
    """How a request's body ends."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"


@dataclass(frozen=True, slots=True)
class Request:
    """A request: a tunnel (`path` is empty), or a message to be passed on."""

    method: str
    host: str
    port: int
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: Body = Body.NONE
    length: int = 0

    @property
    def tunnel(self) -> bool:
        """Whether bytes are to be passed both ways, unread."""
        return self.method == "CONNECT"

    def passed_on(self, extra: tuple[tuple[str, str], ...] = ()) -> bytes:
        """Return the head that the other side gets: one message on a connection of its own."""
        authority = self.host if self.port == 80 else f"{self.host}:{self.port}"
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {authority}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, *extra, ("Connection", "close"))]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def read(head: bytes) -> Request:
    """Return what a head (to its empty line, which may be there) asks for. Raises BadRequest."""
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or METHOD.fullmatch(parts[0]) is None or parts[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequest("this is no HTTP/1.1 request")
    headers = [_header(line) for line in lines[1:]]
    method, target, _ = parts
    if method == "CONNECT":
        host, port = _authority(target, None)
        return Request(method, host, port)
    host, port, path = _address(target)
    body, length = _body(headers)
    named = {
        word.strip().lower() for name, value in headers if name.lower() == "connection" for word in value.split(",")
    }
    own = (_FOR_THE_PROXY | named | {"host"}) - _THE_BODYS
    kept = tuple((name, value) for name, value in headers if name.lower() not in own)
    return Request(method, host, port, path, kept, body, length)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or _TOKEN.fullmatch(name) is None or _PRINTED.fullmatch(value) is None:
        raise BadRequest("a header of it is none")
    return name, value.strip()


def _address(target: str) -> tuple[str, int, str]:
    if not target.isascii() or not target.isprintable():
        raise BadRequest("its address has characters that no address has")
    if target.startswith("/") or target == "*":
        raise BadRequest("this is a proxy: it wants whole addresses (http://…)")
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise BadRequest("its address is none") from error
    if parts.scheme.lower() != "http":
        raise BadRequest("only http:// is passed on; for https use CONNECT, as clients do by themselves")
    if "@" in parts.netloc:
        raise BadRequest("an address with a user name is not passed on")
    host, port = _authority(parts.netloc, 80)
    path = parts.path or "/"
    return host, port, f"{path}?{parts.query}" if parts.query else path


def _authority(text: str, default: int | None) -> tuple[str, int]:
    host, colon, number = text.lower().rpartition(":")
    if not colon or text.endswith("]"):
        host, number = text.lower(), "" if default is None else str(default)
    if _HOST.fullmatch(host) is None or not (number.isascii() and number.isdecimal()) or len(number) > 5:
        raise BadRequest("it names no host and port")
    if not 0 < int(number) <= 65_535:
        raise BadRequest("it names no host and port")
    return host, int(number)


def _body(headers: list[tuple[str, str]]) -> tuple[Body, int]:
    lengths = {value for name, value in headers if name.lower() == "content-length"}
    codings = [value.lower() for name, value in headers if name.lower() == "transfer-encoding"]
    if codings:
        if lengths or codings != ["chunked"]:
            raise BadRequest("how its body ends is not clear")
        return Body.CHUNKED, 0
    if not lengths:
        return Body.NONE, 0
    (length, *more) = lengths
    if more or not (length.isascii() and length.isdecimal() and len(length) <= 18):
        raise BadRequest("how its body ends is not clear")
    return Body.LENGTH, int(length)
