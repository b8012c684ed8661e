"""The challenge that other people's clients answer before anything else: a phrase to sign with a key of their own.

What it proves is a name, not a right: on the server's own machine everybody may do everything, and from elsewhere
only the owner token counts. Clients ask for it all the same, and go no further without an answer.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from skrei_domain.errors import Invalid
from skrei_kit.rsa_proof import RsaKey

METHOD = "ClientKey"
SERVER_ID = "skrei"
"""What the control plane calls itself."""
CLIENT_DAYS = 30
"""How long a client's token names it: as long as clients of the original expect."""
MAX_PROOF_BYTES = 16 * 1024
"""Of a proof in base64: a key and a signature of 8,192 bits come to 3 KiB."""

PHRASE = base64.b64encode(SERVER_ID.encode()).decode()
REQUIREMENT = {"type": "challenge", "params": {"InputPhrase": PHRASE}}


class NotProven(Exception):
    """The proof does not hold."""


def methods(*, local: bool) -> dict[str, Any]:
    """Return the ways to prove who one is; none where only the owner token counts, which clients then ask for."""
    return {METHOD: REQUIREMENT} if local else {}


def client_of(proof: Mapping[str, Any]) -> str:
    """Return the id of the client that a body proves. Raises Invalid for no proof, NotProven for a bad one."""
    data = proof.get("MethodData")
    if not isinstance(data, str) or len(data) > MAX_PROOF_BYTES:
        raise Invalid("MethodData: allowed: base64 of a JSON object", component="Authenticator")
    try:
        found = json.loads(base64.b64decode(data, validate=True))
    except (ValueError, RecursionError) as error:
        raise Invalid("MethodData: allowed: base64 of a JSON object", component="Authenticator") from error
    if not isinstance(found, dict):
        raise Invalid("MethodData: allowed: base64 of a JSON object", component="Authenticator")
    told = {str(key).lower(): value for key, value in found.items()}
    signature, key = _bytes(told.get("phrasesignature"), "PhraseSignature"), _bytes(told.get("publickey"), "PublicKey")
    try:
        holder = RsaKey.from_der(key)
    except ValueError as error:
        raise NotProven(f"PublicKey: {error}") from error
    # Base64 is only how bytes travel in JSON: clients decode the phrase and sign what it stands for.
    if not holder.signed(SERVER_ID.encode(), signature):
        raise NotProven("the phrase was not signed by that key")
    return holder.fingerprint


def _bytes(value: object, name: str) -> bytes:
    if not isinstance(value, str):
        raise Invalid(f"MethodData.{name}: allowed: bytes in base64", component="Authenticator")
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Invalid(f"MethodData.{name}: allowed: bytes in base64", component="Authenticator") from error
