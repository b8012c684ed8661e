"""Credentials of a connection in a file, read anew each time that it is made: it may have been renewed.

The client's own reader looks for a JWT for ever where a file has none, and the loop stands still meanwhile; one without
a key ends its reconnecting. A file is without either while somebody writes it, or after a disk was full.
"""

from pathlib import Path

import nkeys

from skrei_kit import nats_auth
from skrei_kit.bus.connection import CredentialsUnreadable


class Credentials:
    """A JWT, and signatures by the key that it names: each raises OSError, or CredentialsUnreadable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def jwt(self) -> bytearray:
        """Return the JWT."""
        return bytearray(self._read()[0].encode())

    def sign(self, nonce: str) -> bytes:
        """Return the signature of what the server says."""
        try:
            return nats_auth.prove(self._read()[1], nonce).encode()
        except (ValueError, nkeys.NkeysError) as error:
            raise CredentialsUnreadable(f"{self._path} holds no key of a user") from error

    def _read(self) -> tuple[str, str]:
        try:
            return nats_auth.split_creds(self._path.read_text("utf-8"))
        except ValueError as error:
            raise CredentialsUnreadable(f"{self._path}: {error}") from error
