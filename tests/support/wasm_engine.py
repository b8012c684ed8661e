"""A wasm engine and runs on it, for tests that need to look behind the contract."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from skrei_domain.resources import Resources
from skrei_plugin_api.engine import Mount, Output, RunOutcome, RunRequest, ServiceWay
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.testing import Running, eventually
from skrei_plugin_wasm.engine import WasmEngine


class Bench:
    """An engine, and a folder for each run on it."""

    def __init__(
        self, folder: Path, *, state: Path | None = None, allow_addresses: Sequence[str] = (), **options: str
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.modules = (state or folder / "state") / "modules"
        self.engine = WasmEngine(
            PluginContext(
                self.modules.parent,
                options={f"wasm_{name}": value for name, value in options.items()},
                allow_addresses=tuple(allow_addresses),
            )
        )
        self._runs = 0

    def request(
        self,
        module: bytes | None,
        *,
        mounts: Sequence[Mount] = (),
        outputs: Mapping[str, str] | None = None,
        memory_bytes: int = 0,
        timeout_seconds: float | None = None,
        network: str = "None",
        domains: Sequence[str] = (),
        services: Sequence[ServiceWay] = (),
        **params: Any,
    ) -> RunRequest:
        """Return a run of `module`, mounted at main.wasm."""
        self._runs += 1
        workdir = self.folder / f"run-{self._runs}"
        workdir.mkdir()
        path = self.folder / f"module-{self._runs}.wasm"
        if module is not None:
            path.write_bytes(module)
            mounts = (Mount(path, "main.wasm"), *mounts)
        return RunRequest(
            f"e-{self._runs}",
            1,
            {"EntryModule": "main.wasm"} | params,
            workdir,
            mounts=tuple(mounts),
            outputs=tuple(Output(name, at) for name, at in (outputs or {}).items()),
            resources=Resources(memory_bytes=memory_bytes),
            timeout_seconds=timeout_seconds,
            network=network,
            domains=tuple(domains),
            services=tuple(services),
        )

    async def run(self, module: bytes | None, **given: Any) -> RunOutcome:
        """Run `module` to its end."""
        return await self.engine.run(self.request(module, **given), Running())


async def begun(bench: Bench, request: RunRequest) -> "asyncio.Task[object]":
    """Return a run whose program has said `on`, and goes on."""
    run = asyncio.create_task(bench.engine.run(request, Running()))
    stdout = request.workdir / "stdout"
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"on\n")
    return run


def failure(outcome: RunOutcome) -> tuple[str, str]:
    """Return code and message of a run that failed."""
    assert outcome.failure is not None, outcome
    assert outcome.exit_code is None
    return outcome.failure.code.value, outcome.failure.message


def alive(*pids: int) -> bool:
    """Whether any of the processes runs (one that is dead but not collected does not)."""
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            continue
    return False


def kill(pid: int) -> None:
    """End a process as if it had crashed."""
    os.kill(pid, 9)
