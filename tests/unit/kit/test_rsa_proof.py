"""Proofs by RSA keys, as the rest of the world makes them."""

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from skrei_kit.rsa_proof import RsaKey

PHRASE = b"c2tyZWk="
KEY = rsa.generate_private_key(65_537, 2_048)
DER = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
SIGNATURE = KEY.sign(PHRASE, padding.PKCS1v15(), hashes.SHA256())


def integer(number: int) -> bytes:
    body = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    return b"\x02" + length(body) + body


def length(body: bytes) -> bytes:
    return bytes([len(body)]) if len(body) < 128 else b"\x82" + len(body).to_bytes(2, "big")


def der(modulus: int, exponent: int) -> bytes:
    body = integer(modulus) + integer(exponent)
    return b"\x30" + length(body) + body


def test_a_signature_of_another_library_holds_and_names_its_holder() -> None:
    key = RsaKey.from_der(DER)
    modulus = KEY.public_key().public_numbers().n
    assert key == RsaKey(modulus, 65_537)
    assert key.signed(PHRASE, SIGNATURE)
    assert key.fingerprint == hashlib.sha256(modulus.to_bytes(256, "big")).hexdigest()


def test_another_phrase_another_key_and_another_digest_do_not() -> None:
    key = RsaKey.from_der(DER)
    other = rsa.generate_private_key(65_537, 2_048)
    assert not key.signed(b"other", SIGNATURE)
    assert not key.signed(PHRASE, other.sign(PHRASE, padding.PKCS1v15(), hashes.SHA256()))
    assert not key.signed(PHRASE, KEY.sign(PHRASE, padding.PKCS1v15(), hashes.SHA512()))
    assert not key.signed(PHRASE, SIGNATURE[:-1])
    assert not key.signed(PHRASE, SIGNATURE + b"\0")
    assert not key.signed(PHRASE, (int.from_bytes(SIGNATURE, "big") + key.modulus).to_bytes(257, "big"))


@given(st.integers(0, 255), st.integers(1, 255))
def test_no_changed_byte_of_a_signature_holds(place: int, change: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[place] ^= change
    assert not RsaKey.from_der(DER).signed(PHRASE, bytes(changed))


N = KEY.public_key().public_numbers().n
BAD: list[Any] = [
    b"",
    b"\x30",
    b"\x30\x80",
    b"\x30\x83\x00\x00\x01\x00",
    DER[:-1],
    DER + b"\0",
    b"\x31" + DER[1:],
    der(2**1023 + 1, 65_537),
    der(2**8193 + 1, 65_537),
    der(-N, 65_537),
    der(N, 1),
    der(N, 65_536),
    der(N, 2**31 + 1),
    der(N, -3),
]


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_key_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        RsaKey.from_der(bad)


@given(st.binary(max_size=64))
def test_rubbish_is_refused_and_nothing_else_happens(rubbish: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        RsaKey.from_der(rubbish)
