"""Sites of a cluster: what a nats-server of a site's own is given, and what its nodes are.

A site may say and hear what its own nodes may, and nothing else: it has places, ids of nodes that are made with it. Its
key, its certificate and its places stay the same however often it is made, until it is taken away.
"""

import io
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from skrei_cluster_init.trust import Trust
from skrei_domain.errors import Invalid, NotFound
from skrei_domain.ids import new_node_id
from skrei_kit import nats_auth
from skrei_kit.cluster_keys import Keys
from skrei_kit.secret_files import write_secret
from skrei_kit.sites import Site

PLACES = 64
"""Nodes of a site that says nothing else: each costs its server 500 bytes at a reconnect, and one that is replaced by a
new one takes another."""
MOST_PLACES = 250
"""More are several sites: what all of them may is one line, of 130 KB, each time that the uplink is back."""
PORT = 4222
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:]{2,45}")
_HUB = re.compile(r"tls://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")
SERVER_FILES = ("nats.conf", "trust.conf", "server.pem", "server.key", "nats-ca.pem", "site.creds")
"""What the site's server is given."""
SITE_FILE = "site.json"
"""What each of its nodes is given."""
_REVOKED = "revoked-sites"


@dataclass(frozen=True, slots=True)
class SiteWanted:
    """A site: what its server is called by, where the cluster's takes it in, and where its files will lie there."""

    name: str
    hosts: tuple[str, ...]
    hub: str
    folder: str
    places: int = PLACES


def check(wanted: SiteWanted) -> SiteWanted:
    """Return it. Raises Invalid for what is no name, no host, no address, or too many places."""
    if not _NAME.fullmatch(wanted.name):
        raise Invalid(f"{wanted.name}: no site can be called so", hint="small letters, digits and - make a name")
    for host in wanted.hosts:
        if not _HOST.fullmatch(host):
            raise Invalid(
                f"{host}: that is no host", hint="a name or an address, by which nodes reach the site's server"
            )
    if not _HUB.fullmatch(wanted.hub):
        raise Invalid(f"--hub {wanted.hub}: that is no way to the cluster", hint="it looks like tls://10.0.0.1:7422")
    if not (wanted.folder.startswith("/") and wanted.folder.isprintable() and '"' not in wanted.folder):
        raise Invalid(f"--folder {wanted.folder}: that is no folder", hint="it begins with / and has no quotes")
    if not 1 <= wanted.places <= MOST_PLACES:
        raise Invalid(f"--places {wanted.places}: not that many", hint=f"name a number from 1 to {MOST_PLACES}")
    return wanted


def read(text: str, folder: str, hub: str) -> tuple[SiteWanted, ...]:
    """Return the sites that `ship=nats-ship,farm=farm.lan+10.1.0.1` names. Raises Invalid.

    In `folder` {site} stands for the site's name.
    """
    found = []
    for each in filter(None, (item.strip() for item in text.split(","))):
        name, told, host = each.partition("=")
        if not told:
            raise Invalid(f"SKREI_SITES={text}: a site has a name and a host", hint="it looks like ship=nats-ship")
        found.append(check(SiteWanted(name, tuple(host.split("+")), hub, folder.replace("{site}", name))))
    return tuple(found)


def make(keys: Keys, trust: Trust, wanted: SiteWanted) -> dict[str, str]:
    """Return the files of a site by their names. What was made for it before stays; more places may be added."""
    own = keys.folder / "sites" / wanted.name
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    seed, places = own / "site.seed", own / "places"
    if not seed.exists():
        write_secret(seed, nats_auth.new_user_seed())
    had = places.read_text("ascii").split() if places.exists() else []
    if len(had) < wanted.places:
        had += [new_node_id() for _ in range(wanted.places - len(had))]
        write_secret(places, "\n".join(had) + "\n")
    Trust(wanted.hosts, trust.now).settle(own, signed_by=keys.folder)
    url = f"tls://{_bracketed(wanted.hosts[0])}:{PORT}"
    authority = (keys.folder / "nats-ca.pem").read_text("ascii")
    site = Site(wanted.name, url, nats_auth.DOMAIN, authority, tuple(had))
    may = nats_auth.site_of(had)
    return {
        "nats.conf": server_config(keys, wanted),
        "trust.conf": nats_auth.server_config(keys.authority, revoked(keys)),
        "server.pem": (own / "server.pem").read_text("ascii"),
        "server.key": (own / "server.key").read_text("ascii"),
        "nats-ca.pem": authority,
        "site.creds": nats_auth.user_creds(keys.authority, wanted.name, may, seed.read_text("ascii")),
        SITE_FILE: site.text(),
    }


def server_config(keys: Keys, wanted: SiteWanted) -> str:
    """Return the nats.conf of a site's server: JetStream stays at the cluster, what it keeps passes by its domain."""
    at = wanted.folder.rstrip("/")
    return f"""# The nats-server of a site: its nodes speak with it, and it with the cluster's, while there is a line.
server_name: "skrei-site-{wanted.name}"
listen: "0.0.0.0:{PORT}"
http: "127.0.0.1:8222"
max_payload: 589824
max_control_line: 262144  # the site's JWT names each of its nodes; so does what the cluster's server answers

tls {{ cert_file: "{at}/server.pem", key_file: "{at}/server.key" }}

# The operator that is trusted, and the keys that were revoked when this was made.
include trust.conf

leafnodes {{
  reconnect: 2
  remotes: [{{
    url: "{wanted.hub}"
    account: {keys.authority.account_id}
    credentials: "{at}/site.creds"
    tls {{ ca_file: "{at}/nats-ca.pem" }}
  }}]
}}
"""


def archive(name: str, files: Mapping[str, str], now: datetime) -> bytes:
    """Return files as a tar archive with one folder of that name; for its owner's eyes alone but what nodes read."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for file, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size, entry.mtime = len(content), int(now.timestamp())
            entry.mode = 0o644 if file == SITE_FILE else 0o600
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def take_away(keys: Keys, name: str) -> None:
    """Let a site in no more. Raises NotFound."""
    own = keys.folder / "sites" / name
    if not (_NAME.fullmatch(name) and own.is_dir()):
        raise NotFound(f"there is no site {name}", hint=f"there are: {', '.join(known(keys)) or 'none'}")
    key = nats_auth.public_key((own / "site.seed").read_text("ascii"))
    write_secret(keys.folder / _REVOKED, "".join(f"{each}\n" for each in (*_former(keys), key)))
    shutil.rmtree(own)


def known(keys: Keys) -> list[str]:
    """Return the names of the sites."""
    sites = keys.folder / "sites"
    return sorted(each.name for each in sites.iterdir()) if sites.is_dir() else []


def revoked(keys: Keys) -> Sequence[str]:
    """Return the keys of all users that are let in no more: of nodes, and of sites that were taken away."""
    return (*keys.revoked, *_former(keys))


def _former(keys: Keys) -> list[str]:
    file = keys.folder / _REVOKED
    return file.read_text("ascii").split() if file.exists() else []


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
