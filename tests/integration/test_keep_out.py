"""`skrei-cluster-init keep-out`: a real nats-server hears while it runs which keys are revoked."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from skrei_cluster_init.keep_out import PATH, KeepOut, serve
from skrei_embedded.nats import NatsOptions, NatsServer, free_port
from skrei_kit import nats_auth
from skrei_kit.bus import Bus, BusUnavailable
from skrei_plugin_api.testing import eventually
from tests.support.servers import server_folder, spawner
from tests.support.web import serving

SOON = 20.0
LOOK_EVERY = timedelta(seconds=0.05)
NODES = ("n-one", "n-two")


class Cluster:
    """A nats-server that keeps its accounts in a folder, and an API that says which keys are revoked."""

    def __init__(self, folder: Path, server: NatsServer, authority: nats_auth.Authority) -> None:
        self.folder = folder
        self.server = server
        self.authority = authority
        self.seeds = {node: nats_auth.new_user_seed() for node in NODES}
        self.revoked: list[str] = []
        self.asked = asyncio.Event()

    def trust(self, *revoked: str) -> None:
        """Write what the server starts with."""
        told = nats_auth.server_config(self.authority, revoked, accounts_folder=str(self.folder / "accounts"))
        (self.folder / "trust.conf").write_text(told)
        self.server.trust(told)

    def key(self, node: str) -> str:
        return nats_auth.public_key(self.seeds[node])

    async def join(self, node: str) -> Bus:
        """Connect as a node. Raises BusUnavailable where it is let in no more."""
        creds = self.folder / f"{node}.creds"
        token = nats_auth.node_jwt(self.authority.signer, self.key(node), node)
        creds.write_text(nats_auth.creds_text(token, self.seeds[node]))
        return await Bus.connect(self.server.url, name=node, creds=creds, wait_seconds=5)

    async def out(self, node: str) -> None:
        """Wait until a node is let in no more: the server hears of that again once the keeper has found it again."""
        with contextlib.suppress(BusUnavailable):
            async with asyncio.timeout(SOON):
                while True:
                    await (await self.join(node)).close()
                    await self.looked()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer of-the-cluster"
        self.asked.set()
        return web.json_response({"Keys": self.revoked})

    async def looked(self) -> None:
        """Wait until the API was asked twice from now on: what was true at the first was told by the second."""
        for _ in range(2):
            self.asked.clear()
            await asyncio.wait_for(self.asked.wait(), SOON)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with server_folder() as folder, spawner() as children:
        made = Cluster(folder, NatsServer(folder, NatsOptions(free_port()), children), nats_auth.Authority.new())
        made.trust()
        made.server.start()
        try:
            yield made
        finally:
            made.server.stop()


@pytest.fixture
async def keeper(cluster: Cluster) -> AsyncIterator[None]:
    authority, token = cluster.folder / "authority.json", cluster.folder / "internal.token"
    authority.write_text(json.dumps(asdict(cluster.authority)))
    token.write_text("of-the-cluster\n")
    app, stop = web.Application(), asyncio.Event()
    app.router.add_get(PATH, cluster.answer)
    async with serving(app) as url:
        settings = KeepOut(
            nats_url=cluster.server.url, api_url=url, internal_token_file=token, authority_file=authority,
            trust_file=cluster.folder / "trust.conf",
        )  # fmt: skip
        running = asyncio.create_task(serve(settings, stop, look_every=LOOK_EVERY))
        yield
        stop.set()
        await asyncio.wait_for(running, SOON)


async def test_a_node_that_is_revoked_is_cut_off_and_stays_out_when_the_server_starts_again(
    cluster: Cluster, keeper: None
) -> None:
    one, two = [await cluster.join(node) for node in NODES]
    cluster.revoked = [cluster.key("n-one")]
    await asyncio.wait_for(one.ended(), SOON)
    with pytest.raises(BusUnavailable):
        await cluster.join("n-one")
    cluster.server.stop()
    cluster.trust()  # as it was founded: what it starts with knows of nobody
    cluster.server.start()
    await cluster.out("n-one")
    await (await cluster.join("n-two")).close()
    await eventually(lambda: two.connected)  # who was never revoked comes back by itself
    await two.close()


async def test_what_was_revoked_by_hand_stays_so_while_the_api_forgets_or_is_away(
    cluster: Cluster, keeper: None
) -> None:
    two = await cluster.join("n-two")
    cluster.revoked = [cluster.key("n-two")]
    await asyncio.wait_for(two.ended(), SOON)
    cluster.revoked = []
    told = nats_auth.server_config(cluster.authority, [cluster.key("n-one")])
    (cluster.folder / "trust.conf").write_text(told)  # that of a site, say, which was taken away
    await cluster.looked()
    for node in NODES:
        with pytest.raises(BusUnavailable):
            await cluster.join(node)
