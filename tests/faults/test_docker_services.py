"""What a container reaches of the services of its node, on a real dockerd: those that it uses, and nothing else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skrei_embedded.nats import free_port
from skrei_plugin_api.engine import PortBinding, ServiceWay
from skrei_plugin_api.testing import Running, contents, eventually
from tests.support.docker_daemon import DockerDaemon
from tests.support.docker_engine import LONGEST_SECONDS, Bench, a_bench, heard, stop

MONGODB, REDIS = "SKREI_SERVICE_MONGODB", "SKREI_SERVICE_REDIS"
ASK = "nc {where} </dev/null 2>&1; "
TOLD = "$(echo $SKREI_SERVICE_MONGODB | tr : ' ')"


@pytest.fixture
async def servers() -> AsyncIterator[list[int]]:
    """Two servers on this machine's loopback, each of which says its number; their ports."""
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for number in range(2):

            async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int = number) -> None:
                writer.write(f"server {number}\n".encode())
                writer.close()

            server = await stack.enter_async_context(await asyncio.start_server(say, "127.0.0.1", 0))
            ports.append(server.sockets[0].getsockname()[1])
        yield ports


@pytest.fixture
async def bench(tmp_path: Path, docker: DockerDaemon) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, docker, stop_grace_seconds="0") as made:
        yield made


def a_way(port: int, variable: str = MONGODB) -> ServiceWay:
    return ServiceWay(variable, "127.0.0.1", port)


@pytest.mark.parametrize("kind", ["None", "Default"])
async def test_a_container_reaches_the_service_that_it_uses_and_nothing_else(
    bench: Bench, servers: list[int], kind: str
) -> None:
    used, other = servers
    elsewhere = ASK.format(where=f"127.0.0.1 {other}") + "ls /sys/class/net; env | grep -i proxy || true"
    said = await bench.says(ASK.format(where=TOLD) + elsewhere, network=kind, services=[a_way(used)])
    lines = said.splitlines()
    assert lines[0] == "server 0"
    assert "server" not in "".join(lines[1:])
    assert lines[-1] == "lo", "no other interface, and no proxy"


async def test_beside_domains_and_ports_a_service_is_reached_too(
    bench: Bench, servers: list[int], docker: DockerDaemon
) -> None:
    both = [a_way(servers[0]), a_way(servers[1], REDIS)]
    script = ASK.format(where=TOLD) + ASK.format(where="$(echo $SKREI_SERVICE_REDIS | tr : ' ')") + "env | grep http_p"
    said = await bench.says(script, network="HTTP", domains=["example.com"], services=both)
    assert said.splitlines() == ["server 0", "server 1", "http_proxy=http://127.0.0.1:3128"]
    if not docker.bridge:
        pytest.skip("no bridge can be made here")
    port = free_port()
    serve = "while true; do nc $(echo $SKREI_SERVICE_MONGODB | tr : ' ') </dev/null | nc -l -p 80; done"
    request = bench.request(
        serve, network="Default", ports=[PortBinding("web", "127.0.0.1", port, 80)], services=both[:1]
    )
    run = asyncio.ensure_future(bench.engine.run(request, Running()))
    said_there = await heard("127.0.0.1", port)
    await stop(run)
    assert said_there == b"server 0\n"


async def test_the_next_agent_opens_the_way_again(bench: Bench, servers: list[int], docker: DockerDaemon) -> None:
    ask = ASK.format(where=TOLD)
    script = f"until [ -e /tmp/go ]; do sleep 0.05; done; until {ask} do sleep 0.05; done"
    request = bench.request(script, services=[a_way(servers[0])])
    run = asyncio.ensure_future(bench.engine.run(request, started := Running()))
    await eventually(lambda: started.times == 1)
    bench.engine.leave()
    await stop(run)
    await bench.engine.close()
    bench.engine = bench.another()
    adoption = asyncio.ensure_future(bench.engine.adopt(request, Running()))
    docker.cli("exec", f"skrei-{request.execution_id}-1", "touch", "/tmp/go")
    async with asyncio.timeout(LONGEST_SECONDS):
        outcome = await adoption
    assert outcome is not None
    assert outcome.stdout_head.data.endswith(b"server 0\n")
    assert contents(outcome)["exitCode"] == b"0"
