"""A whole node in this process, with scripted work instead of engines."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from skrei_compute_agent.asking import nobody_inside
from skrei_compute_agent.cached_files import CachedFiles
from skrei_compute_agent.events import Adopt, Exited, NotAdopted, Stage, Staged, Upload, Uploaded
from skrei_compute_agent.folders import Folders
from skrei_compute_agent.held_inputs import HeldInputs
from skrei_compute_agent.pace import FREE
from skrei_compute_agent.service import Tools, serve
from skrei_compute_agent.settings import Settings
from skrei_domain.errors import SkreiError
from skrei_domain.listing import InputListed, InputWanted
from skrei_domain.messages import HelloReply, LeftShow, LeftShown, LeftWanted, Problem
from skrei_domain.node import NodeInfo
from skrei_plugin_api.engine import Tell
from tests.support.agent_leader import NatsServer
from tests.support.agent_machine import NODE, an_info


@dataclass
class Script:
    """How an execution goes: `gate` holds it until the test lets it end."""

    exit_code: int = 0
    problem: SkreiError | None = None
    gated: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Event = field(default_factory=asyncio.Event)
    stdout: bytes = b""


class ScriptedWork:
    """Plays what scripts say; writes real folders."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.starts: list[tuple[str, int]] = []
        self.killed: list[str] = []
        self.dropped: list[str] = []
        self.doors: list[str] = []
        self.folders: Folders
        self._waiting: list[tuple[int, asyncio.Event]] = []

    def script(self, execution_id: str) -> Script:
        return self.scripts.setdefault(execution_id, Script())

    async def stage(self, wanted: Stage, tell: Tell) -> Staged:
        script = self.script(wanted.execution_id)
        if script.problem is not None:
            raise script.problem
        return Staged(wanted.execution_id)

    async def run(self, execution_id: str, start: int) -> Exited:
        script = self.script(execution_id)
        self.starts.append((execution_id, start))
        places = self.folders.make(execution_id)
        places.stderr.write_bytes(b"")
        places.stdout.write_bytes(script.stdout)
        script.running.set()
        try:
            if script.gated:
                await script.gate.wait()
        except asyncio.CancelledError:
            self.killed.append(execution_id)
            raise
        return Exited(execution_id, exit_code=script.exit_code)

    async def adopt(self, wanted: Adopt) -> Exited | NotAdopted:
        return NotAdopted(wanted.execution_id)

    def leave(self) -> None:
        pass

    def release(self, execution_id: str, engine: str) -> None:
        pass

    async def has_dropped(self, count: int) -> None:
        """Return once so many executions' files were dropped."""
        event = asyncio.Event()
        self._waiting.append((count, event))
        if len(self.dropped) < count:
            async with asyncio.timeout(15):
                await event.wait()

    async def upload(self, wanted: Upload, tell: Tell) -> Uploaded:
        return Uploaded(wanted.execution_id, f"receipt of {wanted.execution_id}")

    def door(self, url: str) -> None:
        self.doors.append(url)

    def close_ports(self, execution_id: str) -> None:
        pass

    def drop(self, execution_id: str) -> None:
        self.dropped.append(execution_id)
        for count, event in self._waiting:
            if len(self.dropped) >= count:
                event.set()
        self.folders.drop(execution_id)


class ScriptedTools:
    """Tools over scripted work."""

    adopting: frozenset[str] = frozenset()
    api_url = ""
    inside = staticmethod(nobody_inside)

    def __init__(self, work: ScriptedWork) -> None:
        self.work = work
        nowhere = Path("/nowhere")  # nothing is brought, and so nothing is looked for
        self.pace = FREE
        self.held = HeldInputs(CachedFiles(nowhere, 0), nowhere / "inputs")

    async def fingerprint(self, node_id: str) -> NodeInfo:
        return an_info().model_copy(update={"node_id": node_id})

    def list_input(self, wanted: InputWanted, say: Callable[[InputListed], None]) -> None:
        """Say that there is none."""
        say(InputListed(request_id=wanted.request_id, problem=Problem(code="internal", message="nothing is listed")))

    def hear(self, gone: Callable[[str, int], None]) -> None:
        """Its engines tell their ends at once."""

    def told(self, reply: HelloReply) -> None:
        pass

    def send_left(self, wanted: LeftWanted) -> None:
        raise AssertionError("nothing is left on this node")

    async def show_left(self, wanted: LeftShow) -> LeftShown:
        raise AssertionError("nothing is left on this node")

    async def settle(self) -> None:
        """Nothing is left on this node."""
        await asyncio.Event().wait()

    async def sweep(self, owned: Callable[[str], bool]) -> None:
        pass

    async def close(self) -> None:
        pass


@asynccontextmanager
async def a_node(
    folder: Path, url: str, work: ScriptedWork, *, node_id: str = NODE, creds: Path | None = None
) -> AsyncIterator["asyncio.Task[None]"]:
    """Run a node for the caller; leaving stops it as SIGTERM does."""
    settings = Settings(data_dir=folder, nats_url=url, node_id=node_id, nats_creds=creds)
    stop = asyncio.Event()

    def tools(_: Settings, folders: Folders) -> Tools:
        work.folders = folders
        return ScriptedTools(work)

    task = asyncio.create_task(serve(settings, stop, tools), name="node")
    try:
        yield task
    finally:
        stop.set()
        if not task.cancelled():
            await asyncio.wait([task], timeout=10)
            assert task.done(), "the node does not stop"
        if not task.cancelled():
            task.exception()


@asynccontextmanager
async def a_process(nats: NatsServer, folder: Path, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the agent; it is killed on the way out if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "skrei_compute_agent",
        env={
            "PATH": os.environ["PATH"],
            "SKREI_NATS_URL": nats.url,
            "SKREI_DATA_DIR": str(folder),
            "SKREI_NODE_ID": NODE,
        }
        | env,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
