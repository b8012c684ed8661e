"""`skrei-cluster-init site NAME …`: a site's files as an archive on standard output, or the end of a site."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime

from skrei_cluster_init import sites
from skrei_cluster_init.dealing import FOUNDER, NATS, Cluster, take_back
from skrei_cluster_init.sites import SiteWanted
from skrei_cluster_init.trust import Trust
from skrei_domain.errors import Invalid, NotFound
from skrei_kit import nats_auth
from skrei_kit.cluster_keys import Keys, load_or_make
from skrei_kit.secret_files import write_secret


def run(arguments: Sequence[str], cluster: Cluster, now: datetime, *, accounts_folder: str = "") -> None:
    """Do what the arguments say with a cluster that was founded. Raises SkreiError; exits 2 for what nobody knows.

    `accounts_folder` is that of the cluster's nats-server, as it was founded with.
    """
    told = _parser().parse_args(arguments)
    if not (cluster.keys_folder / "nats-ca.key").exists():
        raise NotFound(f"no cluster was founded in {cluster.folder}", hint="found it: `skrei-cluster-init` alone")
    take_back(cluster)  # nodes may have been revoked since it was founded
    keys = load_or_make(cluster.of(FOUNDER))
    if told.remove:
        sites.take_away(keys, told.name)
        _trust(cluster, keys, accounts_folder)
        by_itself = "within seconds: `keep-out` tells the cluster's nats-server."
        by_hand = "once the cluster's nats-server has read its trust.conf: send it SIGHUP."
        sys.stderr.write(f"Site {told.name} is let in no more {by_itself if accounts_folder else by_hand}\n")
        return
    if not (told.host and told.hub):
        raise Invalid("a site needs --host and --hub", hint="--host farm.lan --hub tls://10.0.0.1:7422")
    if sys.stdout.isatty():
        raise Invalid("this writes an archive with secrets to standard output", hint="… | sudo tar -x -C /etc/skrei")
    folder = told.folder or f"/etc/skrei/{told.name}"
    wanted = sites.check(SiteWanted(told.name, tuple(told.host), told.hub, folder, told.places))
    files = sites.make(keys, Trust(wanted.hosts, now), wanted)
    sys.stdout.buffer.write(sites.archive(wanted.name, files, now))
    sys.stderr.write(f"Site {wanted.name}: {wanted.places} nodes at most; docs/EDGE.md says where each file goes.\n")


def _trust(cluster: Cluster, keys: Keys, accounts_folder: str) -> None:
    text = nats_auth.server_config(keys.authority, sites.revoked(keys), accounts_folder=accounts_folder)
    for folder in (cluster.keys_folder, cluster.of(NATS)):
        write_secret(folder / "trust.conf", text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "skrei-cluster-init",
        description="Without arguments: found a cluster of containers, or look after one that was.",
    )
    commands = parser.add_subparsers(required=True, metavar="site")
    site = commands.add_parser("site", help="make what a site with a nats-server of its own needs, again at no harm")
    site.add_argument("name", metavar="NAME", help="small letters, digits and -")
    site.add_argument("--host", action="append", metavar="HOST",
                      help="a name or address of the site's server for its nodes; repeat")  # fmt: skip
    site.add_argument("--hub", metavar="URL", help="the way to the cluster's nats-server: tls://HOST:7422")
    site.add_argument("--places", type=int, default=sites.PLACES, metavar="N",
                      help=f"how many nodes it may have ({sites.PLACES})")  # fmt: skip
    site.add_argument("--folder", metavar="FOLDER", help="where its files will lie on its machine (/etc/skrei/NAME)")
    site.add_argument("--remove", action="store_true", help="let it in no more")
    return parser
