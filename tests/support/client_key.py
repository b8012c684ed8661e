"""A client's own RSA key, and the proof of it as other people's clients send it."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def proof(phrase: str) -> dict[str, Any]:
    """The body that answers a challenge with a fresh key: signed is what the phrase, which is base64, stands for."""
    key = rsa.generate_private_key(65_537, 2_048)
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    signature = key.sign(base64.b64decode(phrase), padding.PKCS1v15(), hashes.SHA256())
    found = {"PhraseSignature": base64.b64encode(signature).decode(), "PublicKey": base64.b64encode(der).decode()}
    data = base64.b64encode(json.dumps(found).encode()).decode()
    return {"Namespace": "", "Credential": None, "Name": "ClientKey", "MethodData": data}
