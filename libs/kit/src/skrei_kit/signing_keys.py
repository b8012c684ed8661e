"""Ed25519 keys as PEM (RFC 8410), made and read with the library that signs for NATS."""

import base64
import os

from nacl.bindings import crypto_sign_SEEDBYTES
from nacl.signing import SigningKey, VerifyKey

# The key is all that varies in these structures, and stands at the end.
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")
_SPKI = bytes.fromhex("302a300506032b6570032100")


def new_key() -> tuple[bytes, bytes]:
    """Return a fresh (private, public) key pair as PEM."""
    private = _pem("PRIVATE KEY", _PKCS8 + os.urandom(crypto_sign_SEEDBYTES))
    return private, public_of(private)


def public_of(private_pem: bytes) -> bytes:
    """Return the public half of a private key. Raises ValueError for a key of another kind."""
    return _pem("PUBLIC KEY", _SPKI + bytes(signing_key(private_pem).verify_key))


def signing_key(private_pem: bytes) -> SigningKey:
    """Return a private key. Raises ValueError for what is no Ed25519 key."""
    return SigningKey(_key(private_pem, _PKCS8))


def verify_key(public_pem: bytes) -> VerifyKey:
    """Return a public key. Raises ValueError for what is no Ed25519 key."""
    return VerifyKey(_key(public_pem, _SPKI))


def _pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.b64encode(der).decode()}\n-----END {label}-----\n".encode()


def _key(pem: bytes, before: bytes) -> bytes:
    lines = [line.strip() for line in pem.splitlines() if line.strip()]
    der = base64.b64decode(b"".join(lines[1:-1]), validate=True)
    if not der.startswith(before) or len(der) != len(before) + crypto_sign_SEEDBYTES:
        raise ValueError("this is not an Ed25519 key")
    return der[len(before) :]
