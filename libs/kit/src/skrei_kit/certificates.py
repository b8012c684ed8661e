"""X.509 certificates of a cluster's own: one that signs, and those of servers, with Ed25519 keys (RFC 5280, RFC 8410).

Only what such a cluster needs is written, in DER, and signed with the library that signs for NATS: TLS itself is the
business of whoever reads them.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from skrei_kit import signing_keys

AUTHORITY_DAYS = 3_650
"""How long what signs is good for: nobody comes back to change what every machine of a cluster was told to trust."""
SERVER_DAYS = 397
"""How long a server's is good for: what the public's authorities give at most; it is made anew long before."""
EARLIER = timedelta(hours=1)
"""A certificate is good from before it was made: the clocks of a cluster differ."""

_ED25519 = bytes.fromhex("300506032b6570")
_COMMON_NAME = bytes.fromhex("0603550403")
_BASIC, _USAGE, _EXTENDED = bytes.fromhex("0603551d13"), bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d25")
_NAMES, _OWN_KEY, _ITS_KEY = bytes.fromhex("0603551d11"), bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d23")
_SERVER_AND_CLIENT = bytes.fromhex("06082b06010505070301") + bytes.fromhex("06082b06010505070302")
_BOOLEAN, _INTEGER, _BITS, _OCTETS, _UTF8, _UTC, _TIME, _SEQUENCE, _SET = 1, 2, 3, 4, 12, 23, 24, 0x30, 0x31


@dataclass(frozen=True, slots=True)
class Times:
    """From when to when a certificate is good."""

    begin: datetime
    end: datetime

    @classmethod
    def of_server(cls, made: datetime) -> "Times":
        """Return those of a server's that was made then."""
        return cls(made - EARLIER, made + timedelta(days=SERVER_DAYS))

    def is_fresh(self, now: datetime) -> bool:
        """Whether at least a third of its time is left."""
        return self.begin <= now and (self.end - now) * 3 >= self.end - self.begin


def authority(private_pem: bytes, name: str, now: datetime, *, serial: int) -> str:
    """Return the certificate (PEM) of a key that signs others', signed by itself."""
    key = _public(private_pem)
    times = Times(now - EARLIER, now + timedelta(days=AUTHORITY_DAYS))
    extensions = [
        _extension(_BASIC, _tlv(_SEQUENCE, _tlv(_BOOLEAN, b"\xff")), critical=True),
        _extension(_USAGE, _tlv(_BITS, b"\x01\x06"), critical=True),  # signs certificates and lists of revoked ones
        _extension(_OWN_KEY, _tlv(_OCTETS, _key_id(key))),
    ]
    return _signed(private_pem, _body(serial, _Who(name, name), times, key, extensions))


def server(
    authority_key: bytes, authority_name: str, key_pem: bytes, hosts: Sequence[str], now: datetime, *, serial: int
) -> str:
    """Return the certificate (PEM) of a server's key for the names and addresses that it is called by."""
    key, times = _public(key_pem), Times.of_server(now)
    extensions = [
        _extension(_BASIC, _tlv(_SEQUENCE, b""), critical=True),
        _extension(_USAGE, _tlv(_BITS, b"\x07\x80"), critical=True),  # signs handshakes
        _extension(_EXTENDED, _tlv(_SEQUENCE, _SERVER_AND_CLIENT)),
        _extension(_NAMES, _tlv(_SEQUENCE, b"".join(_host(host) for host in hosts))),
        _extension(_OWN_KEY, _tlv(_OCTETS, _key_id(key))),
        _extension(_ITS_KEY, _tlv(_SEQUENCE, _tlv(0x80, _key_id(_public(authority_key))))),
    ]
    return _signed(authority_key, _body(serial, _Who(authority_name, hosts[0]), times, key, extensions))


class _Who(NamedTuple):
    issuer: str
    subject: str


def _body(serial: int, who: _Who, times: Times, key: bytes, extensions: list[bytes]) -> bytes:
    return _tlv(
        _SEQUENCE,
        _tlv(0xA0, _integer(2)),  # version 3
        _integer(serial),
        _ED25519,
        _name(who.issuer),
        _tlv(_SEQUENCE, _time(times.begin), _time(times.end)),
        _name(who.subject),
        _tlv(_SEQUENCE, _ED25519, _tlv(_BITS, b"\x00" + key)),
        _tlv(0xA3, _tlv(_SEQUENCE, *extensions)),
    )


def _signed(private_pem: bytes, body: bytes) -> str:
    signature = signing_keys.signing_key(private_pem).sign(body).signature
    text = base64.encodebytes(_tlv(_SEQUENCE, body, _ED25519, _tlv(_BITS, b"\x00" + signature))).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


def _public(private_pem: bytes) -> bytes:
    return bytes(signing_keys.signing_key(private_pem).verify_key)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:20]


def _host(host: str) -> bytes:
    try:
        return _tlv(0x87, ipaddress.ip_address(host).packed)
    except ValueError:
        return _tlv(0x82, host.encode("ascii"))


def _extension(identifier: bytes, value: bytes, *, critical: bool = False) -> bytes:
    return _tlv(_SEQUENCE, identifier, _tlv(_BOOLEAN, b"\xff") if critical else b"", _tlv(_OCTETS, value))


def _name(common: str) -> bytes:
    return _tlv(_SEQUENCE, _tlv(_SET, _tlv(_SEQUENCE, _COMMON_NAME, _tlv(_UTF8, common.encode()))))


def _time(at: datetime) -> bytes:
    if at.year < 2050:  # as RFC 5280 wants it
        return _tlv(_UTC, at.strftime("%y%m%d%H%M%SZ").encode())
    return _tlv(_TIME, at.strftime("%Y%m%d%H%M%SZ").encode())


def _integer(value: int) -> bytes:
    return _tlv(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
