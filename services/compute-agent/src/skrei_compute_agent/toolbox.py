"""The plugins of this node, found by entry point, and what they are worked with."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

from skrei_compute_agent.asking import CommandAsker
from skrei_compute_agent.delivery import Delivery
from skrei_compute_agent.fingerprint import capacity, fingerprint
from skrei_compute_agent.folders import Folders
from skrei_compute_agent.gpu_probe import Found, GpuProbe
from skrei_compute_agent.held_inputs import HeldInputs
from skrei_compute_agent.input_cache import InputCache
from skrei_compute_agent.input_trees import InputTrees
from skrei_compute_agent.listings import Listings
from skrei_compute_agent.nearby import Nearby
from skrei_compute_agent.networks import NetworkPolicy, Networks
from skrei_compute_agent.node_services import Look, NodeServices
from skrei_compute_agent.pace import Pace
from skrei_compute_agent.pinned import Pinned
from skrei_compute_agent.probes import Probe
from skrei_compute_agent.resolver import Resolver
from skrei_compute_agent.settings import Settings
from skrei_compute_agent.settling import Settler
from skrei_compute_agent.staging import Shelves, Stager
from skrei_compute_agent.task_results import TaskResults
from skrei_compute_agent.work import Workshop
from skrei_domain import node
from skrei_domain.errors import Invalid, SkreiError
from skrei_domain.listing import InputListed, InputWanted
from skrei_domain.messages import HelloReply, LeftShow, LeftShown, LeftWanted
from skrei_domain.node import ENGINE, STORAGE, Absent, NodeInfo
from skrei_domain.node import InputCache as InputCacheState
from skrei_domain.paths import parse_entry
from skrei_kit.observability import get_logger
from skrei_plugin_api.aside import apart
from skrei_plugin_api.engine import Engine
from skrei_plugin_api.outbound import Outbound, networks
from skrei_plugin_api.plugin import Plugin, PluginContext, PluginInfo
from skrei_plugin_api.registry import PluginError, PluginRegistry, engines, storages
from skrei_plugin_api.storage import StageLimits, Storage

if TYPE_CHECKING:
    from skrei_compute_agent.blobs import Blobs
    from skrei_compute_agent.manifest_client import ManifestClient
    from skrei_compute_agent.sending_left import LeftSender

log = get_logger()

CACHE_TOLD_SECONDS = 60.0
"""How old what a node tells of its input cache may be: each new word is a fact, and committed; people read it."""

P = TypeVar("P", bound=Plugin)


class Toolbox:
    """Everything that touches plugins: made cheaply; engines start with their first run."""

    def __init__(
        self,
        settings: Settings,
        folders: Folders,
        engines_: Mapping[str, Engine],
        storages_: Mapping[str, Storage],
        broken: Iterable[Absent] = (),
    ) -> None:
        self._settings = settings
        self._room = capacity(settings)
        self._broken = tuple(broken)
        self._engines = engines_
        self._asker = CommandAsker(engines_)
        self._storages = storages_
        self._told_url = ""
        self._blobs: Blobs | None = None
        self._cache = cache = InputCache(
            settings.data_dir / "cache",
            self._open_blob,
            limit_bytes=settings.cache_bytes,
            blob_bytes=settings.input_bytes,
        )
        cache.open()
        self.held = HeldInputs(cache.files, settings.data_dir / "cache" / ".state" / "inputs")
        """What of its inputs this node still has."""
        self.held.open()
        self._cache_told = (0.0, self.held.state())
        self._nearby = Nearby(storages_.values(), self.held, seconds=settings.near_seconds)
        self._trees = InputTrees(settings.data_dir / "inputs", cache)
        self._trees.open(folders.executions)
        self._listings = Listings(settings.data_dir / "listings")
        self._listings.open()
        limits = StageLimits(max_bytes=settings.input_bytes, max_listed=settings.listing_files)
        results = TaskResults(self._api, cache, door=lambda: self._delivery.url)
        self._manifests: ManifestClient | None = None
        self._resolver = Resolver(storages_, self._listings, self._manifest_store, limits)
        pinned = Pinned(self._listings, self._manifest_store)
        shelves = Shelves(cache, self._trees, self._listings, pinned, results, self.held)
        stager = Stager(storages_, shelves, limits=limits, parallel=settings.parallel_stages)
        offered = NodeServices(settings.services, settings.services_file)
        self.pace = Pace(settings.upload_bytes_per_second)
        self._delivery = Delivery(
            pace=self.pace,
            full_seconds=settings.store_full_seconds,
            rules=Outbound(private=networks(settings.allow_addresses)),
            own=settings.publisher_url,
        )
        self._entries = tuple(parse_entry(text) for text in settings.allow_local)
        self._sender: LeftSender | None = None
        self.settler = Settler(settings.data_dir / "left", self._entries, self._api)
        """What looks after results that stay on this node."""
        self.work = Workshop(
            folders,
            stager,
            engines_,
            allow_env=settings.allow_env,
            delivery=self._delivery,
            networks=Networks(network_policy(settings)),
            services=offered,
            stream_bytes=settings.output_stream_bytes,
            allow_local=settings.allow_local,
            settler=self.settler,
        )
        self._looking = asyncio.Lock()
        gpus = GpuProbe()
        self._gpus: Probe[Found] = Probe(gpus.look, lambda _: gpus.found, limit_seconds=settings.probe_limit_seconds)
        self._services: Probe[Look] = Probe(
            partial(apart, offered.look, name="probe services"),
            lambda _: Look(),
            limit_seconds=settings.probe_limit_seconds,
        )
        self._probes: dict[Plugin, Probe[PluginInfo]] = {
            plugin: Probe(
                partial(apart, plugin.describe, name=f"probe {plugin.name}"),
                _unknown,
                limit_seconds=settings.probe_limit_seconds,
            )
            for plugin in {*engines_.values(), *storages_.values()}
        }

    @property
    def inside(self) -> CommandAsker:
        """What asks by commands whether programs are ready."""
        return self._asker

    def send_left(self, wanted: LeftWanted) -> None:
        """Send what stays on this node to who fetches it, where that may be. Never waits."""
        if self._sender is None:
            from skrei_compute_agent.sending_left import LeftSender  # 8 MB, with its client: most nodes never send

            self._sender = LeftSender(
                self._entries, lambda: self._delivery.url, allowed=self._settings.send_left, pace=self.pace
            )
        self._sender.take(wanted)

    async def show_left(self, wanted: LeftShow) -> LeftShown:
        """Show what stays on this node, since it has won. Never raises."""
        return await self.settler.show(wanted)

    async def settle(self) -> None:
        """Look after results that stay on this node, as long as it lives."""
        await self.settler.run()

    @property
    def adopting(self) -> frozenset[str]:
        """The engines whose programs outlive the agent."""
        return frozenset(name for name, engine in self._engines.items() if engine.adopts)

    async def sweep(self, owned: Callable[[str], bool]) -> None:
        """Let engines remove what earlier runs of this node left; one that cannot now is asked again later."""
        for engine in {*self._engines.values()}:
            try:
                if removed := await engine.sweep(owned):
                    log.info("left_overs_removed", engine=engine.name, count=removed)
            except SkreiError as error:
                log.debug("sweep_failed", engine=engine.name, problem=error.message)

    async def fingerprint(self, node_id: str) -> NodeInfo:
        """Return what this node can do now: the plugins that find what they need, why others do not, and the amounts.

        Takes as long as one probe may: they are asked side by side. One look at a time, so that none which began
        earlier is told later.
        """
        async with self._looking:
            return await self._look(node_id)

    async def _look(self, node_id: str) -> NodeInfo:
        found, offered, told = await asyncio.gather(
            self._gpus.look(),
            self._services.look(),
            asyncio.gather(*(probe.look() for probe in self._probes.values())),
        )
        infos = dict(zip(self._probes, told, strict=True))
        self._nearby.look_if_due()
        engines, no_engines = _sorted(ENGINE, self._engines, infos)
        storages, no_storages = _sorted(STORAGE, self._storages, infos)
        return fingerprint(
            self._settings,
            node_id,
            engines=engines,
            storages=storages,
            version=version("skrei-compute-agent"),
            room=self._room,
            gpus=found.gpus,
            absent=(
                *no_engines,
                *no_storages,
                *_missing_paths(told),
                *_missing_data(told),
                *found.absent,
                *offered.away,
                *self._broken,
            ),
            data={each.name: each for info in told for each in info.data}.values(),
            services=offered.here,
            cache=self._cache_state(),
            near=self._nearby.servers,
            local_sizes={each.path: each for info in told for each in info.path_sizes}.values(),
        )

    def _cache_state(self) -> InputCacheState:
        told_at, state = self._cache_told
        if (now := time.monotonic()) - told_at >= CACHE_TOLD_SECONDS:
            state = self.held.state()
            self._cache_told = (now, state)
        return state

    def hear(self, gone: Callable[[str, int], None]) -> None:
        """See `Workshop.hear`."""
        self.work.hear(gone)

    @property
    def api_url(self) -> str:
        """Where the API is: as the settings say, else as it was told last; empty: nobody has said."""
        return self._settings.api_url or self._told_url

    def told(self, reply: HelloReply) -> None:
        """Hear where the API is; an answer that does not say leaves it where it was."""
        if reply.api_url and not self._settings.api_url:
            self._told_url = reply.api_url
            if self._blobs is not None:
                self._blobs.move(reply.api_url)

    async def close(self) -> None:
        """End what plugins started, and close connections."""
        if self._sender is not None:
            await self._sender.close()
        await self.work.close()
        await self._resolver.close()
        await self._listings.close()
        if self._manifests is not None:
            await self._manifests.close()
        await self._nearby.close()
        await self._gpus.close()
        await self._services.close()
        for plugin, probe in self._probes.items():
            await probe.close()
            await plugin.close()
        if self._blobs is not None:
            await self._blobs.close()
        await self._delivery.close()
        self._trees.close()
        await self._cache.close()

    def list_input(self, wanted: InputWanted, say: Callable[[InputListed], None]) -> None:
        """See `Resolver.take`."""
        self._resolver.take(wanted, say)

    def _manifest_store(self) -> "ManifestClient":
        """Return a client that is made, and imported, when the first list is brought or read."""
        if self._manifests is None:
            from skrei_compute_agent.manifest_client import ManifestClient

            self._manifests = ManifestClient(lambda: self._delivery.url)
        return self._manifests

    @asynccontextmanager
    async def _open_blob(self, digest: str, token: str) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._api().open(digest, token) as chunks:
            yield chunks

    def _api(self) -> "Blobs":
        """Return a client that is made, and imported (8 MB), when the first blob or result is wanted."""
        if self._blobs is None:
            from skrei_compute_agent.blobs import Blobs

            self._blobs = Blobs(self.api_url)
        return self._blobs


def network_policy(settings: Settings) -> NetworkPolicy:
    """Return what jobs may do with this node's network."""
    first, last = settings.ports
    return NetworkPolicy(first, last, settings.port_address, settings.port_host, not settings.reject_networked_jobs)


