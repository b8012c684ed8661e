"""Which publishers there are, and which of them takes a result: Skrei's own store, a plugin, or the store for a plugin.

Plugins are found by entry point and made when a result first names them: most control planes need none, and an SDK of
an object store weighs more than all the rest.
"""

import asyncio
import json
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar
from weakref import WeakValueDictionary

from skrei_domain.bounds import MOST_DESTINATION, MOST_PLACE
from skrei_domain.destinations import HERE, MANAGED, ON_NODES, STORE
from skrei_domain.job_reading import FieldProblem, show
from skrei_domain.portions import DIVIDED, ROOM, Portion, place_of
from skrei_domain.uploads import Parcel, UploadPlan
from skrei_kit.observability import get_logger
from skrei_kit.tokens import UploadRight
from skrei_plugin_api.aside import apart
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.publisher import DestinationAway, PublishDenied, Publisher, PublishError
from skrei_plugin_api.registry import PluginError, PluginRegistry, publishers
from skrei_publisher.store_publisher import StorePublisher

log = get_logger()

FORWARD = "forward:"
"""What the place of a result begins with that lies in the store's staging, to be brought on; its params follow."""
MANAGED_BUCKET = "s3managed_bucket"
"""The option that gives `s3managed` a bucket; without it that means the store."""
MANAGED_AWAY = "it cannot be brought there now; the publisher's log says why"
MANAGED_REFUSES = "it cannot be brought to where this cluster keeps results; the publisher's log says why"
"""What others than its owner hear of that bucket."""
DESCRIBE_SECONDS = 5.0
"""How long a plugin may take to say whether it works here: it looks at settings, and asks nobody."""
ANSWER_SECONDS = 120.0
"""How long one may take for what a node waits for at the door: a few questions to its server, each tried again."""
START_SECONDS = 30.0
"""How long one may take to get ready; what has named it waits meanwhile, and nothing else does."""
TIDY_SECONDS = 300.0
"""How long one may take to drop what nobody goes on with: the next round goes on with the rest."""
CLOSE_SECONDS = 2.0
"""How long one may take to end: the whole stack stops within 10 s."""

T = TypeVar("T")


class NoSuchPublisher(PublishDenied):
    """No installed package brings a publisher of that name, or it cannot work here."""

    code = "no-such-publisher"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where one result goes: `name` and `params` as the control plane signed them, and who takes it in."""

    name: str
    taker: Publisher
    params: Params = field(default_factory=dict)
    onward: Publisher | None = None
    """Whoever brings it on from the store."""
    portions: tuple[tuple[Portion, Publisher], ...] = ()
    """Where it goes from the store, if that is several places, and whoever brings each there."""

    @property
    def at(self) -> str:
        """Where it is, as people name it; of several places all that are not Skrei's own store."""
        plugin = self.onward or self.taker
        places = [each.at(portion.params) for portion, each in self.portions if each is not self.taker]
        return " and ".join(dict.fromkeys(places or [plugin.at(self.params)]))[:MOST_DESTINATION] or self.name

    async def plan(self, parcel: Parcel, headers: Mapping[str, str], node_id: str) -> UploadPlan:
        """Return what is still to be sent of a parcel. Raises what a publisher's `plan` and `reach` do."""
        if self.onward is not None:
            if (problem := _too_long(self.params)) is not None:
                raise PublishDenied(f"Publisher.{problem}")
            with discreet(self.name):
                await answered(self.onward.reach(self.params), self.at, ANSWER_SECONDS)
        if self.portions and len(self._place) + ROOM * len(self.portions) > MOST_PLACE:
            raise PublishDenied("the publishers of its paths have more params than a receipt can name")
        for portion, publisher in self.portions:
            try:
                with discreet(portion.publisher):
                    await answered(publisher.reach(portion.params), publisher.at(portion.params), ANSWER_SECONDS)
            except PublishDenied as error:
                raise PublishDenied(f"{', '.join(portion.paths)}: {error.message}", hint=error.hint) from error
        planning = self.taker.plan(parcel, headers, node_id=node_id, params=self.params)
        with discreet(self.name):
            return await (planning if self._in_store else answered(planning, self.at, ANSWER_SECONDS))

    async def stage(self, parcel: Parcel) -> str:
        """Return the place of a parcel whose parts have all come."""
        staging = self.taker.stage(parcel)
        with discreet(self.name):
            place = await (staging if self._in_store else answered(staging, self.at, ANSWER_SECONDS))
        if self.portions:
            return self._place
        return place if self.onward is None else _onward(self.params)

    @property
    def _in_store(self) -> bool:
        """Whether what comes is taken by Skrei's own store, which takes the time that its disk needs."""
        return self.name == STORE or self.onward is not None or bool(self.portions)

    @property
    def _place(self) -> str:
        """Return the place of a result in the store's staging that is to be divided."""
        return place_of([portion for portion, _ in self.portions])


