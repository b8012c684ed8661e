"""Proofs by RSA keys that other people's clients hold: verified here, never made (RFC 8017, PKCS#1 v1.5 with SHA-256).

Verifying is one power and a comparison of bytes; the library that could do it is larger than the service that asks.
"""

import hashlib
from dataclasses import dataclass

LEAST_BITS = 2_048
"""Of a modulus: shorter ones can be factored by those who want to."""
MOST_BITS = 8_192
"""Of a modulus: longer ones cost whoever verifies more than whoever asks."""
MOST_EXPONENT = 2**31
"""Public exponents are 65,537; larger ones cost time and prove nothing more."""

_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
"""What stands before the digest: DigestInfo of SHA-256."""
_INTEGER, _SEQUENCE = 0x02, 0x30


@dataclass(frozen=True, slots=True)
class RsaKey:
    """A public key."""

    modulus: int
    exponent: int

    @classmethod
    def from_der(cls, der: bytes) -> "RsaKey":
        """Read a PKCS#1 `RSAPublicKey`. Raises ValueError for anything else, and for keys out of bounds."""
        body, rest = _take(der, _SEQUENCE)
        modulus, body = _take(body, _INTEGER)
        exponent, body = _take(body, _INTEGER)
        if rest or body:
            raise ValueError("there is more than a key")
        key = cls(int.from_bytes(modulus, "big", signed=True), int.from_bytes(exponent, "big", signed=True))
        if key.modulus < 0 or not LEAST_BITS <= key.modulus.bit_length() <= MOST_BITS:
            raise ValueError(f"the modulus is not of {LEAST_BITS:,} to {MOST_BITS:,} bits")
        if not 3 <= key.exponent < MOST_EXPONENT or not key.exponent & 1:
            raise ValueError("the exponent is none")
        return key

    @property
    def fingerprint(self) -> str:
        """What names the holder: hex SHA-256 of the modulus."""
        return hashlib.sha256(self.modulus.to_bytes(_size(self.modulus), "big")).hexdigest()

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the holder signed exactly these bytes."""
        size = _size(self.modulus)
        number = int.from_bytes(signature, "big")
        if len(signature) != size or number >= self.modulus:
            return False
        digest = _SHA256 + hashlib.sha256(message).digest()
        wanted = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
        return pow(number, self.exponent, self.modulus).to_bytes(size, "big") == wanted


def _size(modulus: int) -> int:
    return (modulus.bit_length() + 7) // 8


def _take(der: bytes, tag: int) -> tuple[bytes, bytes]:
    """Return the content of the element that `der` begins with, and what follows it."""
    if len(der) < 2 or der[0] != tag:
        raise ValueError("this is no RSA key in DER")
    length, start = der[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 2 or len(der) < start + count:
            raise ValueError("a length is none")
        length, start = int.from_bytes(der[2 : 2 + count], "big"), start + count
    if len(der) < start + length:
        raise ValueError("it was cut off")
    return der[start : start + length], der[start + length :]
