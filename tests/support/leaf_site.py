"""A cluster's nats-server and that of a site of it, as `skrei-cluster-init` makes them: real ones, on loopback."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from skrei_cluster_init.dealing import Cluster, deal
from skrei_cluster_init.sites import SiteWanted
from skrei_cluster_init.trust import Trust
from skrei_domain import subjects
from skrei_embedded.installs import find_nats_server
from skrei_embedded.nats import NatsOptions, NatsServer, free_port
from skrei_kit import cluster_keys as keys
from skrei_kit.bus import Bus
from skrei_kit.secret_files import write_secret
from skrei_kit.sites import Site, read_site
from tests.support.servers import spawner

HERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Founded:
    """A cluster with a site whose server runs; the cluster's own is started by the test."""

    keys: keys.Keys
    hub: NatsServer
    site: Site
    url: str
    files: Path
    leaf_port: int
    """Where the cluster's own server takes sites in."""

    @property
    def node(self) -> str:
        return self.site.places[0]

    async def plane(self) -> Bus:
        return await Bus.connect(self.hub.url, name="plane", creds=self.keys.creds("scheduler"))

    def given(self, folder: Path, node_id: str) -> tuple[Path, Path]:
        """Return the files of a node's credentials, and of who vouches for the site's server."""
        creds, ca = folder / f"{node_id}.creds", folder / "ca.pem"
        write_secret(creds, keys.node_creds(self.keys, node_id))
        ca.write_text(self.site.nats_ca)
        return creds, ca

    async def join(self, folder: Path, node_id: str, **how: object) -> Bus:
        """Connect to the site's server as a node."""
        creds, ca = self.given(folder, node_id)
        told = {"name": "node", "creds": creds, "ca": ca, "inbox_prefix": subjects.inbox(node_id)}
        return await Bus.connect(self.url, **(told | how))  # type: ignore[arg-type]


@contextmanager
def server(folder: Path, conf: str) -> Iterator[None]:
    (folder / "nats.conf").write_text(conf)
    with (folder / "nats.log").open("wb") as log:
        process = subprocess.Popen([str(find_nats_server()), "-c", str(folder / "nats.conf")], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def founded(folder: Path, *, places: int = 1, by: int = 0) -> Iterator[Founded]:
    """What `skrei-cluster-init` makes, on ports of its own, with TLS on every way; `by` a port the site goes out."""
    leaf_port, port = free_port(), free_port()
    cluster, trust = Cluster(folder / "cluster"), Trust((HERE,), datetime.now(UTC))
    files = cluster.of("site-ship")
    made = deal(cluster, trust, (SiteWanted("ship", (HERE,), f"tls://{HERE}:{by or leaf_port}", str(files), places),))
    here = cluster.of("nats")
    tls = f'tls {{ cert_file: "{here}/server.pem", key_file: "{here}/server.key" }}'
    told = (
        f'max_control_line: 262144\nleafnodes {{ listen: "{HERE}:{leaf_port}", no_advertise: true, {tls} }}\n'
        + (here / "trust.conf").read_text()
    )
    conf = re.sub(r"(?m)^http:.*$", "", (files / "nats.conf").read_text()).replace("0.0.0.0:4222", f"{HERE}:{port}")
    conf = conf.replace("reconnect: 2", "reconnect: 1")
    with spawner() as children, server(files, conf):
        hub = NatsServer(folder, NatsOptions(free_port(), trust=told), children)
        try:
            site = read_site(cluster.of("site-ship-nodes") / "site.json")
            yield Founded(made, hub, site, f"tls://{HERE}:{port}", files, leaf_port)
        finally:
            hub.stop()
