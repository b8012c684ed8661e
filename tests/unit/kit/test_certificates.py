"""Certificates of a cluster's own: another library reads in them what was meant, and TLS trusts them."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from skrei_kit import certificates, signing_keys

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SERIAL = 0xF0_0D


def pair(hosts: list[str], now: datetime = NOW) -> tuple[str, str, bytes]:
    """A signing certificate, a server's, and the server's key."""
    authority_key, _ = signing_keys.new_key()
    key, _ = signing_keys.new_key()
    ours = certificates.authority(authority_key, "a cluster", now, serial=1)
    return ours, certificates.server(authority_key, "a cluster", key, hosts, now, serial=SERIAL), key


def test_another_library_reads_what_was_meant() -> None:
    ours, server, _ = pair(["nats", "10.0.0.7", "::1"])
    signer, made = x509.load_pem_x509_certificate(ours.encode()), x509.load_pem_x509_certificate(server.encode())
    public = signer.public_key()
    assert isinstance(public, Ed25519PublicKey)
    public.verify(made.signature, made.tbs_certificate_bytes)
    made.verify_directly_issued_by(signer)
    signer.verify_directly_issued_by(signer)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["nats"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("10.0.0.7"), ip_address("::1")]
    assert made.serial_number == SERIAL
    assert made.not_valid_before_utc == NOW - certificates.EARLIER
    assert made.not_valid_after_utc == NOW + timedelta(days=certificates.SERVER_DAYS)
    basic = [one.extensions.get_extension_for_class(x509.BasicConstraints) for one in (signer, made)]
    assert [(one.value.ca, one.critical) for one in basic] == [(True, True), (False, True)]
    own = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    its = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert own == its


@pytest.mark.parametrize(("days_left", "fresh"), [(397, True), (133, True), (131, False), (0, False), (-1, False)])
def test_a_certificate_is_fresh_while_a_third_of_its_time_is_left(days_left: int, fresh: bool) -> None:
    times = certificates.Times(NOW - timedelta(days=397 - days_left), NOW + timedelta(days=days_left))
    assert times.is_fresh(NOW) is fresh


def test_a_year_beyond_2049_is_written_as_it_has_to_be() -> None:
    key, _ = signing_keys.new_key()
    late = NOW.replace(year=2048)
    made = x509.load_pem_x509_certificate(certificates.authority(key, "late", late, serial=1).encode())
    assert made.not_valid_after_utc == late + timedelta(days=certificates.AUTHORITY_DAYS)


@pytest.mark.parametrize(("host", "trusted"), [("localhost", True), ("127.0.0.1", True), ("nats.example", False)])
def test_tls_trusts_a_server_by_the_names_that_it_was_given_and_no_other(
    tmp_path: Path, host: str, trusted: bool
) -> None:
    ours, server, key = pair(["localhost", "127.0.0.1"], datetime.now(UTC))
    (tmp_path / "server.pem").write_text(server)
    (tmp_path / "server.key").write_bytes(key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    asking = ssl.create_default_context(cadata=ours)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by default
    here, there = socket.socketpair()

    def serve() -> None:
        with there:
            try:
                serving.wrap_socket(there, server_side=True).close()
            except (ssl.SSLError, OSError):
                return

    served = threading.Thread(target=serve)
    served.start()
    try:
        with here:
            if trusted:
                asking.wrap_socket(here, server_hostname=host).close()
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    asking.wrap_socket(here, server_hostname=host)
    finally:
        served.join(10)
