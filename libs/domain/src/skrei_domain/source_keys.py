"""What an input that is fetched is called among nodes and their leader: one key, whoever asks for it, and how. Pure.

A key is a digest, so that an address that is secret stays one. Inputs that say which digest their bytes have go by that
alone, wherever they come from. What else says which bytes they are (a version, an ETag, a list that was made of them
before) is `pinned`; without it a key stands for a place, and what lies there may change.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from skrei_domain.bloom import KEY_CHARACTERS
from skrei_domain.multibase import NotEncoded, decode

IN_PLACE = frozenset({"data", "local", "localdirectory"})
"""Types of inputs that lie on their node."""
WITH_THE_JOB = frozenset({"inline", "task"})
"""Types of inputs that a job brings with it, or makes itself."""
DEALT_OUT = "partition"
"""The parameter of an input that deals its files out to the partitions of a task."""

_HOW = frozenset({"maxretrycount", "readwrite"})
"""Parameters that say how, and not what."""
_DIGESTS = frozenset({"checksum", "checksumsha256"})

IPFS = "ipfs"
_CID = "cid"
_VERSION_0 = b"\x12\x20"  # such a name is the hash alone

Params = Mapping[str, object]


def source_key(type_: str, params: Params, *, pinned: str = "") -> str:
    """Return the key of an input that is fetched; empty for one that is not."""
    name = type_.casefold()
    if not name or name in IN_PLACE or name in WITH_THE_JOB:
        return ""
    if name == IPFS and (root := root_key(params)) and _is_whole(params):
        return root
    said = {key.casefold(): value for key, value in params.items() if value not in (None, "", {}, [])}
    told: Any = [name, pinned, {key: value for key, value in said.items() if key not in _HOW}]
    for key in sorted(_DIGESTS & said.keys()):
        told = ["digest", str(said[key]).strip().lower() if key == "checksum" else str(said[key]).strip()]
    return _digest(told)


def root_key(params: Params) -> str:
    """Return the key of all that the CID of an `ipfs` input names, whatever it wants of that; empty where it has none.

    What an IPFS daemon has pinned goes by it, whichever version and letters its name is written in.
    """
    said = next((value for key, value in params.items() if key.casefold() == _CID), None)
    return cid_key(_plain(said).partition("/")[0]) if isinstance(said, str) else ""


def cid_key(text: str) -> str:
    """Return the key of what a CID names; empty for a text that is none."""
    try:
        raw = decode(text)
    except NotEncoded:
        return ""
    if raw[:2] != _VERSION_0:
        for _ in ("version", "codec"):  # numbers of seven bits a byte, as multiformats say
            raw = raw[next((at for at, byte in enumerate(raw) if byte < 0x80), len(raw)) + 1 :]
    return _digest([IPFS, raw.hex()]) if raw else ""


def is_dealt_out(params: Params) -> bool:
    """Whether each partition of a task gets files of its own from an input."""
    return any(key.casefold() == DEALT_OUT and value not in (None, "", {}) for key, value in params.items())


def share_key(key: str, partition: int, partitions: int) -> str:
    """Return the key of what one of several partitions gets of an input that is dealt out."""
    return _digest([key, partition, partitions]) if partitions > 1 else key


def _is_whole(params: Params) -> bool:
    """Whether nothing is said but a CID without a path."""
    said = [(key.casefold(), value) for key, value in params.items() if value not in (None, "", {}, [])]
    return all(key == _CID and "/" not in _plain(str(value)).rstrip("/") for key, value in said)


def _plain(text: str) -> str:
    return text.removeprefix("ipfs://").removeprefix("/ipfs/")


def _digest(told: Any) -> str:
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_CHARACTERS]
