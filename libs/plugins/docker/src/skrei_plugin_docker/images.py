"""Images onto this node: the one that is here first, a registry only when it must be."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from skrei_domain.errors import SkreiError
from skrei_plugin_api.container_params import DockerParams, Pull
from skrei_plugin_api.image_reference import digest_of, parse
from skrei_plugin_api.registry_credentials import credentials
from skrei_plugin_docker.daemon import Daemon
from skrei_plugin_docker.failures import Refusal, not_here, pull_failed, wrong_platform
from skrei_plugin_docker.platforms import Platform, of_image, of_registry, suits
from skrei_plugin_docker.settings import DockerSettings

TELL_SECONDS = 2.0
"""How often a pull tells how far it is: enough for a person who watches."""
TOLD = 1_000
"""Images whose platforms are kept in memory as their registry told them."""
TOLD_SECONDS = 3_600.0
"""For how long: a tag rarely gets another platform, and registries count each question."""
REMEMBERED = 256
"""Images whose digest is kept in memory: a node's jobs repeat the same few."""

Tell = Callable[[str], None]


class Images:
    """What the daemon has and pulls. Remembers what images are called by digest, by their ids."""

    def __init__(self, daemon: Daemon, settings: DockerSettings) -> None:
        self._daemon = daemon
        self._settings = settings
        self._digests: OrderedDict[str, str] = OrderedDict()
        self._own: Platform | None = None
        self._told: OrderedDict[str, tuple[float, list[Platform]]] = OrderedDict()
        self._pulling: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def prepare(self, params: DockerParams, tell: Tell) -> None:
        """Have the image here as `Pull` says, for this platform. Raises SkreiError: it cannot be had, or not now."""
        image = None if params.pull is Pull.ALWAYS else await self._daemon.image(params.image)
        if image is not None and await self._suits(image):
            self._remember(image, params.image)
            return
        try:
            await self.fetch(params, tell)
        except SkreiError:
            if image is not None:  # what is here says more than a registry that has no other
                await self._check(image, params.image)
            raise

    async def fetch(self, params: DockerParams, tell: Tell) -> None:
        """Pull the image, unless that is ruled out. Raises SkreiError.

        Who wants an image that is being pulled waits for that, and looks again.
        """
        if params.pull is Pull.NEVER:
            raise not_here(params.image)
        lock = self._pulling.setdefault(params.image, asyncio.Lock())
        waits = lock.locked()
        if waits:
            tell(f"waiting for {params.image}: it is being pulled for another job")
        async with lock:
            image = await self._daemon.image(params.image) if waits else None
            if image is None:
                await self._pull(params, tell)
                image = await self._daemon.image(params.image)
            if image is not None:
                await self._check(image, params.image)

    async def _pull(self, params: DockerParams, tell: Tell) -> None:
        reference = parse(params.image)
        auth = await credentials(reference, self._settings.config)
        await self._ask_first(params.image, str(reference), auth)
        try:
            async for line in progress(self._daemon.pull(str(reference), auth), params.image):
                tell(line)
        except Refusal as refusal:
            raise pull_failed(params.image, refusal.message) from refusal

    # ------------------------------------------------------------ platforms

    async def _here(self) -> Platform:
        if self._own is None:
            self._own = await self._daemon.platform()
        return self._own

    async def _suits(self, image: dict[str, Any]) -> bool:
        found = of_image(image)
        return found is None or suits([found], await self._here(), self._settings.platforms)

    async def _check(self, image: dict[str, Any], name: str) -> None:
        if not await self._suits(image):
            raise wrong_platform(name, [of_image(image)], await self._here())

    async def _ask_first(self, name: str, reference: str, auth: Mapping[str, str] | None) -> None:
        """Raise where the registry has an image for other platforms alone, before gigabytes of it are here."""
        now = time.monotonic()
        known = self._told.get(reference)
        if known is None or now - known[0] > TOLD_SECONDS:
            try:
                answer = await self._daemon.in_registry(reference, auth)
            except Refusal:  # the pull will say why, in more words
                return
            known = self._told[reference] = now, of_registry(answer)
            self._told.move_to_end(reference)
            while len(self._told) > TOLD:
                self._told.popitem(last=False)
        if known[1] and not suits(known[1], await self._here(), self._settings.platforms):
            raise wrong_platform(name, known[1], await self._here())

    # ------------------------------------------------------------ digests

    async def digest(self, image_id: str, name: str) -> str:
        """Return what the image of a container is known by: see `reference.digest_of`."""
        if image_id not in self._digests:
            image = await self._daemon.image(image_id)
            self._remember(image or {"Id": image_id}, name)
        return self._digests[image_id]

    def _remember(self, image: dict[str, Any], name: str) -> None:
        self._digests[str(image.get("Id"))] = digest_of(image, name)
        self._digests.move_to_end(str(image.get("Id")))
        while len(self._digests) > REMEMBERED:
            self._digests.popitem(last=False)


async def progress(
    items: AsyncIterator[dict[str, Any]], name: str, now: Callable[[], float] = time.monotonic
) -> AsyncIterator[str]:
    """Yield a line now and then, and at the end, of how far a pull is."""
    layers: dict[str, tuple[int, int]] = {}
    told = -math.inf
    async for item in items:
        detail = item.get("progressDetail") or {}
        if item.get("status") in ("Downloading", "Download complete") and "id" in item:
            done, size = layers.get(item["id"], (0, 0))
            size = int(detail.get("total") or size)
            layers[item["id"]] = (int(detail.get("current") or (size if "complete" in item["status"] else done)), size)
        moment = now()
        if moment - told >= TELL_SECONDS and layers:
            told = moment
            done, size = (sum(part) for part in zip(*layers.values(), strict=True))
            yield f"pulling {name}: {done / 1e6:.1f} of {size / 1e6:.1f} MB"
    yield f"pulled {name}"
