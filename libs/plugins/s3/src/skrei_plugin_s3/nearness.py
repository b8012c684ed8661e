"""How far servers of objects are from this node: those that its owner names, and those that jobs have read from here.

Nothing is asked of them: a connection is opened and closed, the quickest of a few counts. Where jobs lead is judged for
this as for a transfer. Measured without the library, which a node that only reports need not load.
"""

import asyncio
import configparser
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from skrei_domain.node import NearServer
from skrei_domain.object_servers import amazon, server
from skrei_plugin_api.outbound import Forbidden, Outbound, internet
from skrei_plugin_s3.params import S3Input
from skrei_plugin_s3.settings import S3Settings

MOST_SEEN = 16
"""Servers that jobs of this node have read from, the latest."""
TURNS = 3
"""Connections to each, of which the quickest counts: one may wait for a busy machine."""
REACH_SECONDS = 3.0
"""How long a server may take to be found and connected to so often; one that takes longer is not near."""


class Seen:
    """The servers that jobs have read from, as they named them."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def note(self, wanted: S3Input) -> None:
        """A job has read from there."""
        key = (server(wanted.endpoint), wanted.region)
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    def servers(self, named: Mapping[str, bool], region: str) -> dict[str, str]:
        """Return their addresses, each with its region: where a job names none that is the usual one, or Amazon's."""
        usual = next((url for url, is_usual in named.items() if is_usual), "")
        return {url or usual or amazon(said or region): said or region for url, said in self._seen}


def named_servers(settings: S3Settings, environ: Mapping[str, str]) -> tuple[dict[str, bool], str]:
    """Return the servers that the node's owner names, and whether each is the usual one; and the region of the node.

    Raises OSError and configparser.Error for files that cannot be read.
    """
    own = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    home = Path(environ.get("HOME") or "~").expanduser()
    config = configparser.RawConfigParser(strict=False)
    config.read(Path(environ.get("AWS_CONFIG_FILE") or home / ".aws/config").expanduser(), "utf-8")
    profiles: dict[str, Mapping[str, str]] = {
        name.removeprefix("profile ").strip().strip("\"'"): config[name] for name in config.sections()
    }
    none: Mapping[str, str] = {}
    mine = profiles.get(own, none)
    usual = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or mine.get("endpoint_url") or ""
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or mine.get("region") or ""
    others = [profiles[name].get("endpoint_url") for name in settings.profiles if name in profiles]
    found = {server(url): False for url in others if url and _is_address(url)}
    return found | ({server(usual): True} if _is_address(usual) else {}), region


async def measured(seen: Seen, settings: S3Settings, rules: Outbound) -> tuple[NearServer, ...]:
    """Return how far each is; one that cannot be connected to is left out."""
    named, region = await asyncio.to_thread(named_servers, settings, os.environ)
    regions = seen.servers(named, region) | dict.fromkeys(named, region)
    micros = await asyncio.gather(*(_reach(url, None if url in named else rules) for url in regions))
    return tuple(
        NearServer(url=url, latency_micros=found, region=regions[url], usual=named.get(url, False))
        for url, found in zip(regions, micros, strict=True)
        if found
    )


def _is_address(text: str) -> bool:
    try:
        return bool(text) and bool(urlsplit(server(text)).hostname)
    except ValueError:
        return False


async def _reach(url: str, rules: Outbound | None) -> int:
    """Return how many microseconds a connection takes, 0 where there is none. `rules` None: the server is trusted."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
        async with asyncio.timeout(REACH_SECONDS):
            if rules is not None:
                rules.check(host, port)
            loop = asyncio.get_running_loop()
            found = internet(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            if rules is not None:
                found = list(rules.choose(host, found))
            return min([await _connect(str(found[0][4][0]), port) for _ in range(TURNS)]) if found else 0
    except (OSError, ValueError, Forbidden, TimeoutError):
        return 0


async def _connect(address: str, port: int) -> int:
    began = time.perf_counter()
    _, writer = await asyncio.open_connection(address, port)
    taken = time.perf_counter() - began
    writer.close()
    await writer.wait_closed()
    return max(int(taken * 1_000_000), 1)
