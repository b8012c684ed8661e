"""What is done for an execution: folders, inputs, environment, engine, and what it left; nothing is decided here."""

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from skrei_compute_agent.delivery import Delivery
from skrei_compute_agent.disk_watch import DiskLimit, DiskWatch
from skrei_compute_agent.env import environment, port_variables
from skrei_compute_agent.events import Adopt, Exited, NotAdopted, Stage, Staged, Upload, Uploaded
from skrei_compute_agent.folders import Folders, Places
from skrei_compute_agent.leaving import check_free, leave, put, sound
from skrei_compute_agent.networks import NetworkPolicy, Networks
from skrei_compute_agent.node_services import NOTHING, NodeServices, Used
from skrei_compute_agent.runner import KILLED
from skrei_compute_agent.settling import AGAIN_SECONDS, LONGEST_SECONDS, Settler
from skrei_compute_agent.staging import Inputs, Stager
from skrei_compute_agent.upload_errors import PlaceTaken, PlaceUndecided
from skrei_compute_agent.verdicts import INTERRUPTED, TOLD_BY_NAME
from skrei_domain.errors import SkreiError
from skrei_domain.messages import LeftShown, Problem, ResultRef, RunOutput
from skrei_domain.node_results import left_id
from skrei_domain.paths import parse_entry
from skrei_kit.observability import get_logger
from skrei_plugin_api.archives import divide
from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.engine import (
    INLINE_RESULT_BYTES,
    Engine,
    EngineFailure,
    FailureCode,
    NoCommands,
    Output,
    PortBinding,
    RunEvents,
    RunOutcome,
    RunRequest,
    Tell,
)
from skrei_plugin_api.packing import RESULT_FILE, PackedResult, StreamHead, pack_result, stream_head
from skrei_plugin_api.streams import STREAM_BYTES

log = get_logger()

PARALLEL_RELEASES = 4
"""Removals at once: each is disk work of the daemon, and the next run's start is more urgent."""
RELEASE_SECONDS = 2.0
"""How long an agent that ends waits for removals that are under way."""


class InvalidParams(SkreiError):
    """The engine does not take the params of the task."""

    code = "invalid-params"


@dataclass(frozen=True, slots=True)
class _Staged:
    wanted: Stage
    places: Places
    inputs: Inputs
    env: dict[str, str]
    network: str = "None"
    ports: tuple[PortBinding, ...] = ()
    used: Used = NOTHING


@dataclass(frozen=True, slots=True)
class _Heard:
    """What an engine tells of a start. The machine counts it as running from its instruction on."""

    gone: Callable[[], None]

    def running(self) -> None:
        """Nothing hangs on it."""

    def ended(self) -> None:
        """Tell that nobody is served there any more."""
        self.gone()


_UNDECIDED = "{place} is there already: {why}"

Left = TypeVar("Left")

_How = Callable[[RunRequest, RunEvents], Awaitable[RunOutcome | None]]
"""Runs a start, or takes one up."""


