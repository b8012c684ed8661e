import gzip
import io
import os
import tarfile
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from skrei_domain.errors import Unavailable
from skrei_orchestrator_api import outputs


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


async def read(data: bytes) -> list[tuple[int, str]]:
    """What is read, the pieces of each stream joined."""
    found: dict[int, str] = {}
    async for stream, text in outputs.unpacked(data):
        found[stream] = found.get(stream, "") + text
    return list(found.items())


async def test_a_results_output_is_read_from_its_archive() -> None:
    data = archive(exitCode=b"0", stdout="grüße".encode() + b"\xff", stderr=b"warned", later=b"x")
    assert await read(data) == [(1, "grüße�"), (2, "warned")]


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", archive(stdout=os.urandom(100_000))[:5000], gzip.compress(b"no tar" * 500)],
    ids=["empty", "nonsense", "cut short", "no tar"],
)
async def test_an_archive_that_cannot_be_read_is_said_so(data: bytes) -> None:
    with pytest.raises(Unavailable, match="the stored result cannot be read"):
        await read(data)


@pytest.mark.row("1.8/chunks")
async def test_a_character_that_two_pieces_share_stays_whole() -> None:
    text = "x" * (outputs.PIECE_BYTES - 1) + "ø" * 10
    assert await read(archive(stdout=text.encode())) == [(1, text)]


async def test_an_archive_that_claims_more_than_it_should_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MAX_OUTPUT_BYTES", 10)
    ((stream, text),) = await read(archive(stdout=b"x" * 1_000))
    assert stream == 1
    assert text.startswith("xxxxxxxxxx\n[cut after 10 bytes")


async def test_a_long_output_is_never_held_whole() -> None:
    data = archive(stdout=bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        size = 0
        async for _, text in outputs.unpacked(data):
            size += len(text)
        assert size == 64 * 1024 * 1024
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024**2
    finally:
        tracemalloc.stop()


async def test_headers_without_end_are_not_held() -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 8 * 1024**3
    data = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(32 * 1024**2), 1)
    tracemalloc.start()
    try:
        with pytest.raises(Unavailable):
            await read(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()


def test_no_proxy_is_shown_what_opens_the_publishers_door(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with outputs._open(f"http://127.0.0.1:{server.server_port}/results/e-1?token=secret") as response:
            assert response.read() == b"here"
        thread.join()
