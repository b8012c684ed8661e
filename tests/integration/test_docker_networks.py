"""What containers may reach, and how they are reached, on a real dockerd."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skrei_embedded.nats import free_port
from skrei_plugin_api.engine import PortBinding, RunRequest
from skrei_plugin_api.testing import Running, eventually
from skrei_plugin_docker.failures import PortTaken
from tests.support.docker_daemon import DockerDaemon
from tests.support.docker_engine import LONGEST_SECONDS, Bench, a_bench, failure, heard, stop

SERVE = "while true; do echo hello from $0 | nc -l -p {port}; done"


@pytest.fixture
async def bench(tmp_path: Path, docker: DockerDaemon) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, docker, stop_grace_seconds="0") as made:
        yield made


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


# ---------------------------------------------------------------- filtered by domain

FETCH = "wget -q -O- http://{host}:{port}/ 2>&1 || true; "


class Site:
    """A web server on this machine that says hello and keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello\n")
        await writer.drain()
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[tuple[Site, int]]:
    made = Site()
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    yield made, server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def filtering(tmp_path: Path, docker: DockerDaemon) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, docker, allow_addresses=("127.0.0.0/8",), stop_grace_seconds="0") as made:
        yield made


@pytest.mark.row("5.2/http", "5.2/http-job-header")
async def test_what_the_list_names_is_reached_and_nothing_else(filtering: Bench, site: tuple[Site, int]) -> None:
    web, port = site
    allowed, denied = (FETCH.format(host=host, port=port) for host in ("localhost", "other.org"))
    script = f"{allowed}{denied}http_proxy= wget -q -O- http://127.0.0.1:{port}/ 2>&1; ls /sys/class/net; ip route"
    said = await filtering.says(script, network="HTTP", domains=["localhost"], env={"BACALHAU_JOB_ID": "j-1"})
    lines = said.splitlines()
    assert lines[0] == "hello"
    assert "403 Forbidden" in lines[1]
    assert "127.0.0.1" in lines[2]  # nobody listens there: its loopback is its own
    assert lines[3:4] == ["lo"]
    (heard,) = web.heard
    assert b"X-Bacalhau-Job-ID: j-1" in heard


@pytest.mark.row("5.2/http-private-addresses")
async def test_private_addresses_are_reached_only_with_the_owners_leave(bench: Bench, site: tuple[Site, int]) -> None:
    said = await bench.says(FETCH.format(host="localhost", port=site[1]), network="HTTP", domains=["localhost"])
    assert "403 Forbidden" in said
    assert site[0].heard == []


@pytest.mark.row("5.2/http-variables")
async def test_programs_find_the_filter_in_the_variables_that_they_know(bench: Bench) -> None:
    said = await bench.says("env", network="HTTP", domains=["example.com"], env={"http_proxy": "http://own:1"})
    found = dict(line.split("=", 1) for line in said.splitlines())
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        assert found[name] == "http://127.0.0.1:3128"


@pytest.mark.row("5.2/http")
async def test_two_filtered_networks_know_nothing_of_each_other(filtering: Bench, site: tuple[Site, int]) -> None:
    fetch = FETCH.format(host="localhost", port=site[1])
    both = await asyncio.gather(
        filtering.says(fetch, network="HTTP", domains=["localhost"]),
        filtering.says(fetch, network="HTTP", domains=["example.com"]),
    )
    assert both[0] == "hello\n"
    assert "403 Forbidden" in both[1]


async def test_the_next_agent_takes_a_filtered_network_up_again(
    filtering: Bench, docker: DockerDaemon, site: tuple[Site, int]
) -> None:
    fetch = f"wget -q -O- http://localhost:{site[1]}/ 2>/dev/null"
    script = f"until [ -e /tmp/go ]; do sleep 0.05; done; until {fetch}; do sleep 0.05; done"
    request = filtering.request(script, network="HTTP", domains=["localhost"])
    run = asyncio.ensure_future(filtering.engine.run(request, started := Running()))
    await eventually(lambda: started.times == 1)
    filtering.engine.leave()
    await stop(run)
    await filtering.engine.close()
    filtering.engine = filtering.another()
    adoption = asyncio.ensure_future(filtering.engine.adopt(request, Running()))
    docker.cli("exec", f"skrei-{request.execution_id}-1", "touch", "/tmp/go")
    async with asyncio.timeout(LONGEST_SECONDS):
        outcome = await adoption
    assert outcome is not None
    assert outcome.stdout_head.data.endswith(b"hello\n")


async def test_what_a_killed_agent_left_of_a_filtered_network_is_swept(filtering: Bench, docker: DockerDaemon) -> None:
    request = filtering.request("sleep 60", network="HTTP", domains=["localhost"])
    run = asyncio.ensure_future(filtering.engine.run(request, started := Running()))
    await eventually(lambda: started.times == 1)
    filtering.engine.leave()
    await stop(run)
    assert len(docker.left()) == 2
    await filtering.engine.close()
    filtering.engine = filtering.another()
    assert await filtering.engine.sweep(lambda _: False) == 2
    assert docker.left() == []


@pytest.fixture
def no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """We are not root as far as the networks of containers go."""
    monkeypatch.setattr("skrei_plugin_docker.gate.namespace._CLONE_NEWNET", 0x1234)


@pytest.mark.usefixtures("no_entry")
async def test_an_agent_that_cannot_enter_has_the_daemon_do_it(
    filtering: Bench, docker: DockerDaemon, site: tuple[Site, int]
) -> None:
    allowed, denied = (FETCH.format(host=host, port=site[1]) for host in ("localhost", "other.org"))
    said = await filtering.says(allowed + denied, network="HTTP", domains=["localhost"])
    assert said.startswith("hello\n")
    assert "403 Forbidden" in said
    assert len(docker.left()) == 2  # the run's own, and what holds its network
    assert not list((filtering.folder / "state").glob("gate-*"))


@pytest.mark.usefixtures("no_entry")
async def test_an_agent_whose_daemon_sees_nothing_of_its_machine_says_what_to_do(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skrei_plugin_docker.sight.translate", lambda *_: None)
    code, message = failure(await bench.run("true", network="HTTP", domains=["example.com"]))
    assert code == "network-unsupported"
    assert "does not see this machine's files" in message
    assert "run its agent on the machine of its Docker daemon" in message
