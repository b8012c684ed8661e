"""What stays on its node, on its way to somebody who fetches it: as it was left, or why not."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from skrei_compute_agent import sending_left
from skrei_compute_agent.leaving import leave
from skrei_compute_agent.sending_left import LeftSender, packing
from skrei_domain.messages import LeftWanted
from skrei_domain.paths import Entry, parse_entry
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import Elsewhere, TokenSigner, TokenVerifier
from skrei_plugin_api.archives import NoArchive
from skrei_plugin_api.testing import archive, eventually
from skrei_publisher import app
from skrei_publisher import relay as module
from skrei_publisher.app import build
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.relay import Relay
from skrei_publisher.source import NodeAway
from skrei_publisher.store import ResultStore, digest_of

LARGE = bytes(range(256)) * 9_000
FILES = {"stdout": b"said\n", "stderr": b"", "exitCode": b"0", "out/b/large": LARGE, "out/b.txt": b"x"}
PRIVATE, PUBLIC = new_key()
SIGNER = TokenSigner(PRIVATE)


class Node:
    """A node with one result, and who asks it."""

    def __init__(self, folder: Path) -> None:
        self.entries: list[Entry] = [parse_entry(f"{folder}/**:rw")]
        self.place = folder / "out" / "e-1"
        self.url = ""
        self.away = ""
        self.sender = LeftSender(self.entries, lambda: self.url, allowed=True)
        with archive(FILES) as (packed, _):
            self.content = packed.read_bytes()
            leave(packed, str(self.place), "e-1", self.entries)

    async def ask(self, execution_id: str, request_id: str, left: str) -> None:
        if self.away:
            raise NodeAway(self.away)
        token = SIGNER.left(execution_id, request_id, seconds=60)
        wanted = LeftWanted(
            request_id=request_id, execution_id=execution_id, place=str(self.place), token=token, left=left
        )
        self.sender.take(wanted)
        self.sender.take(wanted)  # a message that comes twice


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
async def door(tmp_path: Path, node: Node) -> AsyncIterator[str]:
    keeper = SignedDoor(TokenVerifier(PUBLIC))
    with ResultStore(tmp_path / "store") as store:
        app = build(store, _Nothing(), keeper, relay=Relay(node.ask, keeper))
        async with TestServer(app) as server:
            node.url = str(server.make_url("")).rstrip("/")
            yield node.url
            await node.sender.close()


class _Nothing:
    async def fetch(self, _: str) -> bytes | None:
        return None


def address(size: int, door: str) -> str:
    token = SIGNER.download("e-1", seconds=60, at=Elsewhere("localdirectory", {"Path": "/"}, size))
    return f"{door}/results/e-1.tar.gz?token={token}"


async def fetched(door: str, size: int) -> tuple[int, bytes | dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.get(address(size, door)) as response:
        return response.status, await response.read() if response.status == 200 else await response.json()


async def test_it_comes_as_it_was_left(door: str, node: Node) -> None:
    assert await fetched(door, len(node.content)) == (200, node.content)
    assert digest_of(b"".join(packing(str(node.place), "e-1", node.entries))) == digest_of(node.content)


async def test_how_much_there_is_is_told_without_asking_the_node(door: str, node: Node) -> None:
    node.away = "it must not be asked"
    async with aiohttp.ClientSession() as session, session.head(address(len(node.content), door)) as response:
        assert (response.status, response.content_length) == (200, len(node.content))


async def test_a_node_whose_owner_lets_nothing_go_says_so(door: str, node: Node) -> None:
    node.sender = LeftSender(node.entries, lambda: door, allowed=False)
    status, said = await fetched(door, len(node.content))
    assert isinstance(said, dict)
    assert (status, said["Code"]) == (409, "left-not-sent")
    assert "SKREI_SEND_LEFT=true" in said["Message"]


async def test_one_that_is_away_or_says_nothing_is_told(door: str, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.away = "node n-1 is not connected"
    status, said = await fetched(door, 1)
    assert isinstance(said, dict)
    assert (status, said["Message"]) == (409, "What stays on its node cannot be had: node n-1 is not connected.")
    node.away, node.url = "", ""
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    status, said = await fetched(door, 1)
    assert isinstance(said, dict)
    assert "has not answered within" in said["Message"]


async def test_what_is_gone_or_another_s_is_not_sent(door: str, node: Node) -> None:
    (node.place / ".skrei").write_text("e-2\n")
    status, said = await fetched(door, len(node.content))
    assert isinstance(said, dict)
    assert (status, said["Code"]) == (409, "left-gone")
    with pytest.raises(NoArchive, match="hands out nothing"):
        next(packing(str(node.place), "e-1", []))


async def test_no_more_comes_than_was_left(door: str, node: Node) -> None:
    (node.place / "out" / "more").write_bytes(LARGE)
    with contextlib.suppress(aiohttp.ClientError):
        assert await fetched(door, 1_000) != (200, node.content)


async def test_so_many_are_sent_at_once(door: str, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending_left, "AT_ONCE", 0)
    status, said = await fetched(door, len(node.content))
    assert isinstance(said, dict)
    assert (status, said["Code"]) == (409, "left-busy")
    monkeypatch.setattr(module, "AT_ONCE", 0)
    async with aiohttp.ClientSession() as session, session.get(address(1, door)) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "2")


async def test_a_reader_that_takes_nothing_does_not_keep_its_place(
    door: str, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "READER_SECONDS", 0.2)
    with archive(FILES | {"out/b/large": os.urandom(12 * 1024 * 1024)}) as (packed, _):
        node.content, node.place = packed.read_bytes(), node.place.with_name("e-2")
        leave(packed, str(node.place), "e-1", node.entries)
    url = URL(address(len(node.content), door))
    with socket.socket() as frozen:
        frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        frozen.setblocking(False)
        await asyncio.get_running_loop().sock_connect(frozen, (url.host, url.port))
        frozen.send(f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        await eventually(lambda: bool(node.sender._running))
        await eventually(lambda: not node.sender._running)
    assert await fetched(door, len(node.content)) == (200, node.content)


async def test_a_link_in_a_result_leads_nowhere(node: Node) -> None:
    (node.place / "out" / "link").symlink_to("/etc/passwd")
    (node.place / "out" / "folder").symlink_to("/etc")
    assert b"".join(packing(str(node.place), "e-1", node.entries)) == node.content


async def test_trouble_with_a_disk_is_told_as_it_is(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(sending_left, "_read", fails)
    with pytest.raises(OSError, match="the disk is broken"):
        b"".join(packing(str(node.place), "e-1", node.entries))


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_nobody_brings_what_nobody_asked_for(door: str, method: str) -> None:
    token = SIGNER.left("e-1", "r-1", seconds=60)
    async with aiohttp.ClientSession() as session:
        for request, bearer, status in (("r-1", token, 410), ("r-2", token, 403), ("r-1", "", 401)):
            headers = {"Authorization": f"Bearer {bearer}"}
            url = f"{door}/left/e-1/{request}"
            async with session.request(method, url, data=b"{}", headers=headers) as response:
                assert response.status == status
