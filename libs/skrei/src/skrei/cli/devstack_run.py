"""What `skrei devstack` does: `skrei serve` once for the control plane and once for each node, watched to the end."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from skrei.cli import render
from skrei.cli.grammar import Values
from skrei.cli.stack_process import StackProcess
from skrei.errors import Rejected
from skrei_domain.errors import SkreiError

LOOK_SECONDS = 0.5
"""Between looks whether every process still lives."""


def devstack(values: Values) -> int:
    """Run the stack until Ctrl+C or SIGTERM."""
    try:
        asyncio.run(_devstack(values))
    except (KeyboardInterrupt, asyncio.CancelledError):
        render.note("Stopped.")
        return 130
    return 0


async def _devstack(values: Values) -> None:
    task = asyncio.current_task()
    assert task is not None, "called from asyncio.run"
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    named = values.text("stack-repo") or values.text("data-dir")
    folder = await asyncio.to_thread(_folder, named)
    try:
        async with _running(folder, values) as (url, stacks):
            _tell(url, len(stacks), folder)
            while True:
                for stack in stacks:
                    stack.check()
                await asyncio.sleep(LOOK_SECONDS)
    finally:
        if not named:
            await _remove(folder, nodes=values.integer("computes") + 1)


async def _remove(folder: Path, *, nodes: int) -> None:
    """Remove what the nodes left at their engines, whose ids stand in the folder; then the folder."""
    from skrei_embedded.leftovers import remove_runs

    try:
        for number in range(nodes):
            for problem in await remove_runs(folder / f"node-{number}" / "data"):
                render.note(f"Not everything that ran on node-{number} could be removed: {problem}")
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _folder(named: str) -> Path:
    folder = Path(named).absolute() if named else Path(tempfile.mkdtemp(prefix="skrei-devstack-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # as root the database has a user of its own, who passes through here
    return folder


@contextlib.asynccontextmanager
async def _running(folder: Path, values: Values) -> AsyncIterator[tuple[str, Sequence[StackProcess]]]:
    """Start the control plane, then every node at once; stop all in the other order."""
    stacks: list[StackProcess] = []
    try:
        first = _stack(folder, 0, _control_options(values))
        stacks.append(first)
        await _started(first)
        join = ("--join", first.endpoint, "--token", _token(folder / "node-0" / "data"))
        nodes = [_stack(folder, number, ("--compute", *join)) for number in range(1, values.integer("computes") + 1)]
        stacks += nodes
        await asyncio.gather(*map(_started, nodes))
        yield first.endpoint, stacks
    finally:
        nodes, control = stacks[1:], stacks[:1]
        await asyncio.gather(*(stack.stop() for stack in nodes))
        for stack in control:
            await stack.stop()


def _control_options(values: Values) -> Sequence[str]:
    port = "0" if values.flag("random-ports") else str(values.integer("port"))
    ports = ("--port", port, "--publisher-port", "0", "--nats-port", "0")
    roles = ("--orchestrator", "--compute") if values.integer("hybrids") else ("--orchestrator",)
    schedulers = str(max(values.integer("orchestrators"), 1))
    return (*roles, *ports, "--listen", "127.0.0.1", "--schedulers", schedulers)


def _stack(folder: Path, number: int, options: Sequence[str]) -> StackProcess:
    name = f"node-{number}"
    own = folder / name
    own.mkdir(mode=0o711, exist_ok=True)
    labels = f"labels=id={name},env=devstack"
    return StackProcess(own, ("--name", name, "-c", labels, *options), outlives_us=False)


async def _started(stack: StackProcess) -> None:
    """Start one. Raises Rejected with the end of its log."""
    try:
        await stack.start()
    except SkreiError as error:
        told = "\n".join(tail for _, tail in stack.log_tails() if tail)
        raise Rejected(f"{error.message}\n{told}".rstrip(), hint="What is missing here: skrei doctor") from error


def _token(data: Path) -> str:
    return (data / "keys" / "join.token").read_text("ascii").strip()


def _tell(url: str, processes: int, folder: Path) -> None:
    port = url.rsplit(":", 1)[1]
    state = {"pid": os.getpid(), "port": int(port), "api_url": url}
    (folder / "devstack.json").write_text(json.dumps(state), "utf-8")
    render.line("Devstack is ready!")
    render.line(f"{processes} processes of `skrei serve` in {folder}; Ctrl+C stops them.")
    render.line("To use it, in another terminal:")
    for name, value in (("SKREI_API_URL", url), ("BACALHAU_API_HOST", "127.0.0.1"), ("BACALHAU_API_PORT", port)):
        render.line(f"export {name}={value}")
