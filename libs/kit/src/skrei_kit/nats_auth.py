"""Who may say and hear what on NATS: operator, account and user JWTs (NATS JWT v2), made without any tool.

The server verifies a user by signatures alone: it knows the operator, the operator's signature names the account,
the account's signing key names the user with its permissions. So joining a node needs no change on the server.
"""

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import nkeys
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from skrei_domain import subjects

DOMAIN = "skrei"
"""What the streams of a control plane are called by servers that have none, or others, of their own."""
CLAIMS_UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
"""Where a server that keeps accounts in a folder of its own takes an account's newer JWT."""
_KEY_CHARACTERS = 56
_ONCE = 1_767_225_600  # 2026-01-01: the operator's own words are the same each time, which a reload of them asks for
_FOR_EVER = 253402300799  # the end of the year 9999: whenever a JWT was signed, it is revoked
_OPERATOR, _ACCOUNT, _USER = nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects that a user may publish and hear; nothing else."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    never_publish: tuple[str, ...] = ()
    never_subscribe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authority:
    """The keys of one cluster, as seeds: keep them 0600. `signing` signs users on the account's behalf."""

    operator: str
    system: str
    account: str
    signing: str

    @classmethod
    def new(cls) -> "Authority":
        """Make fresh keys."""
        return cls(new_seed(_OPERATOR), *(new_seed(_ACCOUNT) for _ in range(3)))

    @property
    def account_id(self) -> str:
        """The public key of the account that all of Skrei lives in."""
        return public_key(self.account)

    @property
    def signer(self) -> "Signer":
        """What lets users in, and can do nothing else."""
        return Signer(self.account_id, self.signing)

    @property
    def system_id(self) -> str:
        """The public key of the server's own account, which JetStream needs and nobody has a user in."""
        return public_key(self.system)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs users on the account's behalf: all that whoever lets nodes in needs. `seed` is secret."""

    account_id: str
    seed: str = field(repr=False)


def new_seed(prefix: int) -> str:
    """Return a fresh nkey seed of a kind."""
    seed: bytes = nkeys.encode_seed(os.urandom(32), prefix)
    return seed.decode()


def operator_jwt(authority: Authority) -> str:
    """Return the operator's self-signed JWT: what a server trusts."""
    claims: dict[str, object] = {"type": "operator", "version": 2}
    return _sign(authority.operator, public_key(authority.operator), "skrei", claims, at=_ONCE)


def account_jwt(authority: Authority, revoked: Iterable[str] = ()) -> str:
    """Return the account's JWT: JetStream without limits of its own (streams carry theirs).

    `revoked` are the public keys of users that are let in no more, whatever is signed for them.
    """
    unlimited = dict.fromkeys(
        ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams"), -1
    )
    claims = {
        "limits": {**unlimited, "consumer": -1, "wildcards": True},
        "signing_keys": [public_key(authority.signing)],
        "revocations": dict.fromkeys(revoked, _FOR_EVER),
        "default_permissions": {"pub": {}, "sub": {}},
        "type": "account",
        "version": 2,
    }
    return _sign(authority.operator, authority.account_id, "skrei", claims)


def system_jwt(authority: Authority) -> str:
    """Return the JWT of the server's own account."""
    limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    claims = {
        "limits": {**limits, "wildcards": True},
        "default_permissions": {"pub": {}, "sub": {}},
        "type": "account",
        "version": 2,
    }
    return _sign(authority.operator, authority.system_id, "system", claims)


def server_config(authority: Authority, revoked: Iterable[str] = (), *, accounts_folder: str = "") -> str:
    """Return the lines of nats.conf that make a server trust this authority, and nobody else.

    With a folder for its accounts the server takes newer words of them while it runs (`CLAIMS_UPDATE`), and keeps them.
    """
    kept = f"{{ type: full, dir: {json.dumps(accounts_folder)}, allow_delete: false }}" if accounts_folder else "MEMORY"
    return (
        f"operator: {operator_jwt(authority)}\n"
        f"system_account: {authority.system_id}\n"
        f"resolver: {kept}\n"
        "resolver_preload: {\n"
        f"  {authority.system_id}: {system_jwt(authority)}\n"
        f"  {authority.account_id}: {account_jwt(authority, revoked)}\n"
        "}\n"
    )


