"""Plugins by name: found by entry point, loaded on first use, so that an unused one is never imported."""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from skrei_domain.errors import SkreiError
from skrei_plugin_api.engine import Engine
from skrei_plugin_api.plugin import PLUGIN_API, Plugin
from skrei_plugin_api.publisher import Publisher
from skrei_plugin_api.storage import Storage

P = TypeVar("P", bound=Plugin)

ENGINES = "skrei.engines"
STORAGES = "skrei.storages"
PUBLISHERS = "skrei.publishers"


class PluginError(SkreiError):
    """A plugin cannot be used; the details name its group and its name."""

    code = "plugin"


class UnknownPlugin(PluginError):
    """No installed package brings a plugin of that name."""

    code = "plugin-unknown"


class UnloadablePlugin(PluginError):
    """The plugin is installed, but importing it fails."""

    code = "plugin-unloadable"


class WrongPluginType(PluginError):
    """The entry point names something that is not a plugin of this kind."""

    code = "plugin-wrong-type"


class PluginVersionMismatch(PluginError):
    """The plugin was written for another version of the contract."""

    code = "plugin-version-mismatch"


class PluginRegistry(Generic[P]):
    """The plugins of one kind. Names are compared without case; an alias is an entry point of its own."""

    def __init__(
        self,
        group: str,
        base: type[P],
        *,
        entries: Iterable[EntryPoint] | None = None,
        extra: Mapping[str, type[P]] | None = None,
    ) -> None:
        found = entry_points(group=group) if entries is None else entries
        self._group = group
        self._base = base
        self._entries = {entry.name.casefold(): entry for entry in found}
        self._loaded: dict[str, type[P]] = {}
        for name, plugin in (extra or {}).items():
            self._loaded[name.casefold()] = self._checked(name, plugin)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name and alias, in lower case and in order; nothing is imported for it."""
        return tuple(sorted({*self._entries, *self._loaded}))

    def load(self, name: str) -> type[P]:
        """Return the plugin of that name.

        Raises UnknownPlugin, UnloadablePlugin, WrongPluginType or PluginVersionMismatch.
        """
        key = name.casefold()
        if key in self._loaded:
            return self._loaded[key]
        entry = self._entries.get(key)
        if entry is None:
            known = ", ".join(self.names) or "none"
            raise UnknownPlugin(
                f"no plugin of {self._group} is called {name!r}; installed: {known}", group=self._group, name=name
            )
        try:
            loaded = entry.load()
        except Exception as error:
            raise UnloadablePlugin(
                f"{entry.value} ({self._group}) cannot be imported: {type(error).__name__}: {error}",
                hint="reinstall the package that brings it, with what it depends on",
                group=self._group,
                name=name,
            ) from error
        return self._loaded.setdefault(key, self._checked(name, loaded))

    def _checked(self, name: str, loaded: object) -> type[P]:
        told = {"group": self._group, "name": name}
        if not (isinstance(loaded, type) and issubclass(loaded, self._base)):
            raise WrongPluginType(f"{loaded!r} ({self._group}: {name}) is not a {self._base.__name__}", **told)
        if loaded.plugin_api != PLUGIN_API:
            raise PluginVersionMismatch(
                f"{loaded.__qualname__} ({self._group}: {name}) was written for plugin API {loaded.plugin_api}, "
                f"this is {PLUGIN_API}",
                hint="install a version of the plugin that matches this version of Skrei",
                **told,
            )
        return loaded


def engines(extra: Mapping[str, type[Engine]] | None = None) -> PluginRegistry[Engine]:
    """Return the installed engines, and `extra` ones by name."""
    return PluginRegistry(ENGINES, Engine, extra=extra)  # type: ignore[type-abstract]  # never made, only compared


def storages(extra: Mapping[str, type[Storage]] | None = None) -> PluginRegistry[Storage]:
    """Return the installed storages, and `extra` ones by name."""
    return PluginRegistry(STORAGES, Storage, extra=extra)  # type: ignore[type-abstract]  # never made, only compared


def publishers(extra: Mapping[str, type[Publisher]] | None = None) -> PluginRegistry[Publisher]:
    """Return the installed publishers, and `extra` ones by name."""
    return PluginRegistry(PUBLISHERS, Publisher, extra=extra)  # type: ignore[type-abstract]  # never made, only compared
