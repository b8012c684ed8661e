"""The certificates of a cluster's transport: who signs them, and whether they are still good."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from skrei_kit import certificates, signing_keys
from skrei_kit.certificates import Times
from skrei_kit.secret_files import write_secret

AUTHORITY = "Skrei cluster"
_AUTHORITY_KEY, _AUTHORITY_CERTIFICATE = "nats-ca.key", "nats-ca.pem"
_KEY, _CERTIFICATE, _MADE = "server.key", "server.pem", "server.made"
SERIAL_BITS = 127


@dataclass(frozen=True, slots=True)
class Trust:
    """What the transport is called by, and what the time is."""

    hosts: Sequence[str]
    now: datetime

    def settle(self, folder: Path, *, signed_by: Path | None = None) -> None:
        """See that the folder holds a certificate for these hosts with at least a third of its time left.

        Who signs lies in `signed_by`, else there too, and is made once: it is what every machine of the cluster was
        told to trust.
        """
        home = signed_by or folder
        key = _key(home / _AUTHORITY_KEY)
        ours = home / _AUTHORITY_CERTIFICATE
        if not ours.exists():
            write_secret(ours, certificates.authority(key, AUTHORITY, self.now, serial=_serial()))
        told = folder / _MADE
        wanted = " ".join(self.hosts)
        if told.exists() and (folder / _CERTIFICATE).exists():
            made_at, _, hosts = told.read_text("ascii").strip().partition(" ")
            begin = datetime.fromtimestamp(float(made_at), UTC)
            if hosts == wanted and Times.of_server(begin).is_fresh(self.now):
                return
        made = certificates.server(key, AUTHORITY, _key(folder / _KEY), self.hosts, self.now, serial=_serial())
        write_secret(folder / _CERTIFICATE, made)
        write_secret(told, f"{self.now.timestamp():.0f} {wanted}\n")


def _key(path: Path) -> bytes:
    if not path.exists():
        write_secret(path, signing_keys.new_key()[0].decode("ascii"))
    return path.read_bytes()


def _serial() -> int:
    return secrets.randbits(SERIAL_BITS) | 1
