"""The plugins of this node, found by entry point, and what they are worked with."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

from skrei_compute_agent.fingerprint import fingerprint
from skrei_compute_agent.folders import Folders
from skrei_compute_agent.input_cache import InputCache
from skrei_compute_agent.settings import Settings
from skrei_compute_agent.staging import Stager
from skrei_compute_agent.work import Workshop
from skrei_domain import node
from skrei_domain.node import NodeInfo
from skrei_kit.observability import get_logger
from skrei_plugin_api.engine import Engine
from skrei_plugin_api.plugin import Plugin, PluginContext
from skrei_plugin_api.registry import PluginError, PluginRegistry, engines, storages
from skrei_plugin_api.storage import StageLimits, Storage

if TYPE_CHECKING:
    from skrei_compute_agent.blobs import Blobs

log = get_logger()

P = TypeVar("P", bound=Plugin)


class Toolbox:
    """Everything that touches plugins: made cheaply; engines start with their first run."""

    def __init__(
        self,
        settings: Settings,
        folders: Folders,
        engines_: Mapping[str, Engine],
        storages_: Mapping[str, Storage],
    ) -> None:
        self._settings = settings
        self._engines = engines_
        self._storages = storages_
        self._blobs: Blobs | None = None
        cache = InputCache(
            settings.data_dir / "cache",
            self._open_blob,
            limit_bytes=settings.cache_bytes,
            blob_bytes=settings.input_bytes,
        )
        cache.open()
        limits = StageLimits(max_bytes=settings.input_bytes)
        stager = Stager(storages_, cache, limits=limits, parallel=settings.parallel_stages)
        self.work = Workshop(folders, stager, engines_, allow_env=settings.allow_env)

    async def fingerprint(self, node_id: str) -> NodeInfo:
        """Return what this node can do now: the plugins that find what they need, and the amounts."""
        return fingerprint(
            self._settings,
            node_id,
            engines=await _available(self._engines),
            storages=await _available(self._storages),
            version=version("skrei-compute-agent"),
        )

    async def close(self) -> None:
        """End what plugins started, and close connections."""
        for plugin in {*self._engines.values(), *self._storages.values()}:
            await plugin.close()
        if self._blobs is not None:
            await self._blobs.close()

    @asynccontextmanager
    async def _open_blob(self, digest: str, token: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Fetch with a client that is made, and imported (8 MB), when the first blob is wanted."""
        if self._blobs is None:
            from skrei_compute_agent.blobs import Blobs

            self._blobs = Blobs(self._settings.api_url)
        async with self._blobs.open(digest, token) as chunks:
            yield chunks


def make_tools(settings: Settings, folders: Folders) -> Toolbox:
    """Return the tools of a node: every installed plugin that can be loaded."""
    return Toolbox(settings, folders, _make(engines(), settings, "engines"), _make(storages(), settings, "storages"))


def _make(registry: PluginRegistry[P], settings: Settings, kind: str) -> dict[str, P]:
    """Make one object of each plugin; its aliases share it. One that cannot be loaded is left out, and said so."""
    by_class: dict[type[P], P] = {}
    made: dict[str, P] = {}
    for name in registry.names:
        try:
            found = registry.load(name)
        except PluginError as error:
            log.warning("plugin_left_out", kind=kind, name=name, problem=error.message, hint=error.hint)
            continue
        if found not in by_class:
            state = settings.data_dir / "plugins" / kind / name
            by_class[found] = found(PluginContext(state_dir=state, allow_local=settings.allow_local))
        made[name] = by_class[found]
    return made


async def _available(plugins: Mapping[str, Plugin]) -> list[node.Plugin]:
    found = []
    for name, plugin in plugins.items():
        info = await plugin.describe()
        if info.available:
            found.append(node.Plugin(name=name, version=info.version))
        else:
            log.debug("plugin_unavailable", name=name, reason=info.reason)
    return found
