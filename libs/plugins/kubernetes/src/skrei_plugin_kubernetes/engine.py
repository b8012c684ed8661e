"""The Kubernetes engine as the agent sees it: a run is a pod that lives on without the agent."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from skrei_domain.docker_params import docker_problems
from skrei_domain.errors import SkreiError
from skrei_domain.job_reading import FieldProblem
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
from skrei_plugin_kubernetes import disk, verdicts
from skrei_plugin_kubernetes import pod as pods
from skrei_plugin_kubernetes.access import Access, NoCluster, find
from skrei_plugin_kubernetes.beside import run_beside
from skrei_plugin_kubernetes.cluster import Cluster, ClusterAway, Pod, Refused
from skrei_plugin_kubernetes.images import Images, ImageUnavailable, NothingToRun, asks, words
from skrei_plugin_kubernetes.run import Run, failed
from skrei_plugin_kubernetes.settings import KubernetesSettings
from skrei_plugin_kubernetes.verdicts import Phase

GONE_SECONDS = 60.0
"""How long a pod may take to be gone that is removed: its machine may be busy, or away."""
LOOK_SECONDS = 0.25
ASK_AGAIN_SECONDS = 0.5
"""Between two questions to a cluster that is away when an agent starts."""
REMOVE_GRACE_SECONDS = 1
"""Programs have had their grace by then; 0 would forget a pod before its containers are gone."""


class KubernetesEngine(Engine):
    """Runs images in pods of a cluster, with limits and few rights."""

    plugin_api = PLUGIN_API
    name = "kubernetes"
    version = "0.5.0"
    adopts = True
    commands = True

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._settings = KubernetesSettings.from_options(context.options)
        self._node = context.node_id or str(context.state_dir)
        self._images = Images(self._settings.registry_config)
        self._made: Cluster | None = None
        self._owner: pods.Owner | None = None
        self._owner_known = False
        self._leaving = False

    async def describe(self) -> PluginInfo:
        """Ask the cluster for its version, not for long."""
        try:
            caller = self._cluster_of(find(self._settings.config), self._settings.describe_seconds)
        except NoCluster as error:
            return PluginInfo(available=False, reason=f"{error.message}: {error.hint}")
        try:
            return PluginInfo(available=True, version=await caller.version())
        except SkreiError as error:
            return PluginInfo(available=False, reason=error.message)
        except Refused as refused:
            return PluginInfo(available=False, reason=f"the cluster refuses this agent: {refused.message}")
        finally:
            await caller.close()

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every wrong parameter: they are those of the docker engine."""
        return docker_problems(params)

    async def prepare(self, params: Params, tell: Tell) -> None:
        """Learn what the image starts, where the job does not say; the cluster pulls it by itself."""
        given = read_params(params)
        if asks(given):
            await self._images.starts(given.image)

    async def run(self, request: RunRequest, events: RunEvents) -> RunOutcome:
        """Run a pod to its end; cancelled, it is stopped, unless the agent leaves."""
        began = time.monotonic()
        if (failure := unknown_network(request) or _unsupported(request)) is not None:
            return failed(request, failure, began)
        layout = pods.lay_out(request, self._settings.claims)
        if layout.refused:
            return failed(request, EngineFailure(FailureCode.INPUT_INVALID, layout.refused), began)
        if request.resources.disk_bytes:  # what is sent there must not count as the program's
            sizes = await asyncio.to_thread(lambda: [disk.measured(source) for _, source in layout.sent])
            layout = replace(layout, sent_bytes=disk.taken(sizes))
        if request.start_number > 1:  # an earlier start of it must not run beside this one
            await self._remove_all({pods.EXECUTION: pods.label(request.execution_id)}, wait=True)
        try:
            name = await self._create(request, layout)
        except Refused as refused:
            return failed(request, verdicts.refused(refused), began)
        except (ImageUnavailable, NothingToRun) as error:
            code = FailureCode(error.code)
            return failed(request, EngineFailure(code, error.sentence), began)
        try:
            return await self._see(request, name, events, lambda run: run.begin(layout.sent))
        except (verdicts.NoRoom, verdicts.NotStarted):
            await self._remove_all({pods.EXECUTION: pods.label(request.execution_id)}, wait=False)
            raise

    async def adopt(self, request: RunRequest, events: RunEvents) -> RunOutcome | None:
        """Take up the pod of this execution and start; None when there is none whose program was begun."""
        found = await self._patiently_find(request)
        if found is None or verdicts.look(found).phase not in (Phase.RUNNING, Phase.ENDED):
            return None
        outcome = await self._see(request, str(found["metadata"]["name"]), events, Run.take_up)
        lost = outcome.failure is not None and outcome.failure.code is FailureCode.ENGINE_LOST
        return None if lost else outcome

    async def command(self, request: CommandRequest) -> CommandOutcome:
        """Run a command in the container of a start."""
        return await run_beside(
            self._cluster, pods.pod_name(self._node, request.execution_id, request.start_number), request
        )

    def leave(self) -> None:
        """From now on pods live on when their run is cancelled."""
        self._leaving = True

    async def release(self, execution_id: str) -> None:
        """Remove every pod of an execution."""
        await self._remove_all({pods.EXECUTION: pods.label(execution_id)}, wait=False)

    async def sweep(self, owned: Callable[[str], bool]) -> int:
        """Remove pods of this node whose execution nobody holds."""
        return await self._remove_all({}, wait=False, owned=owned)

    async def close(self) -> None:
        """Close the connections; pods live on."""
        await self._images.close()
        if self._made is not None:
            await self._made.close()
            self._made = None

    # ------------------------------------------------------------ beginnings

    @property
    def _cluster(self) -> Cluster:
        """The cluster. Raises NoCluster."""
        if self._made is None:
            self._made = self._cluster_of(find(self._settings.config), self._settings.answer_seconds)
        return self._made

    def _cluster_of(self, access: Access, seconds: float) -> Cluster:
        return Cluster(access, self._settings.namespace or access.namespace, answer_seconds=seconds)

    async def _see(
        self, request: RunRequest, name: str, events: RunEvents, how: Callable[[Run], Awaitable[RunOutcome]]
    ) -> RunOutcome:
        run = Run(
            request,
            name,
            cluster=self._cluster,
            settings=self._settings,
            events=events,
            left=lambda: self._leaving,
        )
        return await how(run)

    async def _create(self, request: RunRequest, layout: pods.Layout) -> str:
        """Make the pod of a run and return its name. Raises Refused, ImageUnavailable, NothingToRun, ClusterAway."""
        params = read_params(request.params)
        starts = await self._images.starts(params.image) if asks(params) else None
        body = pods.pod(
            request,
            params,
            words(params, starts),
            layout,
            self._settings,
            node=self._node,
            owner=await self._find_owner(),
        )
        name = str(body["metadata"]["name"])
        try:
            await self._cluster.create(body)
        except Refused as refused:
            if refused.status != 409 or refused.reason != "AlreadyExists":
                raise
            await self._remove(name, wait=True)  # what a killed agent had begun, and never started
            await self._cluster.create(body)
        return name

    async def _find_owner(self) -> pods.Owner | None:
        """Return what our own pod belongs to, where that is in the namespace of the runs: they go with it."""
        if self._owner_known:
            return self._owner
        access = find(self._settings.config)
        own = os.environ.get("HOSTNAME", "")
        if not self._settings.config and own and self._settings.namespace in ("", access.namespace):
            found = await self._cluster.read(own)
            owners = (found or {}).get("metadata", {}).get("ownerReferences") or ()
            self._owner = next(
                (pods.Owner(one["apiVersion"], one["kind"], one["name"], one["uid"]) for one in owners), None
            )
        self._owner_known = True
        return self._owner

    async def _patiently_find(self, request: RunRequest) -> Pod | None:
        """Return the pod of a start. A cluster that is away is waited for. Raises ClusterAway."""
        until = time.monotonic() + self._settings.away_seconds
        name = pods.pod_name(self._node, request.execution_id, request.start_number)
        while True:
            try:
                found = await self._cluster.read(name)
            except ClusterAway:
                if time.monotonic() >= until:
                    raise
                await asyncio.sleep(ASK_AGAIN_SECONDS)
            except Refused as refused:
                raise ClusterAway(f"the cluster refuses this agent: {refused.message}") from refused
            else:
                return None if found is None or found["metadata"].get("deletionTimestamp") else found

    # ------------------------------------------------------------ ends

    async def _remove_all(
        self, labels: dict[str, str], *, wait: bool, owned: Callable[[str], bool] = lambda _: False
    ) -> int:
        """Remove this node's pods with these labels whose execution nobody owns; how many. Raises ClusterAway."""
        removed = 0
        try:
            for one in await self._cluster.pods({pods.NODE: pods.label(self._node), **labels}):
                if not owned((one["metadata"].get("annotations") or {}).get(pods.EXECUTION, "")):
                    await self._remove(str(one["metadata"]["name"]), wait=wait)
                    removed += 1
        except Refused as refused:
            raise ClusterAway(f"the cluster does not remove what it is asked to: {refused.message}") from refused
        return removed

    async def _remove(self, name: str, *, wait: bool) -> None:
        await self._cluster.remove(name, REMOVE_GRACE_SECONDS)
        until = time.monotonic() + GONE_SECONDS
        while wait and await self._cluster.read(name) is not None:
            if time.monotonic() >= until:
                raise ClusterAway(f"the pod {name} is not gone after {GONE_SECONDS:g} s: its machine may be away")
            await asyncio.sleep(LOOK_SECONDS)


def _unsupported(request: RunRequest) -> EngineFailure | None:
    """Return why a run cannot have the network that it asks for."""
    kind = request.network.casefold()
    if kind in ("host", "full"):
        told = "pods do not get their machine's network: use Bridge for an open one, None for none"
    elif kind == "http":
        told = "networks of the type HTTP are filtered by nodes with Docker, or for wasm: constrain the job to them"
    elif request.services:
        told = "pods are not on the node, and have no way to its services: constrain the job to nodes with Docker"
    elif request.ports:
        told = "pods publish no ports of the node: constrain the job to nodes with Docker"
    else:
        return None
    return EngineFailure(FailureCode.NETWORK_UNSUPPORTED, told)
