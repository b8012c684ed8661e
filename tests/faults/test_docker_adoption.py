"""Containers outlive their agent: taken up again by execution and start, with every byte of output once."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import ExecutionObserved, PortObserved
from skrei_plugin_api.testing import Running, contents, eventually
from tests.support.agent_leader import NatsServer, ScriptedLeader
from tests.support.agent_machine import a_task, an_order
from tests.support.agent_node import a_process
from tests.support.docker_daemon import BUSYBOX, DockerDaemon, running_docker, why_no_docker
from tests.support.docker_engine import Bench, a_bench, failure

COUNTING = (
    "i=0; while [ $i -lt {n} ]; do i=$((i+1)); echo line $i; echo error $i >&2; [ -e {gate} ] || sleep 0.02; done;"
    " printf end; exit 5"
)
LONG_LINE = 40_000


@pytest.fixture
async def bench(tmp_path: Path, docker: DockerDaemon) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, docker) as made:
        yield made


async def left_behind(bench: Bench, run: "asyncio.Future[Any]") -> None:
    """End a run as the end of its agent does."""
    bench.engine.leave()
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled()
    await bench.engine.close()
    bench.engine = bench.another()


@pytest.mark.parametrize("staging", ["bind", "volume"])
@pytest.mark.parametrize("ended", [False, True])
async def test_a_run_goes_on_without_its_agent_and_no_byte_is_lost_or_doubled(
    tmp_path: Path, docker: DockerDaemon, staging: str, ended: bool
) -> None:
    async with a_bench(tmp_path, docker, staging=staging) as bench:
        request = bench.request(COUNTING.format(n=60, gate="/none") + "; ", outputs={"made": "/out"})
        stdout = request.workdir / "stdout"
        run = asyncio.ensure_future(bench.engine.run(request, Running()))
        await eventually(lambda: stdout.exists() and b"line 10\n" in stdout.read_bytes())
        await left_behind(bench, run)
        (container,) = docker.named()
        assert container["State"] == "running"
        if ended:
            docker.cli("wait", container["ID"])
        outcome = await bench.engine.adopt(request, Running())
        assert outcome is not None
        assert (outcome.exit_code, outcome.failure) == (5, None)
        assert [one["ID"] for one in docker.named()] == [container["ID"]]
    found = contents(outcome)
    assert found["stdout"] == b"".join(b"line %d\n" % number for number in range(1, 61)) + b"end"
    assert found["stderr"] == b"".join(b"error %d\n" % number for number in range(1, 61))


async def test_long_lines_and_any_bytes_survive_the_gap(bench: Bench) -> None:
    script = (
        r"printf 'first\n'; sleep 1; printf '\377\376\000\n'; "
        f"head -c {LONG_LINE} /dev/zero | tr '\\0' x; echo; printf 'last, unfinished'"
    )
    request = bench.request(script)
    stdout = request.workdir / "stdout"
    run = asyncio.ensure_future(bench.engine.run(request, Running()))
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"first\n")
    await left_behind(bench, run)
    outcome = await bench.engine.adopt(request, Running())
    assert outcome is not None
    assert contents(outcome)["stdout"] == b"first\n\xff\xfe\0\n" + b"x" * LONG_LINE + b"\nlast, unfinished"


async def test_only_the_same_start_is_taken_up(bench: Bench, docker: DockerDaemon) -> None:
    request = bench.request("sleep 30")
    run = asyncio.ensure_future(bench.engine.run(request, running := Running()))
    await eventually(lambda: running.times == 1)
    await left_behind(bench, run)
    second = bench.request("echo second", name=request.execution_id, start=2)
    assert await bench.engine.adopt(second, Running()) is None
    outcome = await bench.engine.run(second, Running())
    assert outcome.stdout_head.data == b"second\n"
    assert [one["Names"] for one in docker.named()] == [f"skrei-{request.execution_id}-2"], (
        "two starts of one execution"
    )


async def test_what_was_made_and_never_started_is_started_if_nothing_of_it_is_missing(
    tmp_path: Path, docker: DockerDaemon
) -> None:
    async with a_bench(tmp_path, docker) as bench:
        request = bench.request("echo hello")
        await bench.engine._create(request)
        outcome = await bench.engine.adopt(request, Running())
        assert outcome is not None
        assert outcome.stdout_head.data == b"hello\n"
    async with a_bench(tmp_path, docker, staging="volume") as bench:
        request = bench.request("echo hello", outputs={"made": "/out"})
        await bench.engine._create(request)
        assert await bench.engine.adopt(request, Running()) is None, "its volume may be half filled"
        outcome = await bench.engine.run(request, Running())
        assert outcome.stdout_head.data == b"hello\n"


async def test_a_container_that_was_killed_while_nobody_watched_may_be_tried_again(
    bench: Bench, docker: DockerDaemon
) -> None:
    request = bench.request("echo on; sleep 30")
    run = asyncio.ensure_future(bench.engine.run(request, Running()))
    stdout = request.workdir / "stdout"
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"on\n")
    await left_behind(bench, run)
    docker.cli("kill", f"skrei-{request.execution_id}-1")
    assert await bench.engine.adopt(request, Running()) is None
    second = bench.request("echo again", name=request.execution_id, start=2)
    assert (await bench.engine.run(second, Running())).stdout_head.data == b"again\n"
    assert [one["Names"] for one in docker.named()] == [f"skrei-{request.execution_id}-2"]


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("code", [137, 143, 255])
async def test_whatever_code_a_program_ends_with_of_itself_is_its_own(
    bench: Bench, docker: DockerDaemon, code: int, watched: bool
) -> None:
    gate = "until [ -e /out/go ]; do sleep 0.05; done"
    request = bench.request(f"echo on; {gate}; exit {code}", outputs={"made": "/out"})
    stdout = request.workdir / "stdout"
    run = asyncio.ensure_future(bench.engine.run(request, Running()))
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"on\n")
    await left_behind(bench, run)
    go = request.workdir / "outputs" / "made" / "go"
    if not watched:
        go.touch()
        docker.cli("wait", f"skrei-{request.execution_id}-1")
    seen = Running()
    again = asyncio.ensure_future(bench.engine.adopt(request, seen))
    await eventually(lambda: seen.times == 1)
    go.touch()
    outcome = await again
    assert outcome is not None, "it would be run a second time"
    assert (outcome.exit_code, outcome.failure) == (code, None)


async def test_a_container_that_was_removed_by_hand_is_an_interruption(bench: Bench, docker: DockerDaemon) -> None:
    request = bench.request("echo on; sleep 30")
    run = asyncio.ensure_future(bench.engine.run(request, Running()))
    stdout = request.workdir / "stdout"
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"on\n")
    docker.cli("rm", "--force", f"skrei-{request.execution_id}-1")
    code, message = failure(await run)
    assert (code, "removed by hand" in message) == ("engine-lost", True)


# ---------------------------------------------------------------- the daemon goes away


@pytest.fixture
def own_docker() -> Iterator[DockerDaemon]:
    """A daemon that a test may end."""
    if reason := why_no_docker():
        pytest.skip(reason)
    with running_docker() as running:
        yield running


async def test_a_daemon_that_goes_away_is_waited_for_and_what_it_took_along_may_be_tried_again(
    tmp_path: Path, own_docker: DockerDaemon
) -> None:
    async with a_bench(tmp_path, own_docker) as bench:
        request = bench.request("trap 'exit 143' TERM; echo on; while true; do sleep 0.05; done")
        run = asyncio.ensure_future(bench.engine.run(request, Running()))
        stdout = request.workdir / "stdout"
        await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"on\n")
        await asyncio.to_thread(own_docker.stop)
        await asyncio.to_thread(own_docker.start)
        outcome = await run
        code, message = failure(outcome)
        assert (code, "went away" in message) == ("engine-lost", True)
        assert contents(outcome)["stdout"] == b"on\n"


async def test_a_container_that_outlives_its_daemon_is_followed_on(tmp_path: Path) -> None:
    if reason := why_no_docker():
        pytest.skip(reason)
    with running_docker("--live-restore") as docker:
        async with a_bench(tmp_path, docker) as bench:
            request = bench.request(COUNTING.format(n=150, gate="/none"))
            run = asyncio.ensure_future(bench.engine.run(request, Running()))
            stdout = request.workdir / "stdout"
            await eventually(lambda: stdout.exists() and b"line 20\n" in stdout.read_bytes())
            await asyncio.to_thread(docker.stop, signal.SIGTERM)
            await asyncio.to_thread(docker.start)
            outcome = await run
    assert (outcome.exit_code, outcome.failure) == (5, None)
    assert contents(outcome)["stdout"] == b"".join(b"line %d\n" % number for number in range(1, 151)) + b"end"


# ---------------------------------------------------------------- a whole agent


def docker_task(script: str, **params: Any) -> dict[str, Any]:
    return a_task(
        Engine={
            "Type": "docker",
            "Params": {"Image": BUSYBOX, "Entrypoint": ["/bin/sh", "-c"], "Parameters": [script]} | params,
        },
        Resources={"CPU": "100m", "Memory": "64Mb"},
        Network={"Type": "None"},
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_an_agent_that_comes_back_takes_its_container_up_and_it_is_gone_afterwards(
    docker: DockerDaemon, nats: NatsServer, leader: ScriptedLeader, tmp_path: Path, how: signal.Signals
) -> None:
    options = {"SKREI_PLUGIN_OPTIONS": f"docker_host={docker.url}"}
    script = COUNTING.format(n=100, gate="/none")
    # At most once: a second start would be a failure.
    order = an_order(docker_task(script), local_restarts=0)
    async with a_process(nats, tmp_path / "node", **options) as process:
        await leader.greeted()
        assert "docker" in {plugin.name for plugin in leader.hellos[0].info.engines}
        await leader.run("e-1", order)
        await leader.until(lambda: any(fact.state is ExecutionState.RUNNING for fact in leader.facts))
        await eventually(lambda: any(one["State"] == "running" for one in docker.named()))
        process.send_signal(how)
        await process.wait()
    (container,) = docker.named()
    assert container["State"] == "running"
    async with a_process(nats, tmp_path / "node", **options):
        fact = await leader.ended("e-1")
        await eventually(lambda: docker.left() == [])
    assert (fact.state, fact.exit_code, fact.starts) == (ExecutionState.COMPLETED, 5, 1)
    assert fact.output is not None
    assert fact.output.stdout == "".join(f"line {number}\n" for number in range(1, 101)) + "end"
    assert fact.image_digest == docker.cli("image", "inspect", "--format", "{{.Id}}", BUSYBOX).strip()


async def test_ports_and_filtered_networks_are_taken_up_with_their_containers(
    docker: DockerDaemon, nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    if not docker.bridge:
        pytest.skip("no bridge can be made here")
    options = {
        "SKREI_PLUGIN_OPTIONS": f"docker_host={docker.url},docker_stop_grace_seconds=0",
        "SKREI_ALLOW_ADDRESSES": "127.0.0.0/8",
    }
    serves = docker_task("while true; do echo hello | nc -l -p $BACALHAU_PORT_web; done")
    serves["Network"] = {"Type": "Bridge", "Ports": [{"Name": "web", "Target": 80}]}
    asks = docker_task(
        "until [ -e /tmp/go ]; do sleep 0.05; done; until wget -q -O- http://localhost:$PORT/; do :; done"
    )
    asks |= {"Network": {"Type": "HTTP", "Domains": ["localhost"]}}
    site = await asyncio.start_server(_say_hello, "127.0.0.1", 0)
    asks["Env"] = {"PORT": str(site.sockets[0].getsockname()[1])}

    def told() -> set[tuple[PortObserved, ...]]:
        return {fact.ports for fact in leader.facts if isinstance(fact, ExecutionObserved) and fact.ports}

    async with a_process(nats, tmp_path / "node", **options) as process:
        await leader.greeted()
        await leader.run("e-1", an_order(serves, local_restarts=0))
        await leader.run("e-2", an_order(asks, local_restarts=0))
        await leader.until(lambda: len(told()) == 1)
        await eventually(lambda: len([one for one in docker.named() if one["State"] == "running"]) == 3)
        process.kill()
        await process.wait()
    ((port,),) = told()
    leader.facts.clear()
    async with a_process(nats, tmp_path / "node", **options):
        await leader.until(lambda: told() == {(port,)})
        async with asyncio.timeout(20):
            while not (said := await _said(port)):  # docker's proxy takes connections before the program does
                pass
        assert said == b"hello\n"
        assert [fact for fact in leader.facts if fact.execution_id == "e-2" and fact.state.is_terminal] == []
        docker.cli("exec", "skrei-e-2-1", "touch", "/tmp/go")
        fact = await leader.ended("e-2")
        await leader.stop("e-1")
        await eventually(lambda: docker.left() == [])
    site.close()
    assert fact.output is not None
    assert (fact.exit_code, fact.output.stdout) == (0, "hello")


async def _said(port: PortObserved) -> bytes:
    reader, writer = await asyncio.open_connection(port.host, port.port)
    try:
        return await reader.read()
    finally:
        writer.close()


async def _say_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
    await writer.drain()
    writer.close()


async def test_a_node_that_was_restarted_starts_its_container_again_by_itself(
    docker: DockerDaemon, nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    """A machine that went down takes containers along: on the edge nobody else may be there to place them anew."""
    options = {"SKREI_PLUGIN_OPTIONS": f"docker_host={docker.url}"}
    script = "if [ -e /state/began ]; then echo second; else touch /state/began; echo first; sleep 30; fi"
    (tmp_path / "state").mkdir()
    source = {"Type": "local", "Params": {"SourcePath": str(tmp_path / "state"), "ReadWrite": True}}
    task = docker_task(script) | {"InputSources": [{"Source": source, "Target": "/state"}]}
    options |= {"SKREI_ALLOW_LOCAL": f"{tmp_path}/state:rw"}
    async with a_process(nats, tmp_path / "node", **options) as process:
        await leader.greeted()
        await leader.run("e-1", an_order(task, local_restarts=1))
        await eventually((tmp_path / "state" / "began").exists)
        process.kill()
        await process.wait()
    docker.cli("kill", docker.named()[0]["ID"])
    async with a_process(nats, tmp_path / "node", **options):
        fact = await leader.ended("e-1")
        await eventually(lambda: docker.left() == [])
    assert (fact.state, fact.exit_code, fact.starts) == (ExecutionState.COMPLETED, 0, 2), fact.problem
    assert fact.output is not None
    assert fact.output.stdout == "second\n"


async def test_a_container_that_is_stopped_while_its_agent_is_away_goes_with_its_return(
    docker: DockerDaemon, nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    options = {"SKREI_PLUGIN_OPTIONS": f"docker_host={docker.url}"}
    async with a_process(nats, tmp_path / "node", **options) as process:
        await leader.greeted()
        await leader.run("e-1", an_order(docker_task("trap 'exit 9' TERM; while true; do sleep 0.05; done")))
        await leader.until(lambda: any(fact.state is ExecutionState.RUNNING for fact in leader.facts))
        process.kill()
        await process.wait()
    async with a_process(nats, tmp_path / "node", **options):
        await leader.until(lambda: len(leader.hellos) >= 2)
        await leader.stop("e-1")
        fact = await leader.ended("e-1")
        assert fact.state is ExecutionState.STOPPED
        await eventually(lambda: docker.left() == [])


async def test_an_image_that_cannot_be_had_fails_in_staging_and_says_why(
    docker: DockerDaemon, nats: NatsServer, leader: ScriptedLeader, tmp_path: Path
) -> None:
    async with a_process(nats, tmp_path / "node", SKREI_PLUGIN_OPTIONS=f"docker_host={docker.url}"):
        await leader.greeted()
        await leader.run("e-1", an_order(docker_task("true", Image="skrei-test/none:1", Pull="never")))
        fact = await leader.ended("e-1")
    assert fact.state is ExecutionState.FAILED
    assert fact.problem is not None
    assert fact.problem.code == "image-unavailable"
    assert "docker pull" in fact.problem.message
