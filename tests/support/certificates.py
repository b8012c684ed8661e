"""A certificate for names of tests, signed by itself: who trusts it is told by `SSL_CERT_FILE`."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest


class Certificate(NamedTuple):
    """Its file, which is also what to trust, and that of its key."""

    file: Path
    key: Path


def make_certificate(folder: Path, *names: str, addresses: Sequence[str] = ()) -> Certificate:
    """Make one for these names, addresses and loopback."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here, which makes certificates for tests (Debian: openssl)")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    told = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses), "IP:127.0.0.1"])
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={told}", "-keyout", str(made.key), "-out"]
    subprocess.run([*command, str(made.file)], check=True, capture_output=True)
    return made
