"""A site's own nats-server between its nodes and the control plane: a leaf without streams of its own.

The node is connected to the leaf, and stays so while the uplink is cut; what it says goes through again after that.
Whoever has the site's files says and hears what its nodes may, and nothing else.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from skrei_cluster_init import sites
from skrei_domain import subjects
from skrei_embedded.nats import free_port
from skrei_kit import topology
from skrei_kit.bus import Bus, BusUnavailable, Message, PullReader
from tests.support.leaf_site import HERE, founded, server

STRANGER = "n-22222222-2222-4222-8222-222222222222"
SOON = 20.0


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
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(got.wait(), 0.2)
    await plane.unsubscribe(listening)


async def is_welcomed(node: Bus, node_id: str) -> bytes:
    """Say hello until it is answered: who listens at the hub is known at the leaf a moment later."""
    end = time.monotonic() + SOON
    while True:
        try:
            return await node.request(subjects.hello(node_id), b"x", timeout_seconds=2)
        except BusUnavailable:
            assert time.monotonic() < end, "no hello was answered"
            await asyncio.sleep(0.05)  # another server hears of the subscription: there is nothing here to wait for


@asynccontextmanager
async def closing(*links: Bus) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for each in links:
            await each.close()


async def test_a_node_behind_a_leaf_keeps_its_link_while_the_uplink_is_cut(tmp_path: Path) -> None:
    lost = asyncio.Event()

    async def disconnected() -> None:
        lost.set()

    with founded(tmp_path) as cluster:
        cluster.hub.start()
        name, heartbeat = cluster.node, subjects.heartbeat(cluster.node)
        plane, node = await cluster.plane(), await cluster.join(tmp_path, name, on_disconnect=disconnected)
        async with closing(node, plane):
            await plane.ensure_stream(topology.commands())
            await plane.ensure_consumer(subjects.STREAM_COMMANDS, topology.node_consumer(name))
            await heard_by(plane, node, heartbeat)
            commands: asyncio.Queue[bytes] = asyncio.Queue()
            stream, consumer = subjects.STREAM_COMMANDS, subjects.consumer(name)
            reader = PullReader(node, stream, consumer, commands.put, domain=cluster.site.nats_domain)
            reading = asyncio.create_task(reader.run())
            await plane.publish(subjects.command(name), b"first")
            assert await asyncio.wait_for(commands.get(), SOON) == b"first"

            cluster.hub.stop()  # the uplink, and all that is behind it
            await node.publish(heartbeat, b"into the dark")
            await node.flush()
            assert node.connected
            assert not lost.is_set()
            cluster.hub.start()
            await heard_by(plane, node, heartbeat)
            await plane.publish(subjects.command(name), b"second")
            assert await asyncio.wait_for(commands.get(), 2 * SOON) == b"second"
            assert not lost.is_set(), "the node's own link was never away"
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

            async def welcome(message: Message) -> None:
                await plane.publish(message.reply, b"welcome")

            await plane.subscribe(f"{subjects.ROOT}.up.*.hello", welcome)
            await plane.flush()
            assert await is_welcomed(node, name) == b"welcome"


async def test_whoever_has_the_files_of_a_site_says_and_hears_what_its_nodes_may_and_nothing_else(
    tmp_path: Path,
) -> None:
    """A server of his own lets its owner in without asking: what then bounds him is the cluster's."""
    with founded(tmp_path, places=sites.MOST_PLACES) as cluster:
        cluster.hub.start()
        port, folder = free_port(), tmp_path / "thief"
        folder.mkdir()
        remotes = (cluster.files / "nats.conf").read_text().partition("leafnodes")[2]
        conf = f'max_control_line: 262144\nlisten: "{HERE}:{port}"\nserver_name: thief\nleafnodes{remotes}'
        heard: list[str] = []
        with server(folder, re.sub(r"(?m)^ *account:.*$", "", conf)):
            plane, node = await cluster.plane(), await Bus.connect(f"nats://{HERE}:{port}", name="thief")
            async with closing(node, plane):

                async def hear(message: Message) -> None:
                    heard.append(message.subject)

                async def overheard(message: Message) -> None:
                    heard.append(f"by the plane: {message.subject}")

                last = cluster.site.places[-1]
                for each in (">", f"{subjects.ROOT}.>", f"{subjects.inbox(STRANGER)}.>"):
                    await node.subscribe(each, hear)
                for own in (cluster.node, last):
                    await node.subscribe(subjects.down(own), hear)
                await heard_by(plane, node, subjects.heartbeat(cluster.node))
                await plane.subscribe(subjects.up(STRANGER), overheard)
                await plane.flush()
                for said in ("heartbeat", "fact", "hello", "log.r-1"):
                    await node.publish(subjects.up(STRANGER).replace(">", said), b"x")
                await node.publish(subjects.PUBLISHER_FACT, b"x")
                await node.publish(f"$JS.skrei.API.CONSUMER.MSG.NEXT.COMMANDS.{STRANGER}", b"x")
                await node.flush()
                for told in (subjects.command(STRANGER), subjects.confirm(STRANGER), f"{subjects.inbox(STRANGER)}.1"):
                    await plane.publish(told, b"x")
                await plane.publish(subjects.PUBLISHER_COMMAND, b"x")
                await heard_by(plane, node, subjects.heartbeat(last))
                heard.clear()
                end = time.monotonic() + SOON
                while subjects.confirm(last) not in heard:
                    assert time.monotonic() < end, "what is its own does not come"
                    await plane.publish(subjects.command(STRANGER), b"x")
                    await plane.publish(subjects.confirm(last), b"x")
                    await plane.flush()
                    await asyncio.sleep(0.05)  # two servers between
        assert set(heard) == {subjects.confirm(last)}
