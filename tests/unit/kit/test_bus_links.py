"""Ends of links, and what keeps one from coming back, which no real server shows on demand: all of it is noticed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from skrei_kit import nats_auth
from skrei_kit.bus import Bus, BusUnavailable, connection
from skrei_plugin_api.testing import eventually

INFO = b'INFO {"server_id":"x","version":"2.10.0","max_payload":8388608,"auth_required":true,"nonce":"abc"}\r\n'
SOON = 10
MUCH = bytes(8 * 1024 * 1024)
"""More than the buffers of a link take."""


class Peer:
    """Greets as a server does and answers pings; `first_words` is what it says to those who connect."""

    def __init__(self) -> None:
        self.url = ""
        self.first_words = INFO
        self.frozen = False
        self.links: list[asyncio.StreamWriter] = []
        self.greeted = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links.append(writer)
        writer.write(self.first_words)
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
                    self.greeted += 1
                if self.frozen:
                    return  # without a word: what comes is read by nobody
        writer.close()

    def cut(self) -> None:
        self.links[-1].transport.abort()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=2 * len(MUCH))
    made.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    for link in made.links:
        link.transport.abort()
    server.close()


CREDS = nats_auth.creds_text("e30.e30.e30", nats_auth.new_user_seed())
SEED = CREDS[CREDS.index("-----BEGIN USER NKEY SEED") :]


@pytest.mark.parametrize("spoilt", ["", SEED, CREDS.replace(SEED, ""), CREDS.replace("\nSU", "\nXU")])
async def test_credentials_that_are_none_for_a_while_cost_a_link_no_more_than_that(
    peer: Peer, tmp_path: Path, spoilt: str
) -> None:
    creds = tmp_path / "node.creds"
    creds.write_text(CREDS)
    bus = await Bus.connect(peer.url, name="test", creds=creds)
    with capture_logs() as told:
        creds.write_text(spoilt)
        peer.cut()
        await eventually(lambda: any(line["event"] == "bus_credentials_unreadable" for line in told))
        greeted = peer.greeted
        creds.write_text(CREDS)
        await eventually(lambda: peer.greeted > greeted and bus.connected)
    await bus.close()


async def test_who_begins_with_credentials_that_are_none_hears_of_it(peer: Peer, tmp_path: Path) -> None:
    creds = tmp_path / "node.creds"
    creds.write_text(SEED)
    with pytest.raises(BusUnavailable, match="not a NATS credentials file"):
        await Bus.connect(peer.url, name="test", creds=creds)


async def test_a_frozen_peer_is_left_although_it_has_not_taken_all(peer: Peer) -> None:
    bus = await Bus.connect(peer.url, name="test")
    peer.frozen = True
    await bus.publish("much", MUCH)
    peer.frozen, links = False, len(peer.links)
    await bus.renew()
    await eventually(lambda: len(peer.links) > links and bus.connected)
    await bus.close()


async def test_a_link_that_the_client_gives_up_without_a_word_is_over(peer: Peer) -> None:
    bus = await Bus.connect(peer.url, name="test")
    peer.first_words = bytes(128 * 1024)  # no line at all, of which the client makes an error that it does not know
    peer.cut()
    with pytest.raises(BusUnavailable, match="over for good"):
        async with asyncio.timeout(SOON):
            await bus.lasting()
    await bus.close()


async def test_an_end_is_told_although_something_was_to_be_said_on_a_link_that_had_gone(peer: Peer) -> None:
    bus = await Bus.connect(peer.url, name="test")
    link = bus._client._transport
    assert isinstance(link, connection.Tcp)
    assert link._io_writer is not None
    await bus._client._process_err("'User Authentication Revoked'")  # as the server says it, in the same turn
    await bus.publish("a.subject", b"late")
    link._io_writer.transport.abort()
    with pytest.raises(BusUnavailable, match="over for good"):
        async with asyncio.timeout(SOON):
            await bus.lasting()