def make_tools(settings: Settings, folders: Folders) -> Toolbox:
    """Return the tools of a node: every installed plugin that can be loaded."""
    broken: list[Absent] = []
    return Toolbox(
        settings,
        folders,
        _offered(_make(engines(), settings, "engine", broken), settings),
        _make(storages(), settings, "storage", broken),
        broken,
    )


def _make(registry: PluginRegistry[P], settings: Settings, kind: str, broken: list[Absent]) -> dict[str, P]:
    """Make one object of each plugin; its aliases share it. One that cannot be loaded is left out, and said so."""
    by_class: dict[type[P], P] = {}
    made: dict[str, P] = {}
    for name in registry.names:
        try:
            found = registry.load(name)
        except PluginError as error:
            log.warning("plugin_left_out", kind=kind, name=name, problem=error.message, hint=error.hint)
            broken.append(Absent(kind=kind, name=name, reason=error.message))
            continue
        if found not in by_class:
            by_class[found] = found(
                PluginContext(
                    state_dir=settings.plugin_dir(kind, name),
                    allow_local=settings.allow_local,
                    owner_paths=settings.owner_paths,
                    allow_addresses=settings.allow_addresses,
                    data=settings.data,
                    data_file=settings.data_file,
                    options=settings.plugin_options,
                    node_id=settings.node_id,
                )
            )
        made[name] = by_class[found]
    return made


