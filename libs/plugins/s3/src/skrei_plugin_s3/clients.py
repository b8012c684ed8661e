"""The clients of one node: made when they are wanted, shared by all who want the same, and few."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from skrei_domain.object_servers import server
from skrei_plugin_api.outbound import Outbound
from skrei_plugin_s3.client import Account, Client, load
from skrei_plugin_s3.params import S3Input
from skrei_plugin_s3.settings import S3Settings

MOST_CLIENTS = 16
"""Servers and regions that are kept ready; each costs some two megabytes, and a tenth of a second to make."""


@dataclass(slots=True)
class _Kept:
    """A client that is ready, or being made, and how many use it."""

    stack: AsyncExitStack
    made: "asyncio.Task[Client]"
    users: int = 0
    old: bool = False


class Clients:
    """The clients by server and region."""

    def __init__(self, settings: S3Settings, rules: Outbound | None) -> None:
        self._settings = settings
        self._rules = rules
        self._accounts: dict[str, asyncio.Task[Account]] = {}
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    @asynccontextmanager
    async def open(self, wanted: S3Input) -> AsyncIterator[Client]:
        """Yield the client of the server and region that an input names. Raises StageFailed."""
        key = (server(wanted.endpoint), wanted.region)
        kept = self._kept.get(key)
        if kept is None:
            stack = AsyncExitStack()
            kept = _Kept(stack, asyncio.ensure_future(self._make(wanted, stack)))
            self._kept[key] = kept
        self._kept.move_to_end(key)
        kept.users += 1
        try:
            yield await asyncio.shield(kept.made)
        finally:
            kept.users -= 1
            if kept.old and not kept.users:
                await _end(kept)
            if _failed(kept.made) and self._kept.get(key) is kept:
                del self._kept[key]
                await _end(kept)
            await self._trim()

    async def forget(self, wanted: S3Input) -> None:
        """Let the next who asks for that server have a new client, of the credentials that are there by then."""
        self._accounts.clear()
        kept = self._kept.pop((server(wanted.endpoint), wanted.region), None)
        if kept is not None:
            kept.old = True
            if not kept.users:
                await _end(kept)

    async def close(self) -> None:
        """Close every connection."""
        kept, self._kept = self._kept, OrderedDict()
        for each in kept.values():
            await _end(each)
        for account in self._accounts.values():
            account.cancel()
        self._accounts = {}

    async def _trim(self) -> None:
        while len(self._kept) > MOST_CLIENTS:
            idle = next((key for key, each in self._kept.items() if not each.users), None)
            if idle is None:
                return
            await _end(self._kept.pop(idle))

    async def _make(self, wanted: S3Input, stack: AsyncExitStack) -> Client:
        account = await self._account_for(wanted.endpoint)
        try:
            client = await account.client(wanted, self._rules, stack, anonymous=self._settings.anonymous)
        except BaseException:
            self._accounts.clear()  # credentials may be there when the next one asks
            raise
        if client.anonymous:
            self._accounts.clear()
        return client

    async def _account_for(self, endpoint: str) -> Account:
        """Return what has the credentials for a server: the profile that names it, else the node's own."""
        for profile in ("", *self._settings.profiles) if endpoint else ():
            account = await self._account(profile)
            if server(endpoint) in account.named:
                return account
        return await self._account("")

    async def _account(self, profile: str) -> Account:
        if profile not in self._accounts or _failed(self._accounts[profile]):
            work = asyncio.to_thread(load, profile, self._settings.instance_role)
            self._accounts[profile] = asyncio.ensure_future(work)
        return await asyncio.shield(self._accounts[profile])


def _failed(task: "asyncio.Task[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def _end(kept: _Kept) -> None:
    if not kept.made.done():
        kept.made.cancel()
        await asyncio.wait([kept.made])
    await kept.stack.aclose()