class Workshop:
    """Stages and runs executions with the engines and storages of this node."""

    def __init__(
        self,
        folders: Folders,
        stager: Stager,
        engines: Mapping[str, Engine],
        *,
        host_env: Mapping[str, str] | None = None,
        allow_env: Sequence[str] = (),
        delivery: Delivery | None = None,
        networks: Networks | None = None,
        services: NodeServices | None = None,
        stream_bytes: int = STREAM_BYTES,
        allow_local: Sequence[str] = (),
        settler: Settler | None = None,
    ) -> None:
        self._folders = folders
        self._stager = stager
        self._engines = engines
        self._host_env = dict(os.environ) if host_env is None else host_env
        self._allow_env = allow_env
        self._delivery = delivery or Delivery()
        self._networks = networks or Networks(NetworkPolicy())
        self._services = services or NodeServices()
        self._stream_bytes = stream_bytes
        self._entries = tuple(parse_entry(text) for text in allow_local)
        self._settler = settler
        self._disk = DiskWatch()
        self._gone: Callable[[str, int], None] = lambda _execution_id, _start: None
        self._staged: dict[str, _Staged] = {}
        self._leaving = False
        self._releases: set[asyncio.Task[None]] = set()
        self._releasing = asyncio.Semaphore(PARALLEL_RELEASES)

    async def stage(self, wanted: Stage, tell: Tell) -> Staged:
        """Make everything ready that the engine will look for, and `tell` how far that is.

        Raises SkreiError where that cannot be.
        """
        task = wanted.task
        kind = self._networks.kind(task.network)
        await self._check_places(wanted)
        if problems := self._engine(wanted).validate(task.engine.params):
            raise InvalidParams("; ".join(str(problem) for problem in problems))
        if task.check is not None and task.check.exec is not None and not self._engine(wanted).commands:
            raise NoCommands(
                f"the engine {task.engine.type!r} of this node runs no command beside a program, so Check.Exec has "
                "nobody to ask",
                hint="use Check.HTTP or Check.TCP, or another engine",
            )
        env = environment(wanted.execution_id, wanted.order, task.env, host=self._host_env, allow=self._allow_env)
        names = wanted.order.node_services
        used = await asyncio.to_thread(self._services.use, names) if names else NOTHING
        places = self._folders.make(wanted.execution_id, len(task.input_sources))
        told = partial(_told, wanted.execution_id, tell)
        inputs = await self._stager.stage(wanted, places.inputs, told)
        try:
            await self._engine(wanted).prepare(task.engine.params, told)
            ports = self._networks.open(wanted.execution_id, task.network)
        except BaseException:
            self._stager.release(wanted.execution_id, inputs)
            raise
        env |= {**port_variables(ports), **used.env}
        self._staged[wanted.execution_id] = _Staged(wanted, places, inputs, env, kind, ports, used)
        return Staged(wanted.execution_id, self._networks.observed(ports), inputs.data)

    async def _check_places(self, wanted: Stage) -> None:
        """Raise PublishFailed where what is to stay on this node could not be left where it is to."""
        if (to := wanted.order.publishing) is None or (to.place is None and not to.left):
            return
        named = [(to.place, wanted.execution_id)] if to.place is not None else []
        named += [(part.place, left_id(wanted.execution_id, number)) for number, part in enumerate(to.left)]
        for place, mark in named:
            await self._check_place(place, mark, wanted.order.token)

    async def _check_place(self, place: str, mark: str, token: str) -> None:
        """Raise PublishFailed where a result could not be left at a place, PlaceUndecided where it may be in a while.

        Another attempt may lie there that was shown, and lost before all of it was final: it is taken back first.
        """
        check = partial(check_free, place, mark, self._entries)
        try:
            return await asyncio.to_thread(check)
        except PlaceTaken as taken:
            if self._settler is None:
                raise
            if why := await self._settler.undecided(taken.mark, place, token):
                raise PlaceUndecided(_UNDECIDED.format(place=place, why=why)) from taken
        return await asyncio.to_thread(check)

    async def run(self, execution_id: str, start: int) -> Exited:
        """Run what was staged to its end, and return what it left; a cancellation ends it and returns that too."""
        staged = self._staged.pop(execution_id)
        exited = await self._attend(staged, start, self._engine(staged.wanted).run)
        assert exited is not None, "it was started"
        return exited

    async def adopt(self, wanted: Adopt) -> Exited | NotAdopted:
        """See a start to its end that an earlier process began, in the folder where that one had staged it."""
        execution_id = wanted.execution_id
        places = self._folders.latest(execution_id)
        engine = self._engines.get(wanted.task.engine.type.casefold())
        if places is None or engine is None:
            return NotAdopted(execution_id)
        stage = Stage(execution_id, wanted.order, wanted.task, wanted.needs)
        used = Used({}, (), self._services.ways(names)) if (names := wanted.order.node_services) else NOTHING
        staged = _Staged(stage, places, Inputs(), {}, wanted.task.network.type, (), used)
        self._networks.keep(execution_id, wanted.ports)
        exited = await self._attend(staged, wanted.start, engine.adopt)
        return NotAdopted(execution_id) if exited is None else exited

    async def _attend(self, staged: _Staged, start: int, how: _How) -> Exited | None:
        """Return what a start comes to, watched while it runs; None when it is none. What it used is given back."""
        execution_id = staged.wanted.execution_id
        cut = self._disk.watch(execution_id, staged.places.work, _limit(staged))
        try:
            request = self._request(staged, start, cut)
            exited = await self._see(staged, how(request, self._heard(execution_id, start)))
        finally:
            self._disk.forget(execution_id)
            self._give_back(execution_id, staged.inputs)
        return None if exited is None else await _within_limit(staged, exited)

    def hear(self, gone: Callable[[str, int], None]) -> None:
        """Call `gone` with an execution and start whose program has ended, as soon as that is known."""
        self._gone = gone

    def _heard(self, execution_id: str, start: int) -> _Heard:
        return _Heard(partial(self._gone, execution_id, start))

    def _give_back(self, execution_id: str, inputs: Inputs) -> None:
        """Give back what a run used, unless it goes on without this process."""
        if not self._leaving:
            self._stager.release(execution_id, inputs)
        self._networks.close(execution_id)

    def leave(self) -> None:
        """The agent ends: programs of engines that adopt live on."""
        self._leaving = True
        for engine in {*self._engines.values()}:
            engine.leave()

    def release(self, execution_id: str, engine: str) -> None:
        """Let an engine remove what it kept of an execution; what fails is swept up later."""
        if (found := self._engines.get(engine)) is not None:
            task = asyncio.get_running_loop().create_task(self._release(found, execution_id))
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)

    async def close(self) -> None:
        """Wait for removals that are under way, not for long: what stays is swept up by the next process."""
        await self._disk.close()
        if self._releases:
            await asyncio.wait(self._releases, timeout=RELEASE_SECONDS)

    async def _release(self, engine: Engine, execution_id: str) -> None:
        async with self._releasing:
            try:
                await engine.release(execution_id)
            except SkreiError as error:
                log.debug("release_failed", execution_id=execution_id, problem=error.message)

    async def _see(self, staged: _Staged, run: Awaitable[RunOutcome | None]) -> Exited | None:
        """Return what a run comes to; None when it is none."""
        execution_id = staged.wanted.execution_id
        try:
            outcome = await run
        except asyncio.CancelledError:
            if self._leaving:
                raise
            return await asyncio.to_thread(_left_behind, staged)
        except SkreiError as error:
            code = str(error.code) if error.code in TOLD_BY_NAME else INTERRUPTED
            return Exited(execution_id, problem=Problem(code=code, message=error.sentence))
        return None if outcome is None else _exited(execution_id, outcome)

    async def upload(self, wanted: Upload, tell: Tell) -> Uploaded:
        """Bring the packed result of the last start to the publisher, or to where it stays on this node."""
        places = self._folders.latest(wanted.execution_id)
        if places is None:
            raise FileNotFoundError("the packed result is gone from its disk")
        packed = places.work / RESULT_FILE
        parcel = wanted.parcel
        with self._folders.reading(wanted.execution_id):
            if wanted.inline is not None:
                await asyncio.to_thread(packed.write_bytes, base64.b64decode(wanted.inline))
            if wanted.place is not None:
                left = await self._once_decided(partial(self._leave, packed, wanted), wanted, tell)
                return Uploaded(wanted.execution_id, left=left)
            rest = None
            if wanted.left:
                packed, rest = await self._once_decided(partial(self._leave_parts, packed, wanted), wanted, tell)
                parcel = parcel.model_copy(update={"digest": rest.digest, "size": rest.size})
            receipt = await self._delivery.upload(packed, parcel, wanted.token, tell)
            return Uploaded(wanted.execution_id, receipt, rest=rest)

    async def _once_decided(self, leave: Callable[[], Left], wanted: Upload, tell: Tell) -> Left:
        """Leave a result, once what an attempt of its job has shown there meanwhile has won, or is taken back."""
        pause, decided = AGAIN_SECONDS, ""
        while True:
            try:
                return await to_its_end(leave)
            except PlaceTaken as taken:
                if self._settler is None or not wanted.parcel.counts or taken.mark == decided:
                    raise
                if not (why := await self._settler.undecided(taken.mark, taken.place, wanted.token)):
                    decided = taken.mark
                    continue
                tell(_UNDECIDED.format(place=taken.place, why=why))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_SECONDS)

    def _leave(self, packed: Path, wanted: Upload) -> ResultRef:
        """Leave all of a result on this node. Blocks."""
        assert wanted.place is not None, "it has one"
        parcel, unseen = wanted.parcel, wanted.parcel.counts
        left = leave(packed, wanted.place, wanted.execution_id, self._entries, unseen=unseen)
        told = LeftShown(request_id="", left_bytes=left.left_bytes, digest=parcel.digest, size=parcel.size)
        self._look_after(wanted, wanted.execution_id, wanted.place, told)
        return left.model_copy(update={"left_digest": parcel.digest, "left_size": parcel.size})

    def _leave_parts(self, packed: Path, wanted: Upload) -> tuple[Path, ResultRef]:
        """Leave those parts of a result on this node that stay here; return the archive of the rest. Blocks."""
        owner = {name: number for number, part in enumerate(wanted.left, start=1) for name in part.paths}
        into = [packed.with_name(f"{number}.part") for number in range(len(wanted.left) + 1)]
        with sound(wanted.left[0].place):
            rest, *parts = divide(packed, lambda name: owner.get(name, 0), into)
        for number, (part, archive) in enumerate(zip(wanted.left, parts, strict=True)):
            left = left_id(wanted.execution_id, number)
            _, size = put(archive.path, part.place, left, self._entries, unseen=wanted.parcel.counts)
            told = LeftShown(request_id="", left_bytes=size, digest=archive.digest, size=archive.size)
            self._look_after(wanted, left, part.place, told)
            archive.path.unlink()
        return rest.path, ResultRef(digest=rest.digest, size=rest.size)

    def _look_after(self, wanted: Upload, left: str, place: str, told: LeftShown) -> None:
        """Have it shown once it has won; what can never count lies where it stays."""
        if self._settler is not None and wanted.parcel.counts:
            self._settler.note(left, place, wanted.token, execution_id=wanted.execution_id, told=told)

    def door(self, url: str) -> None:
        """Say where the publisher's door is; empty: there is none."""
        self._delivery.door(url)

    def close_ports(self, execution_id: str) -> None:
        """Let others have an execution's ports."""
        self._networks.close(execution_id)

    def drop(self, execution_id: str) -> None:
        """Remove what an execution left."""
        self._delivery.drop(execution_id)
        if self._settler is not None:
            self._settler.heard(execution_id)
        staged = self._staged.pop(execution_id, None)
        self._stager.release(execution_id, Inputs() if staged is None else staged.inputs)
        self._networks.close(execution_id)
        self._folders.drop(execution_id)

    def _engine(self, wanted: Stage) -> Engine:
        return self._engines[wanted.task.engine.type.casefold()]

    def _request(self, staged: _Staged, start: int, cut: "asyncio.Future[EngineFailure]") -> RunRequest:
        """All that the engine needs. The time limit is not among it: the machine keeps it, and cancels."""
        task = staged.wanted.task
        return RunRequest(
            execution_id=staged.wanted.execution_id,
            start_number=start,
            params=task.engine.params,
            workdir=staged.places.work,
            env=staged.env,
            mounts=(*staged.inputs.mounts, *staged.used.mounts),
            outputs=tuple(Output(result.name, result.path) for result in task.result_paths),
            resources=staged.wanted.needs,
            gpus=staged.wanted.gpus,
            network=staged.network,
            domains=task.network.domains,
            ports=staged.ports,
            services=staged.used.ways,
            stop_grace_seconds=task.stop_grace,
            max_stream_bytes=self._stream_bytes,
            cut=cut,
        )


