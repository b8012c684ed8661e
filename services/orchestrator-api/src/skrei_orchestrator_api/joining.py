"""What a joining machine sends, and what it is told: read and made here, without any I/O."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from skrei_domain.errors import Invalid
from skrei_domain.job_reading import printable
from skrei_domain.lifecycle import JobState
from skrei_kit import nats_auth
from skrei_orchestrator_api.access import is_loopback
from skrei_orchestrator_api.gate import hostname
from skrei_store.joining import Renewal

CLOCK_SECONDS = 300.0
"""How far a joining machine's clock may be off: signed addresses live for minutes, and people compare times."""
MAX_NODE_NAME = 256
"""Characters of a node's name: it stands in tables that people read."""

HIDDEN_TOKEN = "TOKEN"
"""What stands in the place of the join token for whoever did not prove to be the owner."""
NO_NODE = "available: 0, suitable: 0."
"""How the reason of a job ends that waits while no node is known."""

_NODE_ID = re.compile(r"n-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,255}")


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A node that wants in. `key` is the public half of the one that it made for itself."""

    node_id: str
    key: str
    name: str
    take_over: bool


def read_join(body: Mapping[str, Any], *, now: float) -> JoinRequest:
    """Return what a joining machine asks for; `now` in seconds since 1970. Raises Invalid, one line for each field."""
    node_id, key, name = body.get("NodeID"), body.get("PublicKey"), body.get("Name") or ""
    at, take_over = body.get("Time"), body.get("TakeOver") or False
    wrong = _wrong_ids(body, "PublicKey")
    if not (isinstance(name, str) and len(name) <= MAX_NODE_NAME and printable(name) == name):
        wrong.append(f"Name: allowed: printable text of at most {MAX_NODE_NAME} characters")
    if not isinstance(take_over, bool):
        wrong.append("TakeOver: allowed: true or false")
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
        wrong.append("Time: allowed: seconds since 1970")
    if wrong:
        raise Invalid("\n".join(wrong), component="NodeManager")
    off = float(at or 0) - now
    if abs(off) > CLOCK_SECONDS:
        raise Invalid(
            f"this machine's clock is {_span(abs(off))} {'ahead of' if off > 0 else 'behind'} the control plane's",
            hint="set it (`timedatectl set-ntp true`), or set the control plane's if that is the wrong one; then join",
            component="NodeManager",
        )
    return JoinRequest(str(node_id), str(key), name, take_over)


def read_renewal(body: Mapping[str, Any], address: str) -> Renewal:
    """Return what a node asks for that joined, once both of its keys are proven. Raises Invalid, a line each field."""
    node_id, key, next_key = body.get("NodeID"), body.get("PublicKey"), body.get("NextPublicKey")
    proofs = {name: body.get(name) for name in ("Proof", "NextProof")}
    wrong = _wrong_ids(body, "PublicKey", "NextPublicKey")
    if not wrong and key == next_key:
        wrong.append("NextPublicKey: allowed: another key than PublicKey")
    if not wrong:
        said = nats_auth.renewal(str(node_id), str(key), str(next_key))
        for (name, proof), of in zip(proofs.items(), (key, next_key), strict=True):
            if not (isinstance(proof, str) and nats_auth.is_proven(str(of), said, proof)):
                wrong.append(f"{name}: allowed: a signature of the renewal by that key, in base64")
    if wrong:
        raise Invalid("\n".join(wrong), component="NodeManager")
    return Renewal(str(node_id), str(key), str(next_key), address)


def _wrong_ids(body: Mapping[str, Any], *keys: str) -> list[str]:
    """Return what is wrong with a node's id and with the public keys that these fields hold, a line for each."""
    wrong = []
    if not (isinstance(node_id := body.get("NodeID"), str) and _NODE_ID.fullmatch(node_id)):
        wrong.append("NodeID: allowed: n- and a uuid in small letters")
    return wrong + [
        f"{name}: allowed: a public user nkey, which begins with U"
        for name in keys
        if not (isinstance(key := body.get(name), str) and nats_auth.is_user_key(key))
    ]


def seen_from(url: str, asked: str) -> str:
    """Return `url` as the caller reaches it who asked for host `asked` (a Host header).

    An address that only this machine has is told with the host that the caller used; all others stay as they are.
    """
    parts = urlsplit(url)
    host = hostname(f"//{asked}")
    if not (is_loopback(parts.hostname or "") or parts.hostname == "localhost"):
        return url
    if not host or not _HOST.fullmatch(host):
        return url
    bracketed = f"[{host}]" if ":" in host else host
    return urlunsplit(parts._replace(netloc=f"{bracketed}:{parts.port}" if parts.port else bracketed))


def nats_ways(told: str) -> tuple[str, ...]:
    """Return the ways to the transport that a setting names, the best first."""
    return tuple(way.strip() for way in told.split(",") if way.strip())


def waits_for_any_node(state: JobState, message: str) -> bool:
    """Whether a job waits because there is no node at all: of any that is known, its reason would tell."""
    return state is JobState.QUEUED and message.endswith(NO_NODE)


def nobody_joined(url: str, token: str) -> str:
    """Return how to add the first node to a control plane that others reach at `url` (empty: none do).

    `token` is empty for a caller who is not to see it.
    """
    if not url:
        return (
            "no node has joined yet; start the control plane with `skrei serve --listen ADDR`, which prints the line "
            "for another machine, or run a node beside it: `skrei serve`"
        )
    told = f"no node has joined yet; on another machine run: {join_line(url, token or HIDDEN_TOKEN)}"
    return told if token else f"{told} (`skrei node join-line` tells the owner the token)"


def join_line(url: str, token: str) -> str:
    """Return the command that makes another machine a node of the control plane at `url`."""
    return f"skrei serve --compute --join {url} --token {token}"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
