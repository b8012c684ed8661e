"""The servers of a stack: an embedded Postgres and nats-server where nobody named others, and whom that one trusts."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from skrei_domain.errors import Invalid, Unavailable
from skrei_embedded.doors import check_free
from skrei_embedded.nats import START_SECONDS as NATS_START_SECONDS
from skrei_embedded.nats import NatsOptions, NatsServer, free_port
from skrei_embedded.postgres import START_SECONDS, Postgres
from skrei_embedded.probe import LOOK_SECONDS
from skrei_embedded.processes import Spawner
from skrei_embedded.supervised import Supervised
from skrei_embedded.whereabouts import StackOptions, Whereabouts
from skrei_kit import nats_auth
from skrei_kit.cluster_keys import Keys
from skrei_kit.observability import get_logger

log = get_logger()

# The sum of what stopping may take, that of the services (`roster`) with it, stays below the 10 s that are promised.
NATS_STOP, POSTGRES_STOP = 0.8, 1.0
NATS_LOOK_SECONDS = 1.0
"""Between looks whether a key was revoked, or a disk full: whoever revokes one wants to see it gone, and a look costs
two `stat`."""


class Servers:
    """Those of one start; `choose` says which are ours, `start` starts them."""

    def __init__(self, folder: Path, options: StackOptions, whereabouts: Whereabouts, spawner: Spawner) -> None:
        self.postgres: Postgres | None = None
        self.nats: NatsServer | None = None
        self._folder = folder
        self._options = options
        self._whereabouts = whereabouts
        self._spawner = spawner
        self._revoked: tuple[str, ...] = ()

    def choose(self, keys: Keys | None) -> None:
        """Decide which are ours, with their ports, not started yet. Raises Invalid where one must be named."""
        nats_given = self._whereabouts.given(self._options.nats_url, "nats_url")
        if not self._options.orchestrator:
            if not nats_given:
                raise Invalid(
                    "a node without the control plane needs to know where that is",
                    hint="join it with --join URL --token TOKEN (`skrei node join-line` there prints the line), name "
                    "its --nats-url and --nats-creds, or run both here with `skrei serve`",
                )
            return
        assert keys is not None, "an orchestrator has keys"
        if not self._whereabouts.given(self._options.database_url, "database_url"):
            self.postgres = Postgres(self._folder, self._spawner)
            self.postgres.settle()
        if not nats_given:
            self.nats = self._new_nats(keys)

    def _new_nats(self, keys: Keys) -> NatsServer:
        self._revoked = keys.revoked
        trust = nats_auth.server_config(keys.authority, self._revoked)
        port, host = self._options.nats_port or free_port(), self._whereabouts.listen.transport
        check_free(host, port, "--nats-port")
        if (door := self._whereabouts.websocket) is not None:
            check_free(host, door.port, "--nats-websocket-port")
        return NatsServer(self._folder, NatsOptions(port, host, trust=trust, websocket=door), self._spawner)

    async def start(self, add: Callable[[Supervised], None]) -> None:
        """Start what is ours, each told to `add` first; return once it can be used. Raises Unavailable."""
        if self.nats is not None:
            self.nats.prepare()
            add(child := Supervised("nats", self.nats.spawn, NATS_STOP))
            await _begin(child, self.nats, NATS_START_SECONDS)
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.prepare)
            spawn = self.postgres.spawn
            child = Supervised("postgres", spawn, POSTGRES_STOP, gently=signal.SIGINT, then=signal.SIGQUIT)
            add(child)
            await _begin(child, self.postgres, START_SECONDS)

    async def look_after_nats(self, keys: Keys | None) -> None:
        """Have the nats-server refuse keys as soon as they are revoked, and store again after a full disk.

        Runs until cancelled; not at all where the nats-server is not ours.
        """
        if self.nats is None or keys is None:
            return
        while True:
            await asyncio.sleep(NATS_LOOK_SECONDS)
            if (revoked := keys.revoked) != self._revoked:
                try:
                    self.nats.trust(nats_auth.server_config(keys.authority, revoked))
                except OSError as error:  # a full disk, which ends nothing else: tried again with the next look
                    log.warning("keys_not_revoked", reason=str(error), hint="make room in the data folder")
                else:
                    new = len(set(revoked) - set(self._revoked))
                    self._revoked = revoked
                    log.info("keys_revoked", new=new, all=len(revoked))
            end_if_it_stores_no_more(self.nats)


def end_if_it_stores_no_more(nats: NatsServer) -> None:
    """End a nats-server whose disk was full, once there is room: it would store nothing, but the next one does."""
    if nats.process is not None and nats.stores_no_more() and nats.has_room():
        log.warning("nats_ends", reason="a message could not be stored, and this server would never try again")
        nats.process.send_signal(signal.SIGTERM)


async def _begin(child: Supervised, server: Postgres | NatsServer, limit_seconds: float) -> None:
    child.look(time.monotonic())
    until = time.monotonic() + limit_seconds
    while not server.is_ready():
        if time.monotonic() > until:
            raise Unavailable(f"{child.name} did not start within {limit_seconds:g} s")
        await asyncio.sleep(LOOK_SECONDS / 5)