def _told(execution_id: str, tell: Tell, line: str) -> None:
    """Progress of what is prepared: for whoever watches the job, and for whoever reads this node's log."""
    log.info("preparing", execution_id=execution_id, progress=line)
    tell(line)


def _limit(staged: _Staged) -> DiskLimit:
    return DiskLimit.of(staged.wanted.needs.disk_bytes)


async def _within_limit(staged: _Staged, exited: Exited) -> Exited:
    """Return how a start ended; one that was over before it was looked at has met its limit all the same."""
    limit = _limit(staged)
    if not limit.asked or exited.problem is not None:
        return exited
    found = await asyncio.to_thread(limit.held, staged.places.work)
    if found <= limit.bytes:
        return exited
    return replace(exited, exit_code=None, problem=_problem(limit.exceeded(found)))


def _exited(execution_id: str, outcome: RunOutcome) -> Exited:
    problem = _problem(outcome.failure)
    return Exited(
        execution_id,
        exit_code=outcome.exit_code,
        problem=problem,
        output=_output(outcome.stdout_head, outcome.stderr_head),
        image_digest=outcome.image_digest,
        result=None if outcome.result is None else _ref(outcome.result),
    )


def _problem(failure: EngineFailure | None) -> Problem | None:
    if failure is None:
        return None
    code = INTERRUPTED if failure.code is FailureCode.ENGINE_LOST else failure.code.value
    return Problem(code=code, message=failure.message)


def _left_behind(staged: _Staged) -> Exited:
    """What a program that was ended had said and made until then, for its logs."""
    places = staged.places
    packed = pack_result(
        places.work,
        [result.name for result in staged.wanted.task.result_paths],
        None,
        inline_limit=INLINE_RESULT_BYTES,
    )
    return Exited(
        staged.wanted.execution_id,
        problem=KILLED,
        output=_output(stream_head(places.stdout), stream_head(places.stderr)),
        result=_ref(packed),
    )


def _ref(packed: PackedResult) -> ResultRef:
    """What is told of a packed result; one without its bytes lies in the folder of its start, to be uploaded."""
    inline = base64.b64encode(packed.data).decode("ascii") if packed.data is not None else None
    return ResultRef(digest=packed.digest, size=packed.size, inline=inline)


def _output(stdout: StreamHead, stderr: StreamHead) -> RunOutput:
    return RunOutput(
        stdout=_text(stdout.data),
        stderr=_text(stderr.data),
        stdout_truncated=stdout.truncated,
        stderr_truncated=stderr.truncated,
    )


def _text(data: bytes) -> str:
    """What was said as text that the record can hold: bytes that are none, and NULs, are replaced."""
    return data.decode("utf-8", errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