def revoked_in(config: str, account_id: str) -> frozenset[str]:
    """Return the keys that the lines of `server_config` let in no more. Raises ValueError for other texts."""
    lines = (line.strip().partition(": ") for line in config.splitlines())
    try:
        token = next(value for name, _, value in lines if name == account_id)
        return frozenset(claims(token)["nats"].get("revocations") or {})
    except (StopIteration, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"these lines of nats.conf name no account {account_id}") from error


def keeper_creds(authority: Authority, name: str) -> str:
    """Return the text of a creds file for who tells a server an account's newer JWT, and may do nothing else."""
    signer = Signer(authority.system_id, authority.system)
    permissions = Permissions(publish=(CLAIMS_UPDATE,), subscribe=("_INBOX.>",))
    seed = new_user_seed()
    return creds_text(_user_jwt(signer, public_key(seed), name, permissions), seed)


def user_creds(authority: Authority, name: str, permissions: Permissions, seed: str = "") -> str:
    """Return the text of a creds file for a user with these permissions: who has this seed, else a new one."""
    seed = seed or new_user_seed()
    return creds_text(_user_jwt(authority.signer, public_key(seed), name, permissions), seed)


def node_jwt(signer: Signer, key: str, node_id: str, *, seconds: float = 0.0) -> str:
    """Return what lets the holder of a public user key in as this node, for so long (docs/adr/0030); 0: without end."""
    return _user_jwt(signer, key, node_id, node(node_id), seconds=seconds)


def new_user_seed() -> str:
    """Return the seed of a fresh user key; it never leaves the machine that made it."""
    return new_seed(_USER)


def is_user_key(text: str) -> bool:
    """Whether a text is a public user key, its checksum included."""
    if len(text) != _KEY_CHARACTERS or not text.startswith("U"):
        return False
    try:
        raw = base64.b32decode(text)
    except ValueError:
        return False
    checked: int = nkeys.crc16(bytearray(raw[:-2]))
    return raw[0] == _USER and checked == int.from_bytes(raw[-2:], "little")


def creds_text(token: str, seed: str) -> str:
    """Return the text of a creds file: a user's JWT and the seed that proves to be that user."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        "Keep this file to yourself: whoever has it is this user.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


def _user_jwt(signer: Signer, key: str, name: str, permissions: Permissions, *, seconds: float = 0.0) -> str:
    claims: dict[str, object] = {
        "pub": {"allow": list(permissions.publish), "deny": list(permissions.never_publish)},
        "sub": {"allow": list(permissions.subscribe), "deny": list(permissions.never_subscribe)},
        "subs": -1,
        "data": -1,
        "payload": -1,
        "type": "user",
        "version": 2,
    }
    if signer.account_id != public_key(signer.seed):  # signed on the account's behalf: its key says for whom
        claims["issuer_account"] = signer.account_id
    return _sign(signer.seed, key, name, claims, seconds=seconds)


@dataclass(frozen=True, slots=True)
class User:
    """What a user's JWT says: its name (a node's is its id), its public key, and its time in seconds since 1970."""

    name: str
    key: str
    issued: int
    expires: int | None


def read_jwt(token: str) -> User:
    """Return what a user's JWT says, whoever signed it: the server verifies. Raises ValueError for other texts."""
    try:
        said = claims(token)
        expires = said.get("exp")
        return User(str(said["name"]), str(said["sub"]), int(said["iat"]), None if not expires else int(expires))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError("this is no JWT of a NATS user") from error


def claims(token: str) -> Any:
    """Return all that a JWT says, whoever signed it. Raises ValueError or IndexError for other texts."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def split_creds(text: str) -> tuple[str, str]:
    """Return the JWT in a creds file's text, and the seed. Raises ValueError for other texts."""
    lines = text.splitlines()
    try:
        token = lines[lines.index("-----BEGIN NATS USER JWT-----") + 1].strip()
        seed = lines[lines.index("-----BEGIN USER NKEY SEED-----") + 1].strip()
    except (IndexError, ValueError) as error:
        raise ValueError("this is not a NATS credentials file") from error
    return token, seed


def read_creds(text: str) -> tuple[User, str]:
    """Return the user of a creds file's text, and its seed. Raises ValueError for other texts."""
    token, seed = split_creds(text)
    try:
        return read_jwt(token), seed
    except ValueError as error:
        raise ValueError("this is not a NATS credentials file") from error


def name_in_creds(text: str) -> str:
    """Return the name of the user in a creds file's text: a node's is its id. Raises ValueError for other texts."""
    return read_creds(text)[0].name


# ---------------------------------------------------------------- proof of a key


