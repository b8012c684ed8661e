"""Signed claims: JSON Web Tokens (RFC 7519) in the one form that Skrei writes, EdDSA over Ed25519 (RFC 8037).

There is one algorithm and one header, so nobody who brings a token has a say in how it is verified. The signatures
are libsodium's, which every service has loaded for its NATS credentials.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey


class NotSigned(Exception):
    """The text is no token of ours: of another form, or not signed with that key."""


def sign(claims: Mapping[str, object], key: SigningKey) -> str:
    """Return a token that says `claims`."""
    text = b".".join((_HEADER, _encode(_compact(claims).encode())))
    return b".".join((text, _encode(key.sign(text).signature))).decode("ascii")


def verify(token: str, key: VerifyKey) -> dict[str, Any]:
    """Return what a token says. Raises NotSigned."""
    try:
        header, body, signature = token.encode("ascii").split(b".")
        if header != _HEADER:
            raise NotSigned("it is not of the form that is signed here")
        key.verify(b".".join((header, body)), _decode(signature))
        claims = json.loads(_decode(body))
    except (ValueError, CryptoError) as error:
        raise NotSigned(str(error)) from error
    if not isinstance(claims, dict):
        raise NotSigned("it makes no claims")
    return claims


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


_compact = json.JSONEncoder(separators=(",", ":")).encode
_HEADER = _encode(b'{"alg":"EdDSA","typ":"JWT"}')