def _offered(made: dict[str, Engine], settings: Settings) -> dict[str, Engine]:
    """Return the engines by their names and by those that they stand in for. Raises Invalid for what is not here."""
    for alias, name in settings.engine_aliases.items():
        if name.casefold() not in made:
            raise Invalid(
                f"SKREI_ENGINE_ALIASES: this node has no engine {name!r} to stand in for {alias!r}",
                hint=f"install it, or name one of: {', '.join(sorted(made)) or 'none'}",
            )
    made = made | {alias.casefold(): made[name.casefold()] for alias, name in settings.engine_aliases.items()}
    wanted = {name.casefold() for name in settings.engines}
    return {name: engine for name, engine in made.items() if not wanted or name in wanted}


def _missing_paths(told: Iterable[PluginInfo]) -> list[Absent]:
    paths = sorted({path for info in told for path in info.missing_paths})
    return [Absent(kind=node.PATH, name=path, reason="it is not there") for path in paths]


def _missing_data(told: Iterable[PluginInfo]) -> list[Absent]:
    away = dict(pair for info in told for pair in info.missing_data)
    return [Absent(kind=node.DATA, name=name, reason=reason) for name, reason in sorted(away.items())]


def _lists(plugin: Plugin) -> bool:
    """Whether it is a storage that can say what an input comes to before it is brought."""
    return isinstance(plugin, Storage) and type(plugin).resolve is not Storage.resolve


def _unknown(reason: str) -> PluginInfo:
    return PluginInfo(available=False, reason=reason)


def _sorted(
    kind: str, plugins: Mapping[str, Plugin], infos: Mapping[Plugin, PluginInfo]
) -> tuple[list[node.Plugin], list[Absent]]:
    """Return the plugins of a kind that work, by every name, and those that do not, by their first."""
    found: list[node.Plugin] = []
    absent: dict[Plugin, Absent] = {}
    for name, plugin in plugins.items():
        info = infos[plugin]
        if info.available:
            found.append(node.Plugin(name=name, version=info.version, note=info.reason, lists=_lists(plugin)))
        else:
            absent.setdefault(plugin, Absent(kind=kind, name=name, reason=info.reason or "it does not say why"))
    return found, list(absent.values())
