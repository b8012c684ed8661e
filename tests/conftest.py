"""Fixtures that every suite shares: real servers, started when the first test asks for them."""

import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.agent_leader import NatsServer, ScriptedLeader, a_leader, a_nats_server
from tests.support.agent_machine import NODE
from tests.support.docker_daemon import DockerDaemon, running_docker, why_no_docker
from tests.support.servers import Database, SecuredNats, running_nats, running_postgres, running_secured_nats

# No property is judged by how long it takes: what runs beside a test decides that.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay until the end: no collection of garbage need look at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A Postgres for the session."""
    with running_postgres() as running:
        yield running


@pytest.fixture
async def empty_postgres_url(database: Database) -> AsyncIterator[str]:
    """A fresh database with nothing in it."""
    url = await database.create()
    yield url
    await database.drop(url)


@pytest.fixture
async def postgres_url(database: Database) -> AsyncIterator[str]:
    """A fresh database, migrated: a copy of one that was migrated once."""
    url = await database.create(await database.template("migrated", migrate))
    yield url
    await database.drop(url)


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """A nats-server for the session that lets everybody in; tests share its streams."""
    with running_nats() as url:
        yield url


@pytest.fixture(scope="session")
def secured_nats() -> Iterator[SecuredNats]:
    """A nats-server for the session in operator mode."""
    with running_secured_nats() as running:
        yield running


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server that the test may kill and start again."""
    with a_nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def leader(nats: NatsServer) -> AsyncIterator[ScriptedLeader]:
    """A scripted leader of the node `NODE`."""
    async with a_leader(nats.url, NODE) as made:
        yield made


@pytest.fixture(scope="session")
def docker() -> Iterator[DockerDaemon]:
    """A dockerd for the session; tests leave nothing of Skrei's in it."""
    if reason := why_no_docker():
        pytest.skip(reason)
    with running_docker() as running:
        yield running


def migrate(url: str) -> None:
    """Bring a database to the newest schema, as the embedded stack does."""
    subprocess.run([sys.executable, "-m", "skrei_store.migrate", "--database-url", url], check=True, timeout=60)