def prove(seed: str, said: str) -> str:
    """Return a signature that only the holder of a seed can make of a text (base64)."""
    signature: bytes = nkeys.from_seed(bytearray(seed.encode())).sign(said.encode())
    return base64.b64encode(signature).decode()


def is_proven(key: str, said: str, signature: str) -> bool:
    """Whether the holder of a public user key signed a text. False for what is no key or no signature."""
    if not is_user_key(key):
        return False
    try:
        VerifyKey(base64.b32decode(key)[1:-2]).verify(said.encode(), base64.b64decode(signature, validate=True))
    except (ValueError, CryptoError):
        return False
    return True


def renewal(node_id: str, key: str, next_key: str) -> str:
    """Return what a node signs, with both keys, that wants to be let in with the next one.

    No time is in it: a node whose clock is wrong comes back too, and whoever repeats it gets what he has no seed for.
    """
    return f"skrei renewal\n{node_id}\n{key}\n{next_key}"


# ---------------------------------------------------------------- who is who


def node(node_id: str) -> Permissions:
    """An agent: its own branches and its own consumer, never another's, nor anybody's reply inbox."""
    consumer = subjects.consumer(node_id)
    stream = subjects.STREAM_COMMANDS
    return Permissions(
        publish=(
            subjects.up(node_id),
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
            f"$JS.{DOMAIN}.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",  # the same, behind a leaf
            f"$JS.ACK.{stream}.{consumer}.>",
        ),
        subscribe=(subjects.down(node_id), f"{subjects.inbox(node_id)}.>"),
    )


def site_of(node_ids: Iterable[str]) -> Permissions:
    """A site's own nats-server (a leaf) of these nodes: what they may say and hear, and nothing else passes its uplink.

    A wildcard stands for whole tokens only, so each node is named: some 500 bytes of its JWT.

    What they ask of streams passes under the domain's name alone: see `SKREI_NATS_DOMAIN` of a node.
    """
    nodes = [node(each) for each in node_ids]
    return Permissions(
        publish=tuple(subject for each in nodes for subject in each.publish),
        subscribe=tuple(subject for each in nodes for subject in each.subscribe),
    )


def scheduler() -> Permissions:
    """The leader: hears all nodes, commands them, answers their hellos, and owns the streams.

    A hello is answered in the node's own inbox, `_INBOX_<node>`, and a wildcard stands for whole tokens only; so it may
    say everything except what only nodes and other services say.
    """
    return Permissions(
        publish=(">",),
        subscribe=(
            f"{subjects.ROOT}.up.>",
            subjects.HINT_EVALUATION,
            subjects.PUBLISHER_FACT,
            "_INBOX.>",
        ),
        never_publish=(f"{subjects.ROOT}.up.>", subjects.HINT_EVALUATION, subjects.PUBLISHER_FACT, "$SYS.>"),
    )


def api() -> Permissions:
    """The public door: hints to the scheduler, questions to nodes and their answers, and the feed."""
    return Permissions(
        publish=(subjects.HINT_EVALUATION, f"{subjects.ROOT}.down.*.rpc", subjects.ALL_FEED),
        subscribe=(subjects.ALL_FEED, f"{subjects.ROOT}.up.*.log.>", f"{subjects.ROOT}.up.*.answer.>", "_INBOX.>"),
    )


def publisher() -> Permissions:
    """The publisher: its commands and its facts."""
    return Permissions(publish=(subjects.PUBLISHER_FACT,), subscribe=(subjects.PUBLISHER_COMMAND, "_INBOX.>"))


# ---------------------------------------------------------------- encoding


def public_key(seed: str) -> str:
    """Return the public half of a seed."""
    public: bytes = nkeys.from_seed(bytearray(seed.encode())).public_key
    return public.decode()


def _sign(
    issuer_seed: str, subject: str, name: str, claims: dict[str, object], *, at: int | None = None, seconds: float = 0.0
) -> str:
    pair = nkeys.from_seed(bytearray(issuer_seed.encode()))
    issued = int(time.time()) if at is None else at
    body: dict[str, object] = {
        "iat": issued,
        "iss": public_key(issuer_seed),
        "name": name,
        "sub": subject,
        "nats": claims,
    }
    if seconds:
        body["exp"] = issued + max(1, int(seconds))
    digest = hashlib.new("sha512_256", _json(body)).digest()
    body["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    head = _base64(_json({"typ": "JWT", "alg": "ed25519-nkey"}))
    signed = head + b"." + _base64(_json(body))
    return (signed + b"." + _base64(pair.sign(signed))).decode()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
