"""A docker engine and runs on it, for tests that need to look behind the contract."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from skrei_domain.resources import Resources
from skrei_plugin_api.engine import Mount, Output, PortBinding, RunOutcome, RunRequest, ServiceWay
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.testing import Running
from skrei_plugin_docker.engine import DockerEngine
from tests.support.docker_daemon import BUSYBOX, DockerDaemon

NODE = "n-docker-tests"
LONGEST_SECONDS = 30.0


class Bench:
    """An engine, and a folder for each run on it. Everything that it leaves at the daemon is swept at the end."""

    _numbers = itertools.count(1)

    def __init__(
        self,
        folder: Path,
        docker: DockerDaemon,
        *,
        node: str = NODE,
        allow_addresses: Sequence[str] = (),
        **options: str,
    ) -> None:
        self.folder = folder
        self.docker = docker
        self._options = {"docker_stop_grace_seconds": "1", "docker_host": docker.url} | {
            f"docker_{name}": value for name, value in options.items()
        }
        self._node = node
        self._allow_addresses = tuple(allow_addresses)
        self.engine = self.another()

    def another(self) -> DockerEngine:
        """An engine as the agent's next process makes it."""
        return DockerEngine(
            PluginContext(
                self.folder / "state",
                options=self._options,
                node_id=self._node,
                allow_addresses=self._allow_addresses,
            )
        )

    def request(
        self,
        script: str | None = None,
        *,
        name: str = "",
        start: int = 1,
        mounts: Sequence[Mount] = (),
        outputs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        memory_bytes: int = 0,
        cpu_milli: int = 0,
        network: str = "None",
        domains: Sequence[str] = (),
        ports: Sequence[PortBinding] = (),
        services: Sequence[ServiceWay] = (),
        timeout_seconds: float | None = None,
        max_output_bytes: int = 1 << 20,
        max_stream_bytes: int = 1 << 20,
        stop_grace_seconds: int | None = None,
        **params: Any,
    ) -> RunRequest:
        """Return a run of a shell script, or of what the params say."""
        name = name or f"e-{next(self._numbers)}"
        workdir = self.folder / f"work-{name}-{start}"
        workdir.mkdir()
        if script is not None:
            params = {"Entrypoint": ["/bin/sh", "-c"], "Parameters": [script]} | params
        return RunRequest(
            name,
            start,
            {"Image": BUSYBOX} | params,
            workdir,
            env=env or {},
            mounts=tuple(mounts),
            outputs=tuple(Output(output, at) for output, at in (outputs or {}).items()),
            resources=Resources(memory_bytes=memory_bytes, cpu_milli=cpu_milli),
            network=network,
            domains=tuple(domains),
            ports=tuple(ports),
            services=tuple(services),
            timeout_seconds=timeout_seconds,
            max_output_bytes=max_output_bytes,
            max_stream_bytes=max_stream_bytes,
            stop_grace_seconds=stop_grace_seconds,
        )

    async def run(self, script: str | None = None, **given: Any) -> RunOutcome:
        """Run to the end."""
        async with asyncio.timeout(LONGEST_SECONDS):
            return await self.engine.run(self.request(script, **given), Running())

    async def says(self, script: str | None = None, **given: Any) -> str:
        """Return the stdout of a run that ends well."""
        outcome = await self.run(script, **given)
        assert (outcome.exit_code, outcome.failure) == (0, None), (outcome, outcome.stderr_head)
        return outcome.stdout_head.data.decode()


@asynccontextmanager
async def a_bench(
    folder: Path, docker: DockerDaemon, *, allow_addresses: Sequence[str] = (), **options: str
) -> AsyncIterator[Bench]:
    """A bench that leaves nothing behind."""
    bench = Bench(folder, docker, allow_addresses=allow_addresses, **options)
    try:
        yield bench
    finally:
        await bench.engine.sweep(lambda _: False)
        await bench.engine.close()
        assert docker.left() == []


async def heard(host: str, port: int) -> bytes:
    """What is said there, once somebody listens."""
    async with asyncio.timeout(LONGEST_SECONDS):
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.02)  # another program: it tells nobody when it listens
                continue
            try:
                said = await reader.read()
            except ConnectionError:
                said = b""
            finally:
                writer.close()
            if said:  # the daemon's own listener is there before the program's
                return said
            await asyncio.sleep(0.02)


async def stop(run: "asyncio.Future[RunOutcome]") -> None:
    """Cancel a run, and return when it is over."""
    run.cancel()
    await asyncio.wait([run])


def failure(outcome: RunOutcome) -> tuple[str, str]:
    """Return code and message of a run that failed."""
    assert outcome.failure is not None, outcome
    assert outcome.exit_code is None
    return outcome.failure.code.value, outcome.failure.message
