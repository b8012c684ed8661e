"""One start in its container, from the first byte of output to what it left."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from skrei_plugin_api.aside import outcome, stopped, whatever_happens
from skrei_plugin_api.engine import EngineFailure, FailureCode, RunEvents, RunOutcome, RunRequest
from skrei_plugin_api.outcomes import packed_outputs
from skrei_plugin_api.packing import OutputTooLarge, stream_head
from skrei_plugin_api.spool import Spool
from skrei_plugin_api.tar_streams import ArchiveBroken
from skrei_plugin_docker.daemon import Container, Daemon
from skrei_plugin_docker.failures import DaemonAway, Refusal, never_ran, start_failed
from skrei_plugin_docker.frames import Restored
from skrei_plugin_docker.images import Images
from skrei_plugin_docker.layout import collect
from skrei_plugin_docker.settings import DockerSettings

FROM_OUTSIDE = {137, 143, 255}
"""Exit codes of containers that were ended together with their machine or daemon: killed, terminated, lost."""
SIGNALLED = {137, 143}
"""Exit codes that a daemon which shuts down gives to its containers."""
LOOKS = 4
"""How often it is looked whether such a daemon is there."""
TOLD_SECONDS = 5
"""How long after a container's end its daemon may tell of it: it says so at once, later only on a busy machine."""
LOOK_SECONDS = 0.25
"""Between these looks: in all it is a second, for the rare program that ends by such a signal."""
LAST_WORDS_SECONDS = 10.0
"""How long a container that was ended may go on to tell what it had said; then it is read from the daemon's log."""
FIRST_PAUSE_SECONDS = 0.1
"""Before a daemon that went away is asked again; doubles."""
LONGEST_PAUSE_SECONDS = 2.0
"""Between two questions whether the daemon is back."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the program ended: an exit code or a failure."""

    exit_code: int | None = None
    failure: EngineFailure | None = None


class _Cut(Exception):
    """The run is to be killed at once."""

    def __init__(self, why: EngineFailure) -> None:
        super().__init__(why.message)
        self.why = why


