"""The filtering process and who keeps it: it is nobody, serves what it is given, and is followed when it dies."""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import tarfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import psutil
import pytest

from skrei_plugin_api.testing import eventually
from skrei_plugin_docker.gate import holder
from skrei_plugin_docker.gate.keeper import Keeper, Opening


@pytest.fixture
async def keeper() -> AsyncIterator[Keeper]:
    made = Keeper(["127.0.0.0/8"])
    yield made
    await made.close()


def a_listener() -> tuple[socket.socket, int]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


async def said_to(port: int, target: str = "other.org:443") -> bytes:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return b""
    try:
        writer.write(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        async with asyncio.timeout(20):
            return await reader.read()
    except OSError:
        return b""
    finally:
        writer.close()


async def test_each_listener_has_its_own_list_until_it_is_shut(keeper: Keeper) -> None:
    (one, first), (two, second) = a_listener(), a_listener()
    await keeper.open("e-1", Opening(one, ["one.example"]))
    await keeper.open("e-2", Opening(two, ["two.example"]))
    assert b"lists one.example" in await said_to(first)
    assert b"lists two.example" in await said_to(second)
    keeper.shut("e-1")
    async with asyncio.timeout(20):
        while await said_to(first):
            pass  # it was told to, and does so in a moment
    assert b"lists two.example" in await said_to(second)


async def test_it_runs_as_nobody_and_knows_nothing_of_the_agent(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKREI_SECRET", "of-the-agent")
    listener, _ = a_listener()
    await keeper.open("e-1", Opening(listener, []))
    assert keeper.pid is not None
    process = psutil.Process(keeper.pid)
    assert process.uids().real == (65_534 if os.geteuid() == 0 else os.geteuid())
    assert "SKREI_SECRET" not in process.environ()


async def test_a_way_to_one_address_passes_bytes_both_ways_until_it_is_shut(keeper: Keeper) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())  # only once the other side has said its last word
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    listener, port = a_listener()
    await keeper.open("e-1/db", Opening(listener, to=("localhost", server.sockets[0].getsockname()[1])))

    async def heard() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"hello" * 50_000)
            writer.write_eof()
            async with asyncio.timeout(20):
                return await reader.read()
        except OSError:
            return b""
        finally:
            writer.close()

    assert await asyncio.gather(*(heard() for _ in range(8))) == [b"HELLO" * 50_000] * 8
    server.close()
    await server.wait_closed()
    assert await heard() == b""  # as where nothing listens
    keeper.shut("e-1/db")


@pytest.mark.parametrize("way", ["domain", "service"])
async def test_a_far_side_that_takes_nothing_holds_up_no_other_container(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("skrei_plugin_docker.gate.keeper.START_SECONDS", 10.0)
    far = socket.create_server(("127.0.0.1", 0))  # it takes no connection, so it reads nothing
    target = far.getsockname()
    (one, first), (two, second) = a_listener(), a_listener()
    await keeper.open("e-1", Opening(one, ["localhost"]) if way == "domain" else Opening(one, to=target))
    reader, writer = await asyncio.open_connection("127.0.0.1", first)
    if way == "domain":
        writer.write(f"CONNECT localhost:{target[1]} HTTP/1.1\r\n\r\n".encode())
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.transport.set_write_buffer_limits(high=0)
    writer.write(bytes(32 * 1024 * 1024))  # more than all buffers on the way
    held = psutil.Process(keeper.pid)
    await eventually(lambda: writer.transport.get_write_buffer_size() > 0 and held.status() == psutil.STATUS_SLEEPING)
    keeper.shut("e-1")
    await keeper.open("e-2", Opening(two, ["two.example"]))
    assert b"lists two.example" in await said_to(second)
    writer.close()
    far.close()


async def test_names_are_looked_up_without_rights_too(keeper: Keeper) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    listener, port = a_listener()
    await keeper.open("e-1", Opening(listener, ["localhost"]))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT localhost:{server.getsockname()[1]} HTTP/1.1\r\n\r\n".encode())
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    server.close()


async def test_one_that_dies_is_followed_by_another_with_all_listeners(keeper: Keeper) -> None:
    listener, port = a_listener()
    await keeper.open("e-1", Opening(listener, ["one.example"]))
    first = keeper.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: keeper.pid not in (None, first))
    assert b"lists one.example" in await said_to(port)


async def test_one_that_cannot_be_started_is_tried_again(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    listener, port = a_listener()
    await keeper.open("e-1", Opening(listener, ["one.example"]))
    first, start, failures = keeper.pid, keeper._start, iter([BlockingIOError("no more processes")])

    def starved() -> None:
        for failure in failures:
            raise failure
        start()

    monkeypatch.setattr(keeper, "_start", starved)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: keeper.pid not in (None, first))
    assert b"lists one.example" in await said_to(port)
    assert next(failures, None) is None


async def test_one_that_follows_serves_more_than_a_socket_holds(keeper: Keeper) -> None:
    many = [f"{number}.{'x' * 60}.example" for number in range(700)]
    ports = []
    for number in range(8):
        listener, port = a_listener()
        await keeper.open(f"e-{number}", Opening(listener, [*many, f"{number}.last"]))
        ports.append(port)
    first = keeper.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: keeper.pid not in (None, first))
    assert [f"lists {many[0]}".encode() in said for said in await asyncio.gather(*map(said_to, ports))] == [True] * 8


async def test_it_ends_with_its_agent(keeper: Keeper) -> None:
    listener, _ = a_listener()
    await keeper.open("e-1", Opening(listener, []))
    assert keeper.pid is not None
    process = psutil.Process(keeper.pid)
    await keeper.close()
    assert not process.is_running()
    await keeper.close()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_program_that_waits_is_a_whole_elf_file(machine: str) -> None:
    data = holder.program(machine)
    assert data[:7] == b"\x7fELF\x02\x01\x01"
    entry, segment, size = (struct.unpack_from("<Q", data, at)[0] for at in (24, 64 + 16, 64 + 32))
    assert size == len(data)
    assert entry == segment + 64 + 56
    with tarfile.open(fileobj=BytesIO(holder.image(machine))) as tar:
        assert [(one.name, one.mode) for one in tar if one.isfile()] == [("wait", 0o555)]
        assert {one.linkname for one in tar if one.issym()} == {"usr/bin", "usr/lib", "usr/lib64"}


def test_machines_without_such_a_program_are_known() -> None:
    assert not holder.supported("riscv64")
    assert holder.tag("x86_64") != holder.tag("aarch64")


@pytest.mark.skipif(not holder.supported(), reason="no such program for this machine")
def test_the_program_that_waits_waits(tmp_path: Path) -> None:
    path = tmp_path / "wait"
    path.write_bytes(holder.program())
    path.chmod(0o755)
    with subprocess.Popen([path]) as process:
        status = psutil.Process(process.pid)
        while status.cmdline() != [str(path)]:
            assert process.poll() is None
        while status.status() != psutil.STATUS_SLEEPING:
            assert process.poll() is None
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
