"""Whole nodes on links that give little: behind a site's own server whose uplink is cut, and through a proxy alone."""

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from skrei_domain.lifecycle import ExecutionState
from skrei_embedded.nats import free_port
from tests.support.agent_leader import a_leader
from tests.support.agent_machine import an_order
from tests.support.certificates import make_certificate
from tests.support.http_proxy import running_proxy
from tests.support.leaf_site import HERE, founded
from tests.support.live_stack import SLEEPER, live_stack, noise_job
from tests.support.wasm_task import wasm_task

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

SECONDS = 30.0


class Uplink:
    """The line between a site and the cluster, which can be cut and mended."""

    def __init__(self) -> None:
        self.port, self.target = free_port(), 0
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._link, HERE, self.port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        links = list(self._links)
        for each in links:
            each.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        out = writer
        try:
            there, out = await asyncio.open_connection(HERE, self.target)
            await asyncio.gather(_pump(reader, out), _pump(there, writer))
        except (OSError, asyncio.CancelledError):
            pass  # an end has gone, or the line is cut
        finally:
            self._links.discard(task)
            for each in (writer, out):
                each.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
        await sink.drain()
    raise ConnectionResetError("this end has closed")


@asynccontextmanager
async def an_agent(*arguments: str, **told: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `skrei-compute-agent` as a machine of its own would, with nothing of this one's environment."""
    command = ("-P", "-m", "skrei_compute_agent.command", *arguments)
    environment = {"PATH": os.environ["PATH"], **told}
    process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


def sleeps(seconds: float) -> dict[str, Any]:
    return wasm_task(SLEEPER.format(nanoseconds=int(seconds * 1e9)))


async def ended_on(folder: Path, execution_id: str) -> None:
    """Look into a node's journal until an execution has ended there: it has nobody to tell."""
    async with asyncio.timeout(SECONDS):
        while True:
            with closing(sqlite3.connect(f"file:{folder}/journal/journal.sqlite?mode=ro", uri=True)) as database:
                row = database.execute("SELECT state FROM executions WHERE execution_id = ?", (execution_id,))
                if (found := row.fetchone()) is not None and found[0] == ExecutionState.COMPLETED.value:
                    return
            await asyncio.sleep(0.05)


async def test_a_node_behind_a_leaf_works_while_the_uplink_is_cut_and_is_heard_after_that(tmp_path: Path) -> None:
    uplink, folder = Uplink(), tmp_path / "node"
    with founded(tmp_path, by=uplink.port) as cluster:
        uplink.target = cluster.leaf_port
        cluster.hub.start()
        await uplink.mend()
        creds, ca = cluster.given(tmp_path, cluster.node)
        told = {"SKREI_NATS_URL": cluster.url, "SKREI_NATS_DOMAIN": cluster.site.nats_domain}
        told |= {"SKREI_NATS_CREDS": str(creds), "SKREI_NATS_CA": str(ca), "SKREI_NODE_ID": cluster.node}
        async with (
            a_leader(cluster.hub.url, cluster.node, creds=cluster.keys.creds("scheduler")) as leader,
            an_agent("--data-dir", str(folder), **told) as process,
        ):
            await leader.greeted()
            await leader.run("e-1", an_order(sleeps(1.0)))
            await leader.until(lambda: any(each.state is ExecutionState.RUNNING for each in leader.facts))
            await uplink.cut()
            await ended_on(folder, "e-1")
            assert all(not each.state.is_terminal for each in leader.facts), "nobody can have heard of it"
            await leader.run("e-2", an_order(sleeps(0)))  # it lies in the stream, behind the cut
            beats = len(leader.beats)
            await uplink.mend()
            await leader.until(lambda: len(leader.beats) > beats)
            await leader.ask_hello()  # it was silent
            for execution_id in ("e-1", "e-2"):
                fact = await leader.ended(execution_id)
                assert (fact.state, fact.starts) == (ExecutionState.COMPLETED, 1)
            assert process.returncode is None
            assert len({each.boot_id for each in leader.hellos}) == 1
        await uplink.cut()


async def test_a_node_that_a_proxy_alone_lets_out_joins_runs_and_uploads(tmp_path: Path) -> None:
    """The transport by WebSocket with TLS, the API and the publisher's door by HTTP, and no other way: only the
    proxy knows where `cp.test` is."""
    certificate = make_certificate(tmp_path, "cp.test")
    websocket, door = free_port(), free_port()
    options = ("--orchestrator", "--nats-websocket-port", str(websocket), "--publisher-port", str(door))
    files = ("--tls-cert", str(certificate.file), "--tls-key", str(certificate.key))
    public = {"SKREI_NATS_PUBLIC_URL": f"wss://cp.test:{websocket}", "SKREI_PUBLISHER_URL": f"http://cp.test:{door}"}
    with running_proxy(cp_test=HERE) as proxy, live_stack(*options, *files, env=public) as stack:
        api = f"cp.test:{stack.state()['api_url'].rpartition(':')[2]}"
        through = {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": str(certificate.file)}
        words = ("--join", f"http://{api}", "--token-file", str(stack.keys / "join.token"))
        async with an_agent(*words, "--data-dir", str(tmp_path / "node"), **through):
            job = stack.submit(noise_job(1))
            states = await asyncio.to_thread(stack.wait_for, [job], SECONDS)
            assert states == {job: "Completed"}, stack.tail()
            stack.check_once(job)
        ways = {" ".join(line.split()[:2]) for line in proxy.asked}
        assert f"CONNECT cp.test:{websocket}" in ways
        assert f"POST http://{api}/api/v1/orchestrator/join" in ways
        assert any(f"http://cp.test:{door}/" in each for each in ways), "a result of a megabyte is uploaded"
        assert proxy.refused == []
