"""A token opens the one door it was signed for, for as long as it was signed for."""

import hashlib
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from hypothesis import given
from hypothesis import strategies as st

from skrei_kit import signed
from skrei_kit.signing_keys import new_key, public_of, signing_key
from skrei_kit.tokens import (
    Receipt,
    TokenExpired,
    TokenInvalid,
    TokenSigner,
    TokenVerifier,
    TokenWrongKind,
    UploadGrant,
)

PRIVATE, PUBLIC = new_key()


def test_a_run_token_names_execution_node_and_blobs() -> None:
    token = TokenSigner(PRIVATE).run("e-1", "n-1", ["sha256:b", "sha256:a"], seconds=60)
    opened = TokenVerifier(PUBLIC).run(token)
    assert (opened.execution_id, opened.node_id, opened.blobs) == ("e-1", "n-1", {"sha256:a", "sha256:b"})


def test_a_download_token_opens_no_other_execution() -> None:
    token = TokenSigner(PRIVATE).download("e-1", seconds=60)
    TokenVerifier(PUBLIC).download(token, "e-1")
    with pytest.raises(TokenInvalid, match="another execution"):
        TokenVerifier(PUBLIC).download(token, "e-2")


def test_a_token_of_one_kind_opens_no_door_of_the_other() -> None:
    signer, verifier = TokenSigner(PRIVATE), TokenVerifier(PUBLIC)
    with pytest.raises(TokenWrongKind):
        verifier.run(signer.download("e-1", seconds=60))
    with pytest.raises(TokenWrongKind):
        verifier.download(signer.run("e-1", "n-1", [], seconds=60), "e-1")


def test_an_expired_token_says_so() -> None:
    token = TokenSigner(PRIVATE, now=lambda: time.time() - 3600).download("e-1", seconds=60)
    with pytest.raises(TokenExpired):
        TokenVerifier(PUBLIC).download(token, "e-1")


@pytest.mark.parametrize("change", ["other key", "no signature", "public key as a secret", "garbage"])
def test_a_forged_token_is_refused(change: str) -> None:
    claims = {"kind": "download", "sub": "e-1", "exp": int(time.time()) + 60}
    token = {
        "other key": lambda: TokenSigner(new_key()[0]).download("e-1", seconds=60),
        "no signature": lambda: jwt.encode(claims, None, algorithm="none"),
        "public key as a secret": lambda: jwt.encode(claims, b"k" * 32, algorithm="HS256"),
        "garbage": lambda: "not.a.token",
    }[change]()
    with pytest.raises(TokenInvalid):
        TokenVerifier(PUBLIC).download(token, "e-1")


def test_the_public_half_comes_from_the_private_one() -> None:
    assert public_of(PRIVATE) == PUBLIC


def test_a_key_of_another_kind_is_refused_by_name() -> None:
    other = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(TokenInvalid, match="not an Ed25519 key"):
        TokenSigner(other)


def test_the_right_to_upload_outlives_the_right_to_blobs() -> None:
    grant = UploadGrant("store", 1_000, 3600)
    token = TokenSigner(PRIVATE).run("e-1", "n-1", [], seconds=-60, upload=grant)
    right = TokenVerifier(PUBLIC).upload(token, "e-1")
    assert (right.execution_id, right.node_id, right.publisher, right.most_bytes) == ("e-1", "n-1", "store", 1_000)
    with pytest.raises(TokenExpired):
        TokenVerifier(PUBLIC).run(token)
    with pytest.raises(TokenExpired):
        TokenVerifier(PUBLIC, now=lambda: time.time() + 4000).upload(token, "e-1")
    with pytest.raises(TokenInvalid, match="another execution"):
        TokenVerifier(PUBLIC).upload(token, "e-2")
    with pytest.raises(TokenWrongKind):
        TokenVerifier(PUBLIC).upload(TokenSigner(PRIVATE).run("e-1", "n-1", [], seconds=60), "e-1")


def test_a_receipt_says_what_its_publisher_holds_and_nobody_else_can_write_one() -> None:
    receipt = Receipt("e-1", "sha256:a", 7, "store", "store")
    assert TokenVerifier(PUBLIC).receipt(TokenSigner(PRIVATE).receipt(receipt)) == receipt
    with pytest.raises(TokenInvalid):
        TokenVerifier(PUBLIC).receipt(TokenSigner(new_key()[0]).receipt(receipt))
    with pytest.raises(TokenWrongKind):
        TokenVerifier(PUBLIC).receipt(TokenSigner(PRIVATE).run("e-1", "n-1", [], seconds=60))


def test_tokens_are_what_other_programs_call_jwts() -> None:
    token = TokenSigner(PRIVATE).download("e-1", seconds=60)
    claims = jwt.decode(token, load_pem_public_key(PUBLIC), algorithms=["EdDSA"])  # type: ignore[arg-type]
    assert (claims["kind"], claims["sub"]) == ("download", "e-1")
    theirs = jwt.encode(claims, load_pem_private_key(PRIVATE, password=None), algorithm="EdDSA")  # type: ignore[arg-type]
    TokenVerifier(PUBLIC).download(theirs, "e-1")


def test_a_changed_token_is_refused_wherever_it_was_changed() -> None:
    """Each character counts, but for the bits that fill the last one of a part."""
    token = TokenSigner(PRIVATE).download("e-1", seconds=60)
    for index, old in enumerate(token):
        if index + 1 == len(token):
            continue
        changed = token[:index] + ("A" if old != "A" else "B") + token[index + 1 :]
        with pytest.raises(TokenInvalid):
            TokenVerifier(PUBLIC).download(changed, "e-1")


@pytest.mark.parametrize(
    "claims", [{}, {"exp": 2**40}, {"sub": 1, "exp": 2**40}, {"sub": "e-1"}, {"sub": "e-1", "exp": "x"}]
)
def test_a_token_without_subject_or_end_is_refused(claims: dict[str, object]) -> None:
    token = signed.sign({"kind": "download", **claims}, signing_key(PRIVATE))
    with pytest.raises(TokenInvalid):
        TokenVerifier(PUBLIC).download(token, "e-1")


RUBBISH = (
    st.text()
    | st.binary().map(lambda data: data.decode("latin-1"))
    | st.from_regex(r"[A-Za-z0-9_=-]*[.][A-Za-z0-9_-]*[.][A-Za-z0-9_-]*")
)


@given(RUBBISH)
def test_rubbish_is_refused(token: str) -> None:
    with pytest.raises(TokenInvalid):
        TokenVerifier(PUBLIC).download(token, "e-1")


def test_many_inputs_are_named_by_the_beginnings_of_their_digests() -> None:
    digests = [f"sha256:{hashlib.sha256(bytes([n])).hexdigest()}" for n in range(200)]
    token = TokenSigner(PRIVATE).run("e-1", "n-1", digests[:100], seconds=60, manifests=digests[100:199])
    assert len(token) < 8_000, "what a proxy takes as a header"
    verifier = TokenVerifier(PUBLIC)
    right = verifier.run(token)
    assert all(right.opens(each) for each in digests[:100])
    assert not any(right.opens(each) for each in (*digests[100:], "", "sha256:", "sha256:zz", right.execution_id))
    verifier.manifest(token, digests[198])
    with pytest.raises(TokenInvalid):
        verifier.manifest(token, digests[199])
