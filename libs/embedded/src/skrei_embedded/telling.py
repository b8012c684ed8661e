"""What a stack tells of itself: that it is ready, whom it waits for, and where everything is, in its data folder."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from skrei_embedded.doors import near_host
from skrei_embedded.environment import Addresses
from skrei_embedded.idle import IdleClock
from skrei_embedded.place import Place, StackState
from skrei_embedded.probe import LONGEST_LOOK_SECONDS, LOOK_SECONDS, activity, read_standing, until_ready
from skrei_embedded.processes import started_at
from skrei_embedded.supervised import Supervised
from skrei_embedded.whereabouts import StackOptions, Whereabouts
from skrei_kit import join
from skrei_kit.observability import get_logger

log = get_logger()

IDLE_LOOK_SECONDS = 30.0  # a stack that nobody uses may as well live half a minute longer

Ready = Callable[[Path, StackState], None]
"""Gets the data folder, and what is told of the stack in it."""


class Telling:
    """Of one start. `children` is the supervisor's list; `addresses` is set before anything starts."""

    def __init__(
        self,
        place: Place,
        options: StackOptions,
        whereabouts: Whereabouts,
        children: Sequence[Supervised],
        on_ready: Ready | None,
    ) -> None:
        self.ready = asyncio.Event()
        self.addresses: Addresses | None = None
        self._place = place
        self._options = options
        self._whereabouts = whereabouts
        self._children = children
        self._on_ready = on_ready

    async def announce(self) -> None:
        """Say that the stack is ready once a job could be run; until then what the node waits for."""
        addresses, keys = self._known(), self._whereabouts.keys
        if self._options.orchestrator and keys is not None:
            node_id = self._whereabouts.node_id if self._options.compute else ""
            await until_ready(f"{self.near()}/api/v1", keys.owner_token.read_text("ascii"), node_id)
        else:
            await self._greeted()
        self.ready.set()
        self.write()
        told = {"api": addresses.api_url} if self._options.orchestrator else {}
        if addresses.join_url and keys is not None:
            told["join"] = join.line(addresses.join_url, keys.join_token.read_text("ascii"))
        if self._whereabouts.joined is not None:
            told = {"node": self._whereabouts.node_id, "control_plane": self._whereabouts.joined.control_plane}
        log.info("stack_ready", **told, nats=addresses.nats_url, data_dir=str(self._place.folder))
        if self._on_ready is not None:
            await asyncio.to_thread(self._on_ready, self._place.folder, self.state())

    async def _greeted(self) -> None:
        """Return once the node has been greeted by a leader; until then say what it waits for, once for each cause."""
        told = ""
        pause = LOOK_SECONDS
        while (standing := read_standing(self._place.folder / "agent")).state != "greeted":
            if standing.reason and standing.reason != told:
                told = standing.reason
                log.warning("node_waits", reason=standing.reason, hint=standing.hint)
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, LONGEST_LOOK_SECONDS)

    async def watch_idle(self, stop: asyncio.Event) -> None:
        """Stop a stack that nobody uses, where that was asked for."""
        keys = self._whereabouts.keys
        if not (self._options.idle_minutes and keys is not None):
            return
        await self.ready.wait()
        token = keys.internal_token.read_text("ascii").strip()
        limit_seconds = self._options.idle_minutes * 60
        clock = IdleClock(limit_seconds, asyncio.get_running_loop().time())
        while True:
            await asyncio.sleep(min(IDLE_LOOK_SECONDS, limit_seconds / 4))
            seen = await asyncio.to_thread(activity, f"{self.near()}/internal/activity", token)
            if clock.is_over(seen, asyncio.get_running_loop().time()):
                log.info("stack_idle", minutes=self._options.idle_minutes)
                stop.set()
                return

    def near(self) -> str:
        """How this process reaches the API."""
        addresses = self._known()
        return f"http://{near_host(addresses.api_host)}:{addresses.api_port}"

    def write(self) -> None:
        """Write down what `state` returns."""
        self._place.write(self.state())

    def state(self) -> StackState:
        """Return what others may know of the stack."""
        running = {child.name: child.process.pid for child in self._children if child.process is not None}
        addresses = self.addresses
        return StackState(
            pid=os.getpid(),
            ready=self.ready.is_set(),
            api_url=self.near() if addresses and self._options.orchestrator else "",
            publisher_url=addresses.publisher_url if addresses and self._options.orchestrator else "",
            nats_url=addresses.nats_url if addresses else "",
            join_url=addresses.join_url if addresses else "",
            node_id=self._whereabouts.node_id,
            children=running,
            born={"serve": started_at(os.getpid())}
            | {child.name: child.born for child in self._children if child.process is not None},
        )

    def _known(self) -> Addresses:
        assert self.addresses is not None, "chosen before anything starts"
        return self.addresses
