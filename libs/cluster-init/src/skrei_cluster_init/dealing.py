"""Who of a cluster is given which secret: a folder for each, which is a volume of its own where they are containers.

What only the founder needs (who signs the cluster, who signs its certificates) stays in a folder that nobody else has.
"""

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from skrei_cluster_init import sites
from skrei_cluster_init.sites import SiteWanted
from skrei_cluster_init.trust import Trust
from skrei_kit import nats_auth
from skrei_kit.cluster_keys import JOIN_TOKEN, Keys, load_or_make
from skrei_kit.secret_files import write_secret

PASSWORD_BYTES = 24
"""Of what one service shows to another's server: nobody guesses 192 bits."""

FOUNDER, API, SCHEDULER, PUBLISHER = "founder", "orchestrator-api", "scheduler", "publisher"
NATS, POSTGRES, S3, AGENT = "nats", "postgres", "s3", "compute-agent"
SITES = "sites"

DEALT = {
    API: (
        *("api.creds", "token.pem", "token.pub.pem", "internal.token", "owner.token", "join.token"),
        *("node.signer.json", "nats-ca.pem", "pgpass"),
    ),
    SCHEDULER: ("scheduler.creds", "token.pem", "receipt.pub.pem", "nats-ca.pem", "pgpass"),
    PUBLISHER: ("publisher.creds", "token.pub.pem", "receipt.pem", "internal.token", "nats-ca.pem", "aws-credentials"),
    NATS: ("trust.conf", "server.pem", "server.key"),
    POSTGRES: ("postgres.password",),
    S3: ("s3.env",),
    AGENT: ("join.token", "aws-credentials"),
}
"""The files of each folder: nothing that its owner does not read itself."""

KEPT_BY_API = ("join.token", "revoked")
"""What the API changes (`skrei node join-line --rotate`, `skrei node revoke`): its copy is the one that holds."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster's folder, one below it for each that is given something."""

    folder: Path

    def of(self, name: str) -> Path:
        """The folder of one."""
        return self.folder / name

    @property
    def keys_folder(self) -> Path:
        """Where all of it is made."""
        return self.of(FOUNDER) / "keys"


def deal(
    cluster: Cluster,
    trust: Trust,
    wanted: Iterable[SiteWanted] = (),
    *,
    accounts_folder: str = "",
    archives: bool = False,
) -> Keys:
    """Make what is missing, and give each its own; what was made before stays, so this may be done at any time.

    A site has two folders: its server's, and its nodes'. With `archives` it has one file, for its machine, and sites
    that are not wanted are taken away. `accounts_folder` is where the cluster's nats-server keeps what it is told while
    it runs.
    """
    cluster.of(FOUNDER).mkdir(mode=0o700, parents=True, exist_ok=True)
    take_back(cluster)
    keys = load_or_make(cluster.of(FOUNDER))
    made, wanted = cluster.keys_folder, tuple(wanted)
    if archives:
        for name in set(sites.known(keys)) - {site.name for site in wanted}:
            sites.take_away(keys, name)
    trust.settle(made)
    _passwords(made)
    trusted = nats_auth.server_config(keys.authority, sites.revoked(keys), accounts_folder=accounts_folder)
    write_secret(made / "trust.conf", trusted)
    for name, files in DEALT.items():
        _give(cluster.of(name), {file: (made / file).read_text("utf-8") for file in files})
    if archives:
        _archive(cluster.of(SITES), {site.name: sites.make(keys, trust, site) for site in wanted}, trust.now)
        return keys
    for site in wanted:
        told = sites.make(keys, trust, site)
        _give(cluster.of(f"site-{site.name}"), {file: told[file] for file in sites.SERVER_FILES})
        joining = (made / JOIN_TOKEN).read_text("utf-8")
        _give(cluster.of(f"site-{site.name}-nodes"), {sites.SITE_FILE: told[sites.SITE_FILE], JOIN_TOKEN: joining})
    return keys


def _give(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in files.items():
        write_secret(folder / name, text)


def _archive(folder: Path, made: Mapping[str, Mapping[str, str]], now: datetime) -> None:
    """Make a folder hold an archive for each site, and nothing else."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for former in folder.iterdir():
        former.unlink()
    for name, files in made.items():
        path = folder / f"{name}.tar"
        path.touch(0o600)
        path.write_bytes(sites.archive(name, files, now))


def take_back(cluster: Cluster) -> None:
    """Make what the API has changed ours."""
    cluster.keys_folder.mkdir(mode=0o700, exist_ok=True)
    for name in KEPT_BY_API:
        theirs = cluster.of(API) / name
        if theirs.is_file() and not theirs.is_symlink():  # a link could lead to what only the founder has
            write_secret(cluster.keys_folder / name, _read(theirs))


def _read(path: Path) -> str:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
        return file.read()


def _passwords(made: Path) -> None:
    """Make what opens Postgres and the S3 server, in the forms that each reads."""
    password = _kept(made / "postgres.password")
    write_secret(made / "pgpass", f"*:*:*:*:{password}\n")
    access, secret = _kept(made / "s3.access", prefix="SKREI"), _kept(made / "s3.secret")
    write_secret(made / "s3.env", f"export ROOT_ACCESS_KEY={access} ROOT_SECRET_KEY={secret}\n")
    write_secret(
        made / "aws-credentials", f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    )


def _kept(path: Path, prefix: str = "") -> str:
    if not path.exists():
        write_secret(path, prefix + secrets.token_hex(PASSWORD_BYTES))
    return path.read_text("ascii")