@contextmanager
def discreet(name: str) -> Iterator[None]:
    """Say of the bucket in which the owner keeps results that it refuses, or is away, and no more: what it is called,
    and where its server is, is nobody else's business. The log has it."""
    try:
        yield
    except (PublishDenied, DestinationAway) as error:
        if name.casefold() != MANAGED or isinstance(error, NoSuchPublisher):
            raise
        log.warning("managed_bucket_refuses", code=error.code, reason=error.message, hint=error.hint)
        if isinstance(error, PublishDenied):
            raise PublishDenied(MANAGED_REFUSES) from error
        raise DestinationAway(MANAGED_AWAY) from error


async def answered(call: Awaitable[T], at: str, seconds: float) -> T:
    """Return what a plugin answers in time. Raises DestinationAway where it does not."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await call
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise DestinationAway(f"{at} has not answered within {seconds:g} s") from error


class Destinations:
    """The store, and plugins by name. `close` ends the plugins; the store is its owner's."""

    def __init__(
        self,
        store: StorePublisher,
        context: PluginContext,
        *,
        registry: PluginRegistry[Publisher] | None = None,
        made: Mapping[str, Publisher] | None = None,
    ) -> None:
        self.store = store
        self._context = context
        self._registry = registry if registry is not None else publishers()
        self._made: dict[str, Publisher] = {name.casefold(): each for name, each in (made or {}).items()}
        self._worked: set[str] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def names(self) -> tuple[str, ...]:
        """What a job may name: installed, whether it works here or not."""
        found = {*self._registry.names, *self._made, *HERE} - {STORE, ""}
        return tuple(sorted(found))

    async def of(self, right: UploadRight, *, counts: bool = True) -> Destination:
        """Return where a result goes that a token has the right for. Raises PublishDenied."""
        if counts and right.portions:
            found = [(each, await self._taker(each)) for each in right.portions]
            return Destination(DIVIDED, self.store, portions=tuple(found))
        name = right.publisher if counts else STORE
        publisher = await self.find(name)
        if publisher is self.store:
            return Destination(STORE, self.store)
        if problems := publisher.validate(right.params):
            raise PublishDenied("; ".join(f"Publisher.Params.{each}" for each in problems))
        if publisher.forwards(right.params):
            return Destination(name, self.store, right.params, onward=publisher)
        return Destination(name, publisher, right.params)

    async def _taker(self, portion: Portion) -> Publisher:
        """Return who brings a portion of a result to its place. Raises PublishDenied."""
        publisher = await self.find(portion.publisher)
        if publisher is not self.store and (problems := _problems(publisher, portion.params, of_path=True)):
            told = "; ".join(f"Publisher.{each}" for each in problems)
            raise PublishDenied(f"{', '.join(portion.paths) or 'the rest'}: {told}")
        return publisher

    async def find(self, name: str) -> Publisher:
        """Return the publisher of a name; one that means the store gets that.

        Raises NoSuchPublisher, and DestinationAway for one that has worked here and does not now.
        """
        name = name.casefold()
        if name in HERE:
            return self.store
        async with self._turns.setdefault(name, asyncio.Lock()):
            if name not in self._made:
                self._made[name] = await self._make(name)
            publisher = self._made[name]
        try:
            async with asyncio.timeout(DESCRIBE_SECONDS):
                told = await apart(publisher.describe)
        except TimeoutError as error:
            raise DestinationAway(f"the publisher {name!r} does not say whether it works here") from error
        if told.available:
            self._worked.add(name)
            return publisher
        if name == MANAGED and not self._context.options.get(MANAGED_BUCKET):
            return self.store  # its owner named no bucket: what such a job leaves is kept here
        if name in self._worked:
            raise DestinationAway(f"the publisher {name!r} does not work here now: {told.reason}")
        raise NoSuchPublisher(f"the publisher {name!r} does not work here: {told.reason}")

    async def check(self, name: str, params: Params, *, of_path: bool = False) -> Sequence[FieldProblem]:
        """Return what is wrong with a destination that a job names; `path` is `Type`, or begins with `Params`.

        `of_path`: it is one of several, so that a portion of a result goes there.
        """
        if name.casefold() not in {*self.names, STORE, ""}:
            return [
                FieldProblem("Type", show(name), f"{', '.join(self.names)}; others come as packages (docs/PLUGINS.md)")
            ]
        try:
            publisher = await self.find(name)
        except PublishError as error:
            return [FieldProblem("Type", show(name), error.message)]
        if publisher is self.store:
            return []
        problems = _problems(publisher, params, of_path=of_path)
        if not problems and publisher.forwards(params) and (long := _too_long(params)) is not None:
            return [long]
        return problems

    async def tidy(self, older_than_seconds: float) -> None:
        """Have plugins drop what nobody goes on with."""
        for publisher in list(self._made.values()):
            try:
                await answered(publisher.tidy(older_than_seconds=older_than_seconds), publisher.name, TIDY_SECONDS)
            except Exception as error:  # noqa: BLE001 - a plugin is somebody else's: the next one is tidied all the same
                log.warning("uploads_not_tidied", publisher=publisher.name, reason=f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """End the plugins."""
        await asyncio.gather(*(self._close(each) for each in self._made.values()))

    async def _close(self, publisher: Publisher) -> None:
        try:
            await answered(publisher.close(), publisher.name, CLOSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - a plugin is somebody else's: the others are ended all the same
            log.warning("publisher_not_closed", publisher=publisher.name, reason=f"{type(error).__name__}: {error}")

    async def _make(self, name: str) -> Publisher:
        try:
            kind = await asyncio.to_thread(self._registry.load, name)
            publisher = kind(replace(self._context, state_dir=self._context.state_dir / name))
            await answered(publisher.start(), f"the publisher {name!r}", START_SECONDS)
            return publisher
        except PluginError as error:
            if name not in self._registry.names:
                raise NoSuchPublisher(
                    f"there is no publisher {name!r}; there are {', '.join(self.names)}",
                    hint="A package that brings one is installed beside the publisher's process (docs/PLUGINS.md).",
                ) from error
            raise NoSuchPublisher(f"the publisher {name!r} cannot be used: {error.message}") from error
        except OSError as error:
            raise DestinationAway(f"the publisher {name!r} cannot get ready: {error}") from error


def _problems(publisher: Publisher, params: Params, *, of_path: bool) -> list[FieldProblem]:
    """Return what is wrong with a destination for its publisher."""
    problems = [each._replace(path=f"Params.{each.path}") for each in publisher.validate(params)]
    here = publisher.takes_portions or publisher.forwards(params) or publisher.name in ON_NODES
    if not problems and of_path and not here:
        problems = [FieldProblem("Type", show(publisher.name), "a publisher that takes portions of results")]
    return problems


def _too_long(params: Params) -> FieldProblem | None:
    """Return what is wrong with params that the place of a result cannot hold."""
    length, most = len(_onward(params)) - len(FORWARD), MOST_PLACE - len(FORWARD)
    return FieldProblem("Params", f"{length:,} characters", f"at most {most:,} as JSON") if length > most else None


def _onward(params: Params) -> str:
    """Return the place of a result in the store's staging that is to be brought on."""
    return FORWARD + json.dumps(dict(params), ensure_ascii=False, separators=(",", ":"))


def forwarded_to(place: str) -> Params | None:
    """Return the params of a place in the store's staging that is to be brought on; None for any other."""
    if not place.startswith(FORWARD):
        return None
    params: Params = json.loads(place.removeprefix(FORWARD))
    return params
