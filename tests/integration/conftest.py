"""What several tests of agents share: a nats-server of the test's own, and the other half of the protocol over it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.agent_leader import NatsServer, ScriptedLeader, a_leader, a_nats_server
from tests.support.agent_machine import NODE


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
