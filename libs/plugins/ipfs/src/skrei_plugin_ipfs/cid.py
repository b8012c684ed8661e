"""Content identifiers: names that are made of what they name (github.com/multiformats/cid). Pure."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from skrei_domain.multibase import NotEncoded, decode

RAW = 0x55
"""The block is bytes of a file."""
DAG_PB = 0x70
"""The block is a node of a file or a directory."""
SHA2_256 = 0x12
IDENTITY = 0x00
"""The digest is the content itself."""

INLINE_BYTES = 128
"""Of content that is its own name: what IPFS daemons take."""

_Hash: TypeAlias = Callable[[bytes], bytes]
_HASHES: Mapping[int, tuple[int, _Hash]] = {
    SHA2_256: (32, lambda data: hashlib.sha256(data).digest()),
    0x13: (64, lambda data: hashlib.sha512(data).digest()),
    0xB220: (32, lambda data: hashlib.blake2b(data, digest_size=32).digest()),
}


class InvalidCid(ValueError):
    """A text is no name of a file or directory that could be checked; the message says why."""


@dataclass(frozen=True, slots=True)
class Cid:
    """The name of a block. Equal where codec and hash are: the version and the letters of a text do not count."""

    codec: int
    hash: int
    digest: bytes

    def __str__(self) -> str:
        """Return it as version 1 in base32, as IPFS daemons write it."""
        return "b" + base64.b32encode(self.binary).decode().rstrip("=").lower()

    @property
    def binary(self) -> bytes:
        """It as version 1 in bytes, as blocks link to each other."""
        return b"\x01" + varint(self.codec) + varint(self.hash) + varint(len(self.digest)) + self.digest

    @property
    def inline(self) -> bytes | None:
        """The block itself, where the name holds it."""
        return self.digest if self.hash == IDENTITY else None

    def names(self, block: bytes) -> bool:
        """Whether this is the name of these bytes."""
        if self.hash == IDENTITY:
            return block == self.digest
        return _HASHES[self.hash][1](block) == self.digest


def parse(text: str) -> Cid:
    """Return the CID that a text writes, of either version and in any usual base. Raises InvalidCid."""
    try:
        return from_bytes(decode(text))
    except NotEncoded as error:
        raise InvalidCid(f"it is no CID: {error}") from error


def from_bytes(raw: bytes) -> Cid:
    """Return the CID that bytes write. Raises InvalidCid."""
    if raw[:2] == b"\x12\x20" and len(raw) == 34:
        return Cid(DAG_PB, SHA2_256, raw[2:])
    version, at = _read_varint(raw, 0)
    if version != 1:
        raise InvalidCid(f"it is a CID of version {version}; 0 and 1 are known")
    codec, at = _read_varint(raw, at)
    code, at = _read_varint(raw, at)
    size, at = _read_varint(raw, at)
    digest = raw[at:]
    if len(digest) != size:
        raise InvalidCid("it is no CID: some of it is missing, or too much there")
    if codec not in (RAW, DAG_PB):
        raise InvalidCid(f"it names no file or directory, but data of codec {codec:#x}")
    if code == IDENTITY:
        if size > INLINE_BYTES:
            raise InvalidCid(f"it holds {size:,} bytes itself; up to {INLINE_BYTES} are taken")
    elif code not in _HASHES:
        raise InvalidCid(f"its hash ({code:#x}) cannot be checked here; sha2-256, sha2-512 and blake2b-256 can")
    elif size != _HASHES[code][0]:
        raise InvalidCid("its hash has been cut")
    return Cid(codec, code, digest)


def varint(number: int) -> bytes:
    """Return a number in as many bytes as it needs, seven bits in each."""
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it: nine bytes at most, as multiformats say."""
    number = 0
    for index, byte in enumerate(raw[at : at + 9]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at + index + 1
    raise InvalidCid("it is no CID: some of it is missing")
