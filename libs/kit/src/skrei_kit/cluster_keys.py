"""The cluster's secrets on this machine: who signs users and tokens, and the files that each service is given.

All lie in <data-dir>/keys (0700, files 0600). Keys are made once; users are signed anew at each start, so that a new
release's permissions hold from its first start on.
"""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from skrei_domain.ids import new_node_id
from skrei_kit import nats_auth, signing_keys
from skrei_kit.nats_auth import Authority, Permissions
from skrei_kit.secret_files import write_secret

OWNER_TOKEN, JOIN_TOKEN = "owner.token", "join.token"
TOKEN_BYTES = 32  # nobody guesses 256 bits, so no lock-out is needed that would hit the owner too


@dataclass(frozen=True, slots=True)
class Keys:
    """Where each secret lies. `authority` is never given to a child."""

    folder: Path
    authority: Authority
    node_id: str

    def creds(self, user: str) -> Path:
        """Return the NATS credentials file of `api`, `scheduler`, `publisher` or `node`."""
        return self.folder / f"{user}.creds"

    @property
    def token_key(self) -> Path:
        """The private key that tokens are signed with (PEM)."""
        return self.folder / "token.pem"

    @property
    def token_public_key(self) -> Path:
        """Its public half."""
        return self.folder / "token.pub.pem"

    @property
    def receipt_key(self) -> Path:
        """The private key that the publisher signs receipts with (PEM)."""
        return self.folder / "receipt.pem"

    @property
    def receipt_public_key(self) -> Path:
        """Its public half."""
        return self.folder / "receipt.pub.pem"

    @property
    def internal_token(self) -> Path:
        """What the publisher shows at the API's internal routes."""
        return self.folder / "internal.token"

    @property
    def owner_token(self) -> Path:
        """What proves the owner: whoever can read this file is who started the stack, or root."""
        return self.folder / OWNER_TOKEN

    @property
    def join_token(self) -> Path:
        """What another machine shows once, to be given credentials of its own."""
        return self.folder / JOIN_TOKEN

    @property
    def node_signer(self) -> Path:
        """What the API signs joining nodes with; it cannot change the account."""
        return self.folder / "node.signer.json"

    @property
    def revoked_file(self) -> Path:
        """Public keys that are let in no more, a line each: the API writes them, and whoever owns the folder may."""
        return self.folder / "revoked"

    @property
    def revoked(self) -> tuple[str, ...]:
        """What stands in that file now."""
        lines = self.revoked_file.read_text("utf-8").split() if self.revoked_file.exists() else []
        return tuple(line for line in lines if nats_auth.is_user_key(line))


def load_or_make(data_dir: Path) -> Keys:
    """Return the keys of a data folder; those that are missing are made."""
    folder = data_dir / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    authority = _authority(folder / "authority.json")
    node_file = folder / "node.id"
    if not node_file.exists():
        write_secret(node_file, new_node_id())
    keys = Keys(folder, authority, node_file.read_text("ascii").strip())
    for private, public in ((keys.token_key, keys.token_public_key), (keys.receipt_key, keys.receipt_public_key)):
        if not (private.exists() and public.exists()):
            _make_signing_keys(private, public)
    write_secret(keys.node_signer, json.dumps(asdict(authority.signer)))
    for secret in (keys.internal_token, keys.owner_token, keys.join_token):
        if not secret.exists():
            write_secret(secret, secrets.token_urlsafe(TOKEN_BYTES))
    users: dict[str, tuple[str, Permissions]] = {
        "api": ("api", nats_auth.api()),
        "scheduler": ("scheduler", nats_auth.scheduler()),
        "publisher": ("publisher", nats_auth.publisher()),
        "node": (keys.node_id, nats_auth.node(keys.node_id)),
    }
    for user, (name, permissions) in users.items():
        write_secret(keys.creds(user), nats_auth.user_creds(authority, name, permissions))
    return keys


def _make_signing_keys(private: Path, public: Path) -> None:
    if not private.exists():
        write_secret(private, signing_keys.new_key()[0].decode())
    write_secret(public, signing_keys.public_of(private.read_bytes()).decode())


def node_creds(keys: Keys, node_id: str) -> str:
    """Return the text of a credentials file for a node outside this machine."""
    return nats_auth.user_creds(keys.authority, node_id, nats_auth.node(node_id))


def _authority(path: Path) -> Authority:
    if not path.exists():
        write_secret(path, json.dumps(asdict(Authority.new())))
    return Authority(**json.loads(path.read_text("utf-8")))
