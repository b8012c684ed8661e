"""What the nodes of a site with a nats-server of its own are told: where that is, and which nodes they may be.

What a site may say and hear at the control plane is signed before its nodes are there, so a site has places: ids, of
which each node that joins there takes one that nobody has.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skrei_domain.errors import Invalid

SITE_BYTES = 1024 * 1024
"""The largest file of a site that is read: 250 places and a chain of certificates are a tenth of it."""


@dataclass(frozen=True, slots=True)
class Site:
    """A site as its nodes know it; nothing of it is secret."""

    name: str
    nats_url: str
    nats_domain: str
    nats_ca: str
    """The certificates (PEM) that vouch for its server; empty: what the machine trusts."""
    places: tuple[str, ...]
    """Ids of nodes."""

    def text(self) -> str:
        """Return it as the file that its nodes are given."""
        told = {"Name": self.name, "NATSURL": self.nats_url, "NATSDomain": self.nats_domain, "NATSCA": self.nats_ca}
        return json.dumps(told | {"Places": list(self.places)}, indent=1) + "\n"

    def in_order(self, key: str) -> Sequence[str]:
        """Return its places in the order in which the machine with this key asks for them: many at once seldom meet."""
        first = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % max(1, len(self.places))
        return self.places[first:] + self.places[:first]


def read_site(path: Path) -> Site:
    """Return the site of a file. Raises Invalid, naming the file."""
    hint = "name the site.json that `skrei-cluster-init site` made (docs/EDGE.md)"
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(SITE_BYTES))
        places = told["Places"]
        site = Site(told["Name"], told["NATSURL"], told["NATSDomain"], told["NATSCA"], tuple(places))
        texts = (site.name, site.nats_url, site.nats_domain, site.nats_ca, *site.places)
        if isinstance(places, list) and places and all(isinstance(each, str) for each in texts):
            return site
    except OSError as error:
        raise Invalid(f"--site {path}: {error.strerror}", hint=hint) from error
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid(f"--site {path}: that is no file of a site", hint=hint) from error
    raise Invalid(f"--site {path}: that is no file of a site", hint=hint)
