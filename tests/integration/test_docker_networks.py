"""What containers may reach, and how they are reached, on a real dockerd."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skrei_embedded.nats import free_port
from skrei_plugin_api.engine import PortBinding, RunOutcome, RunRequest
from skrei_plugin_api.testing import Running
from skrei_plugin_docker.failures import PortTaken
from tests.support.docker_daemon import DockerDaemon
from tests.support.docker_engine import LONGEST_SECONDS, Bench, a_bench

SERVE = "while true; do echo hello from $0 | nc -l -p {port}; done"


@pytest.fixture
async def bench(tmp_path: Path, docker: DockerDaemon) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, docker) as made:
        yield made


async def heard(host: str, port: int) -> bytes:
    """What is said there, once somebody listens."""
    async with asyncio.timeout(LONGEST_SECONDS):
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            said = await reader.read()
            writer.close()
            if said:  # the daemon's own listener is there before the program's
                return said
            await asyncio.sleep(0.02)


async def stop(run: "asyncio.Future[RunOutcome]") -> None:
    run.cancel()
    await asyncio.wait([run])


@pytest.mark.parametrize("kind", ["Bridge", "Host"])
@pytest.mark.row("5.2/bridge-ports")
async def test_executions_side_by_side_are_reached_at_ports_of_their_own(
    bench: Bench, docker: DockerDaemon, kind: str
) -> None:
    if kind == "Bridge" and not docker.bridge:
        pytest.skip("no bridge can be made here")
    runs, ports = [], [free_port(), free_port()]
    for number, port in enumerate(ports):
        target = 80 if kind == "Bridge" else port
        binding = PortBinding("web", "127.0.0.1", port, target)
        script = SERVE.format(port=target).replace("$0", str(number))
        request = bench.request(script, network=kind, ports=[binding])
        runs.append(asyncio.ensure_future(bench.engine.run(request, Running())))
    said = [await heard("127.0.0.1", port) for port in ports]
    for run in runs:
        await stop(run)
    assert said == [b"hello from 0\n", b"hello from 1\n"]


@pytest.mark.row("5.2/bridge-ports")
async def test_a_port_is_opened_at_its_address_alone(bench: Bench, docker: DockerDaemon) -> None:
    if not docker.bridge:
        pytest.skip("no bridge can be made here")
    port = free_port()
    request = bench.request(SERVE.format(port=80), network="Bridge", ports=[PortBinding("web", "127.0.0.1", port, 80)])
    run = asyncio.ensure_future(bench.engine.run(request, Running()))
    await heard("127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", port)
    await stop(run)


async def test_a_port_that_was_taken_meanwhile_may_be_had_elsewhere(bench: Bench, docker: DockerDaemon) -> None:
    if not docker.bridge:
        pytest.skip("no bridge can be made here")
    with socket.create_server(("127.0.0.1", 0)) as other:
        binding = PortBinding("web", "127.0.0.1", other.getsockname()[1], 80)
        request: RunRequest = bench.request("true", network="Bridge", ports=[binding])
        with pytest.raises(PortTaken, match="was taken just before the container began"):
            await bench.engine.run(request, Running())
