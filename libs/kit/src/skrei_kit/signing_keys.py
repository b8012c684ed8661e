"""Ed25519 keys as PEM: made and read back with the library that signs for NATS.

`tokens` reads them with another one. The supervisor only makes them, once in the life of a data folder, and lives for
weeks: it does without that library's 10 MB.
"""

import base64
import os

from nacl.bindings import crypto_sign_SEEDBYTES
from nacl.signing import SigningKey

# RFC 8410: the key is all that varies, and stands at the end.
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")
_SPKI = bytes.fromhex("302a300506032b6570032100")


def new_key() -> tuple[bytes, bytes]:
    """Return a fresh (private, public) key pair as PEM."""
    private = _pem("PRIVATE KEY", _PKCS8 + os.urandom(crypto_sign_SEEDBYTES))
    return private, public_of(private)


def public_of(private_pem: bytes) -> bytes:
    """Return the public half of a private key that `new_key` made. Raises ValueError for another kind of key."""
    der = base64.b64decode(b"".join(private_pem.split(b"\n")[1:-2]))
    if not der.startswith(_PKCS8):
        raise ValueError("this is not an Ed25519 key")
    return _pem("PUBLIC KEY", _SPKI + bytes(SigningKey(der[len(_PKCS8) :]).verify_key))


def _pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.b64encode(der).decode()}\n-----END {label}-----\n".encode()
