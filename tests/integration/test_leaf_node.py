"""A site's own nats-server between its nodes and the control plane: a leaf without streams of its own.

The node is connected to the leaf, and stays so while the uplink is cut; what it says goes through again after that.
"""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skrei_domain import subjects
from skrei_embedded.installs import find_nats_server
from skrei_embedded.nats import NatsOptions, NatsServer, free_port
from skrei_kit import cluster_keys as keys
from skrei_kit import nats_auth, topology
from skrei_kit.bus import Bus, BusUnavailable, Message, PullReader
from skrei_kit.cluster_keys import Keys
from skrei_kit.secret_files import write_secret
from tests.support.servers import spawner

NODE, OTHER = "n-11111111-1111-4111-8111-111111111111", "n-22222222-2222-4222-8222-222222222222"
SOON = 20.0


@contextmanager
def a_leaf(folder: Path, made: Keys, uplink: int, *node_ids: str) -> Iterator[str]:
    """The site's server, as docs/EDGE.md has it; yields where nodes connect."""
    port, creds, conf = free_port(), folder / "site.creds", folder / "leaf.conf"
    write_secret(creds, nats_auth.user_creds(made.authority, "site", nats_auth.site_of(node_ids)))
    remote = f'url: "nats-leaf://127.0.0.1:{uplink}", account: {made.authority.account_id}, credentials: "{creds}"'
    conf.write_text(
        f'server_name: "leaf"\nlisten: "127.0.0.1:{port}"\n'
        f"leafnodes {{ reconnect: 1, remotes: [ {{ {remote} }} ] }}\n" + nats_auth.server_config(made.authority)
    )
    with (folder / "leaf.log").open("wb") as log:
        process = subprocess.Popen([str(find_nats_server()), "-c", str(conf)], stdout=log, stderr=log)
    try:
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


async def heard_by(plane: Bus, say: Bus, subject: str) -> None:
    """Say something until the other side hears it: what is said while the uplink is away goes nowhere."""
    got = asyncio.Event()

    async def hear(_message: Message) -> None:
        got.set()

    listening = await plane.subscribe(subject, hear)
    end = time.monotonic() + SOON
    while not got.is_set():
        assert time.monotonic() < end, f"nothing came through on {subject}"
        await say.publish(subject, b"x")
        await say.flush()
        try:
            await asyncio.wait_for(got.wait(), 0.2)
        except TimeoutError:
            continue
    await plane.unsubscribe(listening)


async def says_hello(node: Bus, node_id: str) -> bytes:
    return await node.request(subjects.up(node_id).replace(">", "hello"), b"x", timeout_seconds=2)


async def is_welcomed(node: Bus, node_id: str) -> bytes:
    """Say hello until it is answered: who listens at the hub is known at the leaf a moment later."""
    end = time.monotonic() + SOON
    while True:
        try:
            return await says_hello(node, node_id)
        except BusUnavailable:
            assert time.monotonic() < end, "no hello was answered"
            await asyncio.sleep(0.05)  # another server hears of the subscription: there is nothing here to wait for


async def test_a_node_behind_a_leaf_keeps_its_link_while_the_uplink_is_cut(tmp_path: Path) -> None:
    made = keys.load_or_make(tmp_path)
    uplink, port = free_port(), free_port()
    trust = f'leafnodes {{ listen: "127.0.0.1:{uplink}" }}\n' + nats_auth.server_config(made.authority)
    creds = tmp_path / "node.creds"
    write_secret(creds, keys.node_creds(made, NODE))
    lost = asyncio.Event()

    async def disconnected() -> None:
        lost.set()

    with spawner() as children, a_leaf(tmp_path, made, uplink, NODE) as url:
        hub = NatsServer(tmp_path, NatsOptions(port, trust=trust), children)
        hub.start()
        plane = await Bus.connect(hub.url, name="plane", creds=made.creds("scheduler"))
        node = await Bus.connect(
            url, name="node", creds=creds, inbox_prefix=subjects.inbox(NODE), on_disconnect=disconnected
        )
        await plane.ensure_stream(topology.commands())
        await plane.ensure_consumer(subjects.STREAM_COMMANDS, topology.node_consumer(NODE))
        heartbeat = subjects.up(NODE).replace(">", "heartbeat")
        await heard_by(plane, node, heartbeat)
        commands: asyncio.Queue[bytes] = asyncio.Queue()
        reader = PullReader(
            node, subjects.STREAM_COMMANDS, subjects.consumer(NODE), commands.put, domain=nats_auth.DOMAIN
        )
        reading = asyncio.create_task(reader.run())
        await plane.publish(subjects.command(NODE), b"first")
        assert await asyncio.wait_for(commands.get(), SOON) == b"first"

        hub.stop()  # the uplink, and all that is behind it
        await node.publish(heartbeat, b"into the dark")
        await node.flush()
        assert node.connected
        assert not lost.is_set()
        hub.start()
        await heard_by(plane, node, heartbeat)
        await plane.publish(subjects.command(NODE), b"second")
        assert await asyncio.wait_for(commands.get(), 2 * SOON) == b"second"
        assert not lost.is_set(), "the node's own link was never away"
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

        async def welcome(message: Message) -> None:
            await plane.publish(message.reply, b"welcome")

        await plane.subscribe(f"{subjects.ROOT}.up.*.hello", welcome)
        await plane.flush()
        assert await is_welcomed(node, NODE) == b"welcome"
        stranger = tmp_path / "stranger.creds"
        write_secret(stranger, keys.node_creds(made, OTHER))
        other = await Bus.connect(url, name="other", creds=stranger, inbox_prefix=subjects.inbox(OTHER))
        with pytest.raises(BusUnavailable):  # it is no node of this site: nothing of it passes the uplink
            await says_hello(other, OTHER)
        await other.close()
        await node.close()
        await plane.close()
        hub.stop()
