"""Found a cluster of containers, or look after one that was: `skrei-cluster-init`, run before the others start.

It refuses what cannot work before anything has started, makes what is missing, and says how the cluster is used.
`skrei-cluster-init site NAME …` makes what a site with a nats-server of its own needs (docs/EDGE.md);
`skrei-cluster-init keep-out` tells the nats-server which keys were revoked, for as long as it runs.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from skrei_cluster_init import doors, site_command, sites
from skrei_cluster_init.dealing import FOUNDER, Cluster, deal
from skrei_cluster_init.doors import Door
from skrei_cluster_init.sites import SiteWanted
from skrei_cluster_init.trust import Trust
from skrei_domain.errors import SkreiError
from skrei_kit.cluster_keys import OWNER_TOKEN

DEFAULTS = {
    "SKREI_CLUSTER_DIR": "/run/skrei",  # a folder, below it one for each service
    "SKREI_PUBLISH": "127.0.0.1",  # where the two ports are published
    "SKREI_API_PORT": "1234",
    "SKREI_PUBLISHER_PORT": "1235",
    "SKREI_NATS_HOSTS": "nats,localhost,127.0.0.1",  # what its certificate is for
    "SKREI_NATS_ACCOUNTS_FOLDER": "",  # where it keeps what `keep-out` tells it; empty: it knows what trust.conf says
    "SKREI_EDGE_ADDRESS": "",  # of this machine, at which nodes and sites on others come in
    "SKREI_S3_BUCKETS": "",  # folders that are made in each of SKREI_S3_DIRS, which S3 servers show as buckets
    "SKREI_S3_DIRS": "",
    "SKREI_SITES": "",  # sites with a nats-server of their own, `name=host+host,…`, each given two folders here
    "SKREI_SITES_ARCHIVES": "",  # true: an archive each instead, in the folder `sites`; no other is let in any more
    "SKREI_SITES_HUB": "tls://nats:7422",  # the way from there to the cluster's nats-server
    "SKREI_SITES_FOLDER": "/run/skrei",  # where a site's server sees its folder
}
"""The variables that it reads, and what holds where they are not set."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    cluster: Cluster
    publish: str
    api_port: int
    publisher_port: int
    nats_hosts: tuple[str, ...]
    accounts_folder: str
    buckets: tuple[Path, ...]
    sites: tuple[SiteWanted, ...]
    archives: bool


def read(environ: Mapping[str, str]) -> Wanted:
    """Return what the environment asks for. Raises Invalid, naming the variable."""
    told = {name: environ.get(name) or default for name, default in DEFAULTS.items()}
    doors.check_published(told["SKREI_PUBLISH"])
    doors.check_edge(told["SKREI_EDGE_ADDRESS"])
    return Wanted(
        Cluster(Path(told["SKREI_CLUSTER_DIR"])),
        told["SKREI_PUBLISH"],
        doors.read_port("SKREI_API_PORT", told["SKREI_API_PORT"]),
        doors.read_port("SKREI_PUBLISHER_PORT", told["SKREI_PUBLISHER_PORT"]),
        _items(told["SKREI_NATS_HOSTS"]),
        told["SKREI_NATS_ACCOUNTS_FOLDER"],
        tuple(
            Path(folder) / name for folder in _items(told["SKREI_S3_DIRS"]) for name in _items(told["SKREI_S3_BUCKETS"])
        ),
        sites.read(told["SKREI_SITES"], told["SKREI_SITES_FOLDER"], told["SKREI_SITES_HUB"]),
        told["SKREI_SITES_ARCHIVES"] == "true",
    )


def main() -> None:
    """Do it; exit 1 with one sentence, and what to do, where something cannot work."""
    try:
        if sys.argv[1:] == ["keep-out"]:
            from skrei_cluster_init import keep_out  # founding a cluster connects to nobody

            keep_out.main()
            return
        if sys.argv[1:]:
            wanted, now = read(os.environ), datetime.now(UTC)
            site_command.run(sys.argv[1:], wanted.cluster, now, accounts_folder=wanted.accounts_folder)
            return
        print(found(read(os.environ), datetime.now(UTC)))  # noqa: T201  (what this program is for)
    except SkreiError as error:
        sys.exit(f"skrei: {error.message}" + (f"\n       {error.hint}" if error.hint else ""))
    except OSError as error:
        sys.exit(f"skrei: {error}\n       is each folder one that user {os.getuid()} may write?")


def found(wanted: Wanted, now: datetime) -> str:
    """See that the ports can be had, make what is missing, and return how the cluster is used. Raises SkreiError."""
    founder = wanted.cluster.of(FOUNDER)
    founder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = (
        Door("SKREI_API_PORT", wanted.api_port, "the API"),
        Door("SKREI_PUBLISHER_PORT", wanted.publisher_port, "results"),
    )
    said = doors.settle(wanted.publish, ports, founder / "doors")
    deal(
        wanted.cluster,
        Trust(wanted.nats_hosts, now),
        wanted.sites,
        accounts_folder=wanted.accounts_folder,
        archives=wanted.archives,
    )
    for bucket in wanted.buckets:
        bucket.mkdir(exist_ok=True)
    return "\n".join([*said, usage(f"http://{wanted.publish}:{wanted.api_port}")])


def usage(api_url: str) -> str:
    """Return how the cluster is used from this machine, once it is up."""
    return (
        "This cluster has its keys. When it is up, the command line finds it after this, in the same folder:\n\n"
        f"  docker compose exec -T orchestrator-api cat /run/skrei/{OWNER_TOKEN} | "
        f"skrei profile save compose --endpoint {api_url} --token-file /dev/stdin --select\n\n"
        "Without it: docker compose run --rm cli node list"
    )


def _items(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


if __name__ == "__main__":
    main()
