"""The docker engine as the agent sees it: a run is a container that lives on without the agent."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from skrei_domain.docker_params import docker_problems
from skrei_domain.errors import SkreiError
from skrei_domain.job_reading import FieldProblem
from skrei_domain.node import Gpu
from skrei_plugin_api.container_params import read_params
from skrei_plugin_api.engine import (
    CommandOutcome,
    CommandRequest,
    Engine,
    EngineFailure,
    FailureCode,
    RunEvents,
    RunOutcome,
    RunRequest,
    Tell,
    unknown_network,
)
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo
from skrei_plugin_docker import layout as layouts
from skrei_plugin_docker.commands import Commands
from skrei_plugin_docker.create import (
    EXECUTION,
    NODE,
    ROLE,
    START,
    WHOLE,
    Role,
    container_name,
    create_body,
)
from skrei_plugin_docker.daemon import Container, Daemon
from skrei_plugin_docker.failures import (
    DISK_FULL,
    DaemonAway,
    ImageUnavailable,
    NotBegun,
    Refusal,
    disk_full,
    start_failed,
)
from skrei_plugin_docker.filtered import FilteredNetworks, FilterUnavailable
from skrei_plugin_docker.images import Images
from skrei_plugin_docker.reaper import Reaper
from skrei_plugin_docker.run import Run, failed
from skrei_plugin_docker.settings import DockerSettings
from skrei_plugin_docker.sight import Sight
from skrei_plugin_docker.ways import held, surroundings

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 0.5
"""Between two questions to a daemon that is away when an agent starts."""


class DockerEngine(Engine):
    """Runs images in containers of this node's Docker daemon, with limits and few rights."""

    plugin_api = PLUGIN_API
    name = "docker"
    version = "0.5.0"
    adopts = True
    commands = True

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._settings = DockerSettings.from_options(context.options)
        self._node = context.node_id or str(context.state_dir)
        self._daemon = Daemon(self._settings)
        self._images = Images(self._daemon, self._settings)
        self._sight = Sight(self._daemon, context.state_dir, self._node)
        self._reaper = Reaper(self._daemon, self._node)
        self._filtered = FilteredNetworks(
            self._daemon, self._sight, context.state_dir, node=self._node, private=context.allow_addresses
        )
        self._commands = Commands(self._daemon)
        self._leaving = False

    async def describe(self) -> PluginInfo:
        """Ask the daemon for its version, not for long."""
        if reason := self._daemon.missing():
            return PluginInfo(available=False, reason=reason)
        caller = Daemon(self._settings)  # our own connections belong to another loop
        try:
            version = await caller.version(self._settings.describe_seconds)
        except (SkreiError, Refusal) as error:
            return PluginInfo(available=False, reason=str(error))
        finally:
            await caller.close()
        return PluginInfo(available=True, version=version, reason=self._filtered.missing())

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every wrong parameter."""
        return docker_problems(params)

    async def prepare(self, params: Params, tell: Tell) -> None:
        """Have the image here, as `Pull` says."""
        await self._images.prepare(read_params(params), tell)

    async def run(self, request: RunRequest, events: RunEvents) -> RunOutcome:
        """Run a container to its end; cancelled, it is stopped, unless the agent leaves."""
        try:
            return await self._run(request, events)
        finally:
            self._filtered.shut(request)

    async def _run(self, request: RunRequest, events: RunEvents) -> RunOutcome:
        began = time.monotonic()
        if (unknown := unknown_network(request)) is not None:
            return failed(request, unknown, began)
        if request.start_number > 1:  # ended, or lost from sight while the daemon was away
            await self._reaper.release(request.execution_id)
        try:
            return await self._begin(request, events, began)
        except NotBegun as gone:  # rare, and not the job's doing
            log.warning("%s: %s Another is made.", request.execution_id, gone.sentence)
            await self._reaper.release(request.execution_id)
            return await self._begin(request, events, began)

    async def _begin(self, request: RunRequest, events: RunEvents, began: float) -> RunOutcome:
        try:
            container = await self._create(request)
        except layouts.LayoutFailed as error:
            return failed(request, error.failure, began)
        except ImageUnavailable as error:
            return failed(request, EngineFailure(FailureCode.IMAGE_UNAVAILABLE, error.sentence), began)
        except Refusal as refusal:
            return failed(request, start_failed(refusal), began)
        except FilterUnavailable as error:
            return failed(request, EngineFailure(FailureCode.NETWORK_UNSUPPORTED, error.sentence), began)
        return await self._see(request, container, events, Run.begin)

    async def adopt(self, request: RunRequest, events: RunEvents) -> RunOutcome | None:
        """Take up the container of this execution and start; None when there is none that was started.

        One that ended together with its machine or daemon is none, too: the node may start it again by itself.
        """
        found = await self._patiently_find(request)
        if found is None:
            return None
        try:
            served = not held(request) or await self._filtered.take_up(request)
            if found["State"] == "created" and not served:  # it would start without its network
                return None
            return await self._take_up(request, found, events)
        finally:
            self._filtered.shut(request)

    async def _take_up(self, request: RunRequest, found: Container, events: RunEvents) -> RunOutcome | None:
        if found["State"] == "created":  # the agent ended just before it was started
            if found["Labels"].get(WHOLE) != "true":
                return None
            return await self._see(request, found["Id"], events, Run.begin)
        events.running()
        outcome = await self._see(request, found["Id"], events, Run.take_up)
        lost = outcome.failure is not None and outcome.failure.code is FailureCode.ENGINE_LOST
        return None if lost else outcome

    async def command(self, request: CommandRequest) -> CommandOutcome:
        """Run a command in the container of a start."""
        return await self._commands.run(request)

    def leave(self) -> None:
        """From now on containers live on when their run is cancelled."""
        self._leaving = True

    async def release(self, execution_id: str) -> None:
        """Remove every container and volume of an execution."""
        await self._reaper.release(execution_id)

    async def sweep(self, owned: Callable[[str], bool]) -> int:
        """Remove containers and volumes of this node whose execution nobody holds."""
        return await self._reaper.sweep(lambda execution_id: execution_id == self._sight.probing or owned(execution_id))

    async def close(self) -> None:
        """Close the connections, and end the filter; containers live on."""
        await self._filtered.close()
        await self._daemon.close()

    # ------------------------------------------------------------ beginnings

    async def _see(
        self, request: RunRequest, container: str, events: RunEvents, how: Callable[[Run], Awaitable[RunOutcome]]
    ) -> RunOutcome:
        run = Run(
            request,
            container,
            daemon=self._daemon,
            images=self._images,
            settings=self._settings,
            events=events,
            left=lambda: self._leaving,
        )
        try:
            return await how(run)
        except Refusal as refusal:
            if DISK_FULL.search(refusal.message):
                raise disk_full(refusal.message) from refusal
            raise DaemonAway(f"the Docker daemon does not do what it is asked: {refusal.message}") from refusal

    async def _create(self, request: RunRequest) -> str:
        """Make the container of a run; its image is fetched when it turns out not to be here."""
        params = read_params(request.params)
        holder, told = await self._filtered.make(request) if held(request) else ("", {})
        for last in (False, True):
            try:
                plan = await layouts.lay_out(request, params.image, self._sight, self._settings.staging)
                body = create_body(
                    request,
                    params,
                    plan.places,
                    self._settings,
                    node=self._node,
                    mode=surroundings(request),
                    render_node=_render_node,
                    holder=holder,
                    more_env=told,
                )
                body["Labels"][WHOLE] = str(plan.whole).lower()
                await layouts.make_volumes(self._daemon, request, params.image, plan, self._node)
                container = await self._create_named(body, request)
                await layouts.fill(self._daemon, container, plan)
            except Refusal as refusal:
                if last or not refusal.image_missing:
                    raise
                await self._images.fetch(params, _nobody)
            else:
                return container
        raise AssertionError("not reached")

    async def _create_named(self, body: dict[str, object], request: RunRequest) -> str:
        name = container_name(request)
        try:
            return await self._daemon.create(body, name)
        except Refusal as refusal:
            if refusal.status != 409:
                raise
        await self._daemon.remove(name)  # what a killed agent had begun, and never started
        return await self._daemon.create(body, name)

    async def _patiently_find(self, request: RunRequest) -> Container | None:
        """Return the container of a start. A daemon that is away is waited for. Raises DaemonAway."""
        until = time.monotonic() + self._settings.away_seconds
        wanted = {
            NODE: self._node,
            EXECUTION: request.execution_id,
            START: str(request.start_number),
            ROLE: Role.RUN.value,
        }
        while True:
            try:
                found = await self._daemon.containers(wanted)
            except DaemonAway:
                if time.monotonic() >= until:
                    raise
                await asyncio.sleep(ASK_AGAIN_SECONDS)
            else:
                return next((one for one in found if one["State"] in _LIVES_ON), None)


_LIVES_ON = ("created", "running", "paused", "exited")


def _render_node(gpu: Gpu) -> str:
    """The device file by which programs use a GPU that is not NVIDIA's."""
    by_path = Path(f"/dev/dri/by-path/pci-{gpu.pci_address}-render")
    return str(by_path.resolve()) if gpu.pci_address and by_path.exists() else f"/dev/dri/renderD{128 + gpu.index}"


def _nobody(_: str) -> None:
    """Progress that nobody waits for."""