class Run:
    """Sees one container through. `left` says whether the agent ends and leaves it be."""

    def __init__(
        self,
        request: RunRequest,
        container: str,
        *,
        daemon: Daemon,
        images: Images,
        settings: DockerSettings,
        events: RunEvents,
        left: Callable[[], bool],
    ) -> None:
        self._daemon = daemon
        self._images = images
        self._settings = settings
        self._request = request
        self._container = container
        self._events = events
        self._left = left
        self._spool = Spool(request.workdir, request.max_stream_bytes)
        self._began = time.monotonic()
        self._started = False
        self._ending = False

    async def begin(self) -> RunOutcome:
        """Start the container and see it through."""
        return await self._see(self._attend)

    async def take_up(self) -> RunOutcome:
        """See a container through that an earlier process started."""
        self._started = True
        return await self._see(self._adopted)

    async def _see(self, work: Callable[[], Coroutine[None, None, Ending]]) -> RunOutcome:
        """Attend the program to its end. Told to end, it is still attended: what it says last is not missed."""
        request = self._request
        attended = asyncio.get_running_loop().create_task(work(), name=f"attend {request.execution_id}")
        try:
            try:
                async with asyncio.timeout(request.timeout_seconds):
                    ending = await self._unless_cut(attended)
            except _Cut as cut:
                await self._end(attended, at_once=True)
                ending = Ending(failure=cut.why)
            except TimeoutError:
                await self._end(attended)
                limit = f"it ran longer than its limit of {request.timeout_seconds:g} s"
                ending = Ending(failure=EngineFailure(FailureCode.TIMEOUT, limit))
            except Refusal as refusal:
                ending = Ending(failure=start_failed(refusal))
            except asyncio.CancelledError:
                if not self._left():
                    await whatever_happens(self._cut_short(attended), unless=self._left)
                raise
            return await self._outcome(ending)
        finally:
            try:
                await stopped(attended)
            finally:
                self._spool.close()

    async def _unless_cut(self, attended: "asyncio.Task[Ending]") -> Ending:
        """Return how the program ended. Raises _Cut when it is to be killed first."""
        cut = self._request.cut
        if cut is None:
            return await outcome(attended)
        first: set[asyncio.Future[Any]] = {attended, cut}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if attended.done():
            return attended.result()
        raise _Cut(cut.result())

    # ------------------------------------------------------------ while it runs

    async def _attend(self) -> Ending:
        try:
            async with self._daemon.attached(self._container) as frames:
                await self._daemon.start(self._container)
                self._started = True
                self._events.running()
                async for stream, data in frames:
                    self._spool.write(stream, data)
            code = await self._daemon.wait(self._container)
            if self._ending or code not in SIGNALLED or await self._daemon_stays():
                return _gone() if code is None else Ending(code)
        except DaemonAway:
            if not self._started:
                raise
        return await self._reunite()

    async def _adopted(self) -> Ending:
        try:
            return await self._resume(ended_outside=False)
        except DaemonAway:
            return await self._reunite()

    async def _reunite(self) -> Ending:
        """Go on once a daemon that went away is back. Raises DaemonAway when it does not come back in time."""
        while True:
            await self._daemon_back()
            try:
                return await self._resume(ended_outside=True)
            except DaemonAway:
                continue

    async def _daemon_stays(self) -> bool:
        """Whether the daemon goes on: one that shuts down ends its containers first, and then answers no more."""
        self._events.ended()  # whatever the daemon does, the program serves nobody any more
        for _ in range(LOOKS):
            if not await self._daemon.takes_callers():
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def _daemon_back(self) -> None:
        pause, until = FIRST_PAUSE_SECONDS, time.monotonic() + self._settings.away_seconds
        while True:
            try:
                await self._daemon.inspect(self._container)
            except DaemonAway:
                if time.monotonic() >= until:
                    raise
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _resume(self, *, ended_outside: bool) -> Ending:
        """Follow the daemon's log from where the output on this node ends, to the program's end.

        `ended_outside`: the daemon was away; a container that does not run any more was ended by that.
        """
        found = await self._daemon.inspect(self._container)
        if found is None:
            return _gone()
        running = bool(found["State"].get("Running"))
        if not running and ended_outside and not await self._daemon.keeps_running():
            await self._catch_up(follow=False)
            return _lost("the Docker daemon went away while it ran, and its container ended")
        await self._catch_up(follow=running)
        code = await self._daemon.wait(self._container)
        if code is None:
            return _gone()
        if running:  # a followed log may end before its last words
            await self._catch_up(follow=False)
            if code in SIGNALLED and not self._ending and not await self._daemon_stays():
                raise DaemonAway("the Docker daemon went away with its containers")
            return Ending(code)
        if code in FROM_OUTSIDE and not found["State"].get("OOMKilled") and not await self._of_itself(found):
            return _lost(f"its container was ended from outside (exit code {code}) while nobody watched it")
        return Ending(code)

    async def _of_itself(self, found: Container) -> bool:
        """Whether the daemon that started the program has seen it end, and nobody had told it to."""
        ended = datetime.fromisoformat(found["State"]["FinishedAt"][:19]).replace(tzinfo=UTC)  # it says nanoseconds
        acts = await self._daemon.acts(self._container, int(ended.timestamp()) + TOLD_SECONDS, last="die")
        return {"start", "die"} <= acts and "kill" not in acts

    async def _catch_up(self, *, follow: bool) -> None:
        if self._spool.full and not follow:
            return
        restored = Restored(self._spool.sizes)
        async for stream, data in self._daemon.log(self._container, follow=follow):
            if new := restored.take(stream, data):
                self._spool.write(stream, new)

    # ------------------------------------------------------------ ends

    async def _end(self, attended: "asyncio.Task[Ending]", *, at_once: bool = False) -> None:
        """Ask the program to end, end it after its grace or at once, and take what it says until then."""
        self._ending = True
        if not self._started:
            await stopped(attended)  # it would start it after we have stopped it
        grace = 0 if at_once else self._request.stop_grace_seconds
        await self._daemon.stop(self._container, self._settings.stop_grace_seconds if grace is None else grace)
        if not attended.done():
            await asyncio.wait([attended], timeout=LAST_WORDS_SECONDS)
        if not attended.done() or attended.cancelled() or attended.exception() is not None:
            await stopped(attended)
            await self._catch_up(follow=False)

    async def _cut_short(self, attended: "asyncio.Task[Ending]") -> None:
        # What is here of it is packed anyway; the container is removed once the daemon can do it.
        with contextlib.suppress(DaemonAway, Refusal, OutputTooLarge, ArchiveBroken):
            await self._end(attended)
            await self._collect()

    async def _outcome(self, ending: Ending) -> RunOutcome:
        """Say how it ended, with what it left."""
        ended = time.monotonic()
        found = await self._daemon.inspect(self._container)
        code, failure = ending.exit_code, ending.failure
        if found is not None and code and found["State"].get("OOMKilled"):
            code, failure = None, _out_of_memory(self._request)
        elif code and not self._spool.sizes[1]:
            failure = failure or never_ran(code, stream_head(self._request.workdir / "stderr").data)
        try:
            await self._collect(found)
        except OutputTooLarge as error:
            code, failure = None, failure or EngineFailure(FailureCode.OUTPUT_TOO_LARGE, str(error))
        except ArchiveBroken as error:
            code, failure = None, failure or EngineFailure(FailureCode.ENGINE_LOST, str(error))
        digest = await self._images.digest(found["Image"], found["Config"]["Image"]) if found is not None else ""
        packed, failure = await asyncio.to_thread(packed_outputs, self._request, code, failure)
        return RunOutcome(
            exit_code=code if failure is None else None,
            failure=failure,
            started_at=self._began,
            ended_at=ended,
            stdout_head=stream_head(self._request.workdir / "stdout"),
            stderr_head=stream_head(self._request.workdir / "stderr"),
            result=packed,
            image_digest=digest,
        )

    async def _collect(self, found: Container | None = None) -> None:
        """Copy those outputs back that lie in volumes."""
        if not self._request.outputs:
            return
        found = found or await self._daemon.inspect(self._container)
        if found is not None:
            volumes = [mount["Destination"] for mount in found.get("Mounts") or () if mount.get("Type") == "volume"]
            await collect(self._daemon, self._container, self._request, volumes)


def _lost(message: str) -> Ending:
    return Ending(failure=EngineFailure(FailureCode.ENGINE_LOST, message))


def _gone() -> Ending:
    return _lost("its container is gone: it was removed by hand, or with the daemon's data")


def _out_of_memory(request: RunRequest) -> EngineFailure:
    limit = request.resources.memory_bytes
    told = f" of {limit} bytes (Resources.Memory)" if limit else " of the node"
    return EngineFailure(
        FailureCode.OUT_OF_MEMORY, f"memory limit exceeded: the program was killed at its limit{told}; ask for more"
    )


def failed(request: RunRequest, failure: EngineFailure, began: float) -> RunOutcome:
    """Return the outcome of a run that never got to a container of its own."""
    Spool(request.workdir, request.max_stream_bytes).close()
    packed, told = packed_outputs(request, None, failure)
    return RunOutcome(None, told, began, time.monotonic(), result=packed)
