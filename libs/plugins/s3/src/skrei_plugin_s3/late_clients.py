"""The clients of a plugin that may never need one: made, and imported with their library, when the first is wanted."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from skrei_plugin_api.outbound import Outbound, networks
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_s3.settings import S3Settings

if TYPE_CHECKING:
    from skrei_plugin_s3.clients import Clients


class LateClients:
    """What `get` returns is made once; `rules` say which servers a job may name, None: it names none."""

    def __init__(self, context: PluginContext, rules: Callable[[], Outbound | None]) -> None:
        self._context = context
        self._rules = rules
        self._made: Clients | None = None

    async def get(self) -> "Clients":
        """Return the clients. Their library has 30 MB, and takes so long to load that a thread does it."""
        if self._made is None:
            kind = await asyncio.to_thread(_load)
            if self._made is None:  # another made it meanwhile
                self._made = kind(S3Settings.from_options(self._context.options), self._rules())
        return self._made

    async def close(self) -> None:
        """Close every connection."""
        made, self._made = self._made, None
        if made is not None:
            await made.close()


def rules_of(context: PluginContext) -> Outbound:
    """Return which servers a job may name."""
    return Outbound(private=networks(context.allow_addresses))


def _load() -> "type[Clients]":
    from skrei_plugin_s3.clients import Clients

    return Clients
