"""One start in its pod, from its first container to what it left."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skrei_plugin_api.aside import stopped, whatever_happens
from skrei_plugin_api.engine import EngineFailure, FailureCode, RunEvents, RunOutcome, RunRequest
from skrei_plugin_api.outcomes import packed_outputs
from skrei_plugin_api.packing import OutputTooLarge, stream_head
from skrei_plugin_api.spool import Spool
from skrei_plugin_api.tar_streams import ArchiveBroken
from skrei_plugin_kubernetes import verdicts
from skrei_plugin_kubernetes.cluster import Cluster, ClusterAway, Refused
from skrei_plugin_kubernetes.pod import KEEP, OURS, RUN, RUNNER
from skrei_plugin_kubernetes.settings import KubernetesSettings
from skrei_plugin_kubernetes.staging import StagingFailed, collect, stage
from skrei_plugin_kubernetes.verdicts import Phase, State

BEGIN_LOOK_SECONDS = 0.15
"""Between looks at a pod that begins: it takes a second or two."""
LOOK_SECONDS = 3.0
"""Between looks at a pod that runs, for what its output does not tell: it was evicted, its machine is gone."""
AGAIN_SECONDS = 0.5
"""Before an API that went away is asked again."""
TOLD_SECONDS = 15.0
"""How long the cluster may take to tell how a container ended that has: its kubelet looks once a second."""
TOLD_SHARE = 0.6
"""Of the time in which a run that is being ended has to end: its files are not lost for a word about its exit code."""
LAST_WORDS_SECONDS = 5.0
"""How long a program that was killed may take to be seen as ended; then its pod is removed."""
KILL, TERMINATE = 9, 15


@dataclass(frozen=True, slots=True)
class Ending:
    """How the program ended: an exit code or a failure; `unread`: its files cannot be had any more."""

    exit_code: int | None = None
    failure: EngineFailure | None = None
    unread: bool = False


class _Cut(Exception):
    """The run is to be killed at once."""

    def __init__(self, why: EngineFailure) -> None:
        super().__init__(why.message)
        self.why = why


class Run:
    """Sees one pod through. `left` says whether the agent ends and leaves it be."""

    def __init__(
        self,
        request: RunRequest,
        pod: str,
        *,
        cluster: Cluster,
        settings: KubernetesSettings,
        events: RunEvents,
        left: Callable[[], bool],
    ) -> None:
        self._request = request
        self._pod = pod
        self._cluster = cluster
        self._settings = settings
        self._events = events
        self._left = left
        self._spool = Spool(request.workdir, request.max_stream_bytes)
        self._began = time.monotonic()
        self._running = asyncio.Event()
        self._heard_at = self._began
        self._told_by = math.inf  # when the cluster's word is waited for no longer, since the run is being ended
        self._image = ""

    async def begin(self, sent: tuple[tuple[str, Path], ...]) -> RunOutcome:
        """Bring its files, and see the program through. Raises NoRoom, NotStarted, ClusterAway."""

        async def work() -> Ending:
            if (failure := await self._staged(sent)) is not None:
                return Ending(failure=failure, unread=True)
            return await self._attend()

        return await self._see(work)

    async def take_up(self) -> RunOutcome:
        """See a pod through that an earlier process began."""
        return await self._see(self._attend)

    async def _see(self, work: Callable[[], Coroutine[None, None, Ending]]) -> RunOutcome:
        """Attend the program to its end. Told to end, it is still attended: what it says last is not missed."""
        attended = asyncio.get_running_loop().create_task(work(), name=f"attend {self._request.execution_id}")
        try:
            try:
                ending = await self._in_time(attended)
            except _Cut as cut:
                ending = Ending(failure=cut.why, unread=await self._end(attended, grace=0))
            except TimeoutError:
                limit = f"it ran longer than its limit of {self._request.timeout_seconds:g} s"
                unread = await self._end(attended, grace=self._grace)
                ending = Ending(failure=EngineFailure(FailureCode.TIMEOUT, limit), unread=unread)
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

    async def _in_time(self, attended: "asyncio.Task[Ending]") -> Ending:
        """Return how the program ended. Raises _Cut or TimeoutError when it is to be ended first.

        Its time counts from when it runs: what the cluster needs until then is none of its doing.
        """
        until = asyncio.ensure_future(self._time_over())
        watched: set[asyncio.Future[Any]] = {attended, until}
        if self._request.cut is not None:
            watched.add(self._request.cut)
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        finally:
            until.cancel()
        if attended.done():
            return attended.result()
        if self._request.cut is not None and self._request.cut.done():
            raise _Cut(self._request.cut.result())
        raise TimeoutError

    async def _time_over(self) -> None:
        await self._running.wait()
        if self._request.timeout_seconds is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self._request.timeout_seconds)

    # ------------------------------------------------------------ beginning

    async def _staged(self, sent: tuple[tuple[str, Path], ...]) -> EngineFailure | None:
        """Bring the files and return once the program runs or has ended; a failure where it never will."""
        if (state := await self._until((Phase.STAGING,))).failure is not None:
            return state.failure
        try:
            await stage(self._cluster, self._pod, self._request, sent)
        except StagingFailed as error:
            return EngineFailure(FailureCode.INPUT_INVALID, str(error))
        except Refused as error:
            raise ClusterAway(f"its files cannot be brought into its pod: {error.message}") from error
        return (await self._until((Phase.RUNNING, Phase.ENDED))).failure

    async def _until(self, phases: tuple[Phase, ...]) -> State:
        """Return the state of a pod that is in one of these phases, or never will be. Raises NoRoom, NotStarted."""
        until = time.monotonic() + self._settings.start_seconds
        while True:
            state = await self._state()
            if state.phase in phases or state.phase is Phase.FAILED:
                return state
            if state.phase is Phase.ENDED:
                return State(Phase.FAILED, failure=verdicts.lost("its pod ended before it began"))
            if time.monotonic() >= until:
                raise verdicts.waited_too_long(state, self._settings.start_seconds)
            await asyncio.sleep(BEGIN_LOOK_SECONDS)

    async def _state(self) -> State:
        try:
            pod = await self._cluster.read(self._pod)
        except Refused as error:
            raise ClusterAway(f"the cluster's API does not tell of its pod: {error.message}") from error
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            return State(Phase.FAILED, failure=verdicts.lost("its pod is gone: it was removed by hand, or preempted"))
        state = verdicts.look(pod)
        self._image = state.image or self._image
        return state

    # ------------------------------------------------------------ while it runs

    async def _attend(self) -> Ending:
        """Follow what it says to its end; an API that goes away meanwhile is waited for. Raises ClusterAway."""
        self._running.set()
        self._events.running()
        self._heard_at = time.monotonic()
        refused_since = refused_last = -TOLD_SECONDS
        while True:
            try:
                return await self._followed()
            except ClusterAway:  # also a connection that was cut: those that are old or silent are, by who is between
                if time.monotonic() - self._heard_at >= self._settings.away_seconds:
                    raise
            except Refused as refused:  # its helper is not there any more, or its machine was restarted
                self._heard_at = now = time.monotonic()
                if now - refused_last >= TOLD_SECONDS:  # it was followed since then: this is another matter
                    refused_since = now
                refused_last = now
                if now - refused_since >= TOLD_SECONDS:
                    return Ending(failure=verdicts.lost(f"its pod cannot be asked: {refused.message}"), unread=True)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _followed(self) -> Ending:
        state = await self._state()
        if state.phase is Phase.FAILED:
            return Ending(failure=state.failure, unread=True)
        if state.phase is Phase.ENDED:
            await self._hear(once=True)
            return await self._ended(state)
        hearing = asyncio.ensure_future(self._hear())
        watching = asyncio.ensure_future(self._watched())
        try:
            await asyncio.wait({hearing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                hearing.result()
                return await self._ended(None)
            state = watching.result()
            if state.phase is Phase.ENDED:  # its runner was ended before it could say so
                await stopped(hearing)
                await self._hear(once=True)
                return await self._ended(state)
            return Ending(failure=state.failure, unread=True)
        finally:
            for task in (hearing, watching):
                await stopped(task)

    async def _watched(self) -> State:
        """Return the state of a pod whose program does not run any more, a while after that is known."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(ClusterAway):
                state = await self._state()
                if state.phase is Phase.ENDED:
                    await asyncio.sleep(LOOK_SECONDS)  # its last words are on their way
                if state.phase in (Phase.ENDED, Phase.FAILED):
                    return state

    async def _hear(self, *, once: bool = False) -> None:
        """Take what it says, from where the files here end, until it has ended; `once`: what there is."""
        sizes = self._spool.sizes
        words = [RUNNER, "follow", str(sizes[1]), str(sizes[2]), *(["once"] if once else [])]
        async with self._cluster.command(self._pod, KEEP, words, speaks=not once) as command:
            began = time.monotonic()
            try:
                async for stream, data in command.frames():
                    self._spool.write(stream, data)
            finally:
                if time.monotonic() - began >= LOOK_SECONDS:  # less is no word of a cluster that cuts everything
                    self._heard_at = time.monotonic()
            if command.code:
                raise Refused(0, command.problem)

    async def _ended(self, state: State | None) -> Ending:
        """Return the ending of a program that has ended; the pod's state is waited for where it may say why."""
        code = None
        async with self._cluster.command(self._pod, KEEP, ("head", "-c", "8", f"{OURS}/exit")) as command:
            out, _ = await command.said()
            if command.code == 0 and out.strip().isdigit():
                code = int(out)
        if state is None and code in (None, 128 + KILL, 128 + TERMINATE):
            self._events.ended()
            state = await self._told()
        elif state is None:
            state = await self._state()
        if state is not None and state.failure is not None:  # a cluster that ends a pod asks its program first
            return Ending(failure=state.failure, unread=True)
        if code == 0:
            return Ending(0)
        if code is None:
            code = state.code if state is not None else None
        if code is None:
            return Ending(failure=verdicts.lost("its container ended without a word"))
        if state is not None and state.oom and code:
            return Ending(failure=verdicts.out_of_memory(self._request))
        if not self._spool.sizes[1]:
            head = stream_head(self._request.workdir / "stderr").data
            return Ending(code, verdicts.never_ran(code, head))
        return Ending(code)

    async def _told(self) -> State | None:
        """Return the state of a pod whose program has ended, once the cluster knows; None where it does not say."""
        until = time.monotonic() + TOLD_SECONDS
        while time.monotonic() < min(until, self._told_by):
            state = await self._state()
            if state.phase in (Phase.ENDED, Phase.FAILED):
                return state
            await asyncio.sleep(BEGIN_LOOK_SECONDS)
        return None

    # ------------------------------------------------------------ ends

    @property
    def _grace(self) -> float:
        given = self._request.stop_grace_seconds
        return self._settings.stop_grace_seconds if given is None else given

    async def _end(self, attended: "asyncio.Task[Ending]", *, grace: float) -> bool:
        """End the program, by a signal and a while of grace where there is any; whether its files are lost with it."""
        if not self._running.is_set():
            await stopped(attended)
            await self._remove()
            return True
        for number, seconds in ((TERMINATE, grace), (KILL, LAST_WORDS_SECONDS)):
            if not seconds or attended.done():
                continue
            self._told_by = time.monotonic() + seconds * TOLD_SHARE
            with contextlib.suppress(Refused, ClusterAway):
                async with self._cluster.command(self._pod, RUN, (RUNNER, "signal", str(number))) as command:
                    await command.said()
            await asyncio.wait([attended], timeout=seconds)
        if attended.done() and not attended.cancelled() and attended.exception() is None:
            return attended.result().unread
        await stopped(attended)
        with contextlib.suppress(Refused, ClusterAway):
            await self._hear(once=True)
        await self._remove()
        return True

    async def _remove(self) -> None:
        """Have the pod removed. A cluster that does not do it changes nothing about how the run ended.

        Its program was killed, or waits for files that never come; the engine's `release` asks again, and says so.
        """
        with contextlib.suppress(Refused, ClusterAway):
            await self._cluster.remove(self._pod, 1)

    async def _cut_short(self, attended: "asyncio.Task[Ending]") -> None:
        # What is here of it is packed anyway; the pod is removed once the cluster can do it.
        with contextlib.suppress(ClusterAway, Refused, OutputTooLarge, ArchiveBroken):
            if not await self._end(attended, grace=self._grace):
                await collect(self._cluster, self._pod, self._request)

    async def _outcome(self, ending: Ending) -> RunOutcome:
        """Say how it ended, with what it left."""
        ended = time.monotonic()
        code, failure = ending.exit_code, ending.failure
        if not ending.unread:
            try:
                await collect(self._cluster, self._pod, self._request)
            except OutputTooLarge as error:
                code, failure = None, failure or EngineFailure(FailureCode.OUTPUT_TOO_LARGE, str(error))
            except ArchiveBroken as error:
                code, failure = None, failure or EngineFailure(FailureCode.ENGINE_LOST, str(error))
            except Refused as error:
                told = f"its result paths cannot be read: {error.message}"
                code, failure = None, failure or verdicts.lost(told)
        packed, failure = await asyncio.to_thread(packed_outputs, self._request, code, failure)
        return RunOutcome(
            exit_code=code if failure is None else None,
            failure=failure,
            started_at=self._began,
            ended_at=ended,
            stdout_head=stream_head(self._request.workdir / "stdout"),
            stderr_head=stream_head(self._request.workdir / "stderr"),
            result=packed,
            image_digest=self._image,
        )


def failed(request: RunRequest, failure: EngineFailure, began: float) -> RunOutcome:
    """Return the outcome of a run that never got to a pod of its own."""
    Spool(request.workdir, request.max_stream_bytes).close()
    packed, told = packed_outputs(request, None, failure)
    return RunOutcome(None, told, began, time.monotonic(), result=packed)
