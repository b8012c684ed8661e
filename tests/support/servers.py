"""Real servers for tests: one Postgres and two nats-servers a session, a fresh database a test."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from skrei_embedded.nats import NatsOptions, NatsServer, free_port
from skrei_embedded.postgres import Postgres
from skrei_embedded.processes import Spawner
from skrei_kit import cluster_keys as keys
from skrei_kit import nats_auth
from skrei_kit.cluster_keys import Keys
from skrei_kit.secret_files import write_secret

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
"""Tests die with their database: nothing has to outlive a power cut."""


@contextmanager
def server_folder() -> Iterator[Path]:
    """A short folder that a database user can pass, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="skrei-test-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def spawner() -> Iterator[Spawner]:
    """Start children that end with this process."""
    made = Spawner()
    try:
        yield made
    finally:
        made.close()


class Database:
    """A running Postgres that hands out fresh databases."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self._query = postgres.url.partition("?")[2]
        self._templates: dict[str, str] = {}

    def url(self, name: str) -> str:
        """Return the address of one of its databases."""
        return f"postgresql://skrei@/{name}?{self._query}"

    async def template(self, name: str, fill: Callable[[str], object]) -> str:
        """Make a database once and fill it (migrations); return its name, for `create(template=…)`."""
        if name not in self._templates:
            made = f"template_{name}_{uuid.uuid4().hex[:8]}"
            await self._run(f'CREATE DATABASE "{made}"')
            fill(self.url(made))
            self._templates[name] = made
        return self._templates[name]

    async def create(self, template: str = "template0") -> str:
        """Return the address of a fresh database like the template."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        await self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    async def drop(self, url: str) -> None:
        """Drop a database, with whoever is still connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        await self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _run(self, statement: str) -> None:
        link = await asyncpg.connect(self.url("skrei"))
        try:
            await link.execute(statement)
        finally:
            await link.close()


@contextmanager
def running_postgres(**settings: str) -> Iterator[Database]:
    """A Postgres that gives durability away."""
    with server_folder() as folder, spawner() as children:
        postgres = Postgres(folder, children, settings={**FAST, **settings})
        postgres.start()
        try:
            yield Database(postgres)
        finally:
            postgres.stop()


@dataclass(frozen=True)
class SecuredNats:
    """A nats-server in operator mode, and the keys it trusts."""

    url: str
    keys: Keys

    def node_creds(self, node_id: str, folder: Path) -> Path:
        """Write the credentials of a node."""
        path = folder / f"{node_id}.creds"
        write_secret(path, keys.node_creds(self.keys, node_id))
        return path


@contextmanager
def running_nats() -> Iterator[str]:
    """A nats-server that lets everybody in."""
    with server_folder() as folder, spawner() as children:
        server = NatsServer(folder, NatsOptions(free_port()), children)
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


@contextmanager
def running_secured_nats() -> Iterator[SecuredNats]:
    """A nats-server in operator mode, as the embedded stack runs it."""
    with server_folder() as folder, spawner() as children:
        made = keys.load_or_make(folder)
        server = NatsServer(folder, NatsOptions(free_port(), trust=nats_auth.server_config(made.authority)), children)
        server.start()
        try:
            yield SecuredNats(server.url, made)
        finally:
            server.stop()


def as_root() -> bool:
    """Whether these tests run as root."""
    return os.geteuid() == 0
