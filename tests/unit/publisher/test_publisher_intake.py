"""What comes of an upload goes to its place and into its digest, whatever the order, and whoever had to begin again."""

import asyncio
import errno
import hashlib
import io
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from skrei_plugin_api import lane as lane_module
from skrei_plugin_api.inflow import LEAST_BODY_BYTES, Tap
from skrei_plugin_api.intake import Intake
from skrei_plugin_api.lane import Lane, Work, inline
from skrei_plugin_api.running_digest import RunningDigest
from skrei_plugin_api.testing import parcel
from skrei_plugin_api.upload_folder import Upload, begin_upload
from skrei_publisher.straight_body import StraightBody

PART = 64
CONTENT = bytes(range(250)) + b"and a short last part"
PARTS = -(-len(CONTENT) // PART)


class Sender:
    """Somebody who sends a part, some bytes at a time, over a connection or in pieces; what was cut begins anew."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.begin_again()

    def begin_again(self) -> None:
        self.position = self.number * PART


steps = st.lists(st.tuples(st.integers(0, PARTS - 1), st.integers(0, PART), st.sampled_from(["tap", "pieces", "cut"])))


@settings(max_examples=40)
@given(steps)
def test_the_digest_is_that_of_the_content_in_whatever_order_it_came(begun: list[tuple[int, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(Intake("test")) as intake:
        upload = begin_upload(Path(folder) / "e-1", parcel(CONTENT), "n-1")
        upload.part_bytes = PART
        senders = [Sender(number) for number in range(PARTS)]
        rest = [(number, PART, "tap") for number in range(PARTS)]
        for number, size, how in [*begun, *rest]:
            sender, wrong = senders[number], bytes(size)
            data = CONTENT[sender.position : min(sender.position + size, sum(upload.span(number)))]
            if how == "cut":
                sender.begin_again()
                intake.take(upload, number, sender.position, [wrong[: len(data)]])
                continue
            if how == "pieces":
                sender.position = intake.take(upload, number, sender.position, [data[:7], data[7:]])
            else:
                sender.position = over_a_connection(intake, sender, upload, data)
            if sender.position == sum(upload.span(number)):
                upload.note(number)
                intake.catch_up(upload)
                sender.begin_again()
        intake.catch_up(upload).result(10)
        assert upload.missing() == []
        assert upload.content.read_bytes() == CONTENT
        assert (upload.digesting.text, upload.digesting.hashed) == (parcel(CONTENT).digest, len(CONTENT))


def over_a_connection(intake: Intake, sender: Sender, upload: Upload, data: bytes) -> int:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(data[3:])
        return intake.take(upload, sender.number, sender.position, [data[:3]], Tap(ours, []))


def test_what_came_in_order_is_not_read_back(tmp_path: Path) -> None:
    with closing(Intake("test")) as intake:
        upload = begin_upload(tmp_path / "e-1", parcel(CONTENT), "n-1")
        assert intake.take(upload, 0, 0, [CONTENT]) == len(CONTENT)
        upload.content.write_bytes(bytes(len(CONTENT)))
        upload.note(0)
        intake.catch_up(upload).result(10)
        assert upload.digesting.text == parcel(CONTENT).digest


def test_a_part_that_came_but_could_not_be_noted_may_come_again_after_the_next_one(tmp_path: Path) -> None:
    with closing(Intake("test")) as intake:
        upload = begin_upload(tmp_path / "e-1", parcel(CONTENT), "n-1")
        upload.part_bytes = PART
        for number, noted in [(0, False), (1, True), (0, True), *((number, True) for number in range(2, PARTS))]:
            first, size = upload.span(number)
            intake.take(upload, number, first, [CONTENT[first : first + size]])
            if noted:
                upload.note(number)
        intake.catch_up(upload).result(10)
        assert (upload.digesting.text, upload.digesting.hashed) == (parcel(CONTENT).digest, len(CONTENT))


def test_a_lane_keeps_the_order_and_lets_others_have_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "TURN_SECONDS", 0.0)
    lane, done, waiting = Lane(), list[int](), list[Work]()
    for number in range(3):
        lane.put(partial(done.append, number), waiting.append)
    turns = 0
    while waiting:
        assert len(waiting) == 1, "one thread at a time"
        waiting.pop()()
        turns += 1
    assert (done, turns) == ([0, 1, 2], 4), "a turn each, and one that finds nothing more"
    lane.put(partial(done.append, 3), inline)
    assert done[3:] == [3]


def test_what_fails_or_is_no_longer_waited_for_holds_up_nothing_that_follows() -> None:
    lane, done, waiting = Lane(), list[int](), list[Work]()
    lane.put(partial(done.remove, 0), waiting.append)
    assert lane.settled(waiting.append).cancel()
    lane.put(partial(done.append, 1), waiting.append)
    last = lane.settled(waiting.append)
    waiting.pop()()
    assert (done, last.result(0), type(lane.failed)) == ([1], None, ValueError)


def test_a_digest_that_cannot_be_read_on_says_so_and_gives_memory_back(tmp_path: Path) -> None:
    digest, free = RunningDigest(), list[bool]()
    digest.read(tmp_path, 1, inline)
    digest.add(b"more", lambda: free.append(True), inline)
    assert (type(digest.failed), free) == (IsADirectoryError, [True])


def test_a_connection_that_ends_is_a_part_that_was_cut() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        tap, slot = Tap(ours, []), memoryview(bytearray(10))
        assert tap.read(slot) == 0
        theirs.sendall(b"abc")
        assert (tap.read(slot, patient=True), tap.taken) == (3, 3)
        theirs.close()
        with pytest.raises(ConnectionError, match="cut"):
            tap.read(slot)


BODY = bytes(range(256)) * (2 * LEAST_BODY_BYTES // 256)
HEAD = f"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    """Tells of a body what it is the digest of; half of one is refused."""

    async def take(request: web.Request) -> web.Response:
        digest, left = hashlib.sha256(), request.content_length or 0
        async with StraightBody(request).straight() as tap:
            if tap is None:
                return web.Response(text="in pieces")
            for piece in tap.early:
                digest.update(piece)
                left -= len(piece)
            slot = memoryview(bytearray(64 * 1024))
            while left:
                if not (got := tap.read(slot[:left])):
                    await tap.wait(left, 5.0)
                digest.update(slot[:got])
                left -= got
                if request.query_string == "half" and left <= len(BODY) // 2:
                    return web.Response(status=409, text="half")
            assert tap.taken
        return web.Response(text=digest.hexdigest())

    async def well(_: web.Request) -> web.Response:
        return web.Response(text="well")

    app = web.Application()
    app.router.add_put("/", take)
    app.router.add_get("/", well)
    made = TestServer(app)
    async with made:
        yield made


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere bodies come in pieces")
async def test_a_connection_that_was_given_away_goes_on_as_any_other(server: TestServer) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(HEAD + BODY + HEAD.replace(b"PUT /", b"PUT /?half") + BODY + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    said = []
    for _ in range(3):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        said.append((head.split()[1], await reader.readexactly(length)))
    writer.close()
    assert said == [(b"200", hashlib.sha256(BODY).hexdigest().encode()), (b"409", b"half"), (b"200", b"well")]


async def test_where_no_more_files_can_be_open_a_part_comes_in_pieces(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "dup", none_left)
    async with ClientSession() as session, session.put(server.make_url("/"), data=io.BytesIO(BODY)) as answer:
        assert (answer.status, await answer.text()) == (200, "in pieces")
