"""Results of which some paths go to places of their own: divided once they have won, each portion brought to its place.

First every destination that can gets its portion unseen, so that one which refuses is heard before anything shows. Then
what stays on its node is shown there: should another still refuse, its node takes that back, and one that is gone by
now is heard before anything lies where nobody takes it back from. Then the others get theirs, last all that is unseen
is shown. The result is final when all of it is. Every step is noted, and may be repeated; a destination that does not
answer holds up the rest, which is not brought twice.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from skrei_domain.destinations import STORE
from skrei_domain.errors import SkreiError
from skrei_domain.node_results import LOCAL_DIRECTORY, left_id
from skrei_domain.portions import Placed, Portion, told
from skrei_domain.uploads import Parcel
from skrei_kit.observability import get_logger
from skrei_plugin_api.publisher import DestinationAway, PublishDenied, Published, Publisher, StagedGone
from skrei_publisher.destinations import Destinations, discreet
from skrei_publisher.division_notes import Division, Divisions, Part, part_id
from skrei_publisher.done import Done
from skrei_publisher.on_nodes import OnNodes

log = get_logger()


@dataclass(frozen=True, slots=True)
class _Taker:
    portion: Portion
    publisher: Publisher

    @property
    def here(self) -> OnNodes | None:
        """Who has a node show what never comes to this process; None for what does."""
        return self.publisher if isinstance(self.publisher, OnNodes) else None

    @property
    def unseen(self) -> bool:
        """Whether it takes what is seen only later."""
        return self.here is None and not self.publisher.forwards(self.portion.params)

    def __str__(self) -> str:
        return ", ".join(self.portion.paths) or "what the task leaves beside its paths"


class Divider:
    """Brings the portions of results to their places. `done` notes what is there: of it no other copy is kept."""

    def __init__(self, destinations: Destinations, done: Done) -> None:
        self._destinations = destinations
        self._store = destinations.store
        self._done = done
        self._divisions = Divisions(self._store.store.root / "portions")

    async def bring(self, parcel: Parcel, found: Sequence[Portion]) -> Published:
        """Bring a staged result that has won to its places; return where they are. Twice is once.

        Raises StagedGone, also for what its node does not have any more, and PublishDenied for the final no of any
        destination; anything else is tried again.
        """
        if (published := await asyncio.to_thread(self._done.find, parcel)) is None:
            takers = await self._takers(found)
            content = await self._store.staged(parcel)
            portions = [each.portion for each in takers]
            division = await asyncio.to_thread(self._divisions.of, parcel, content, portions)
            try:
                published = await self._bring(division, takers)
            except (PublishDenied, StagedGone):
                await self.drop(parcel.execution_id, found)
                raise
            await asyncio.to_thread(self._done.note, parcel, published)
        await self._settle(parcel, found)
        return published

    async def drop(self, execution_id: str, found: Sequence[Portion]) -> None:
        """Let go of what was brought and is not seen; a destination that is away forgets it by itself, in time.

        One that is no more keeps its number: what the others have goes by theirs.
        """
        number, here = 0, False
        for portion in found:
            try:
                publisher = await self._destinations.find(portion.publisher)
                if publisher is self._store:
                    number, here = number + (not here), True  # those of the store are one
                    continue
                if not publisher.forwards(portion.params) and not isinstance(publisher, OnNodes):
                    await publisher.abort(part_id(execution_id, number))
            except (SkreiError, OSError) as error:
                log.debug("portion_not_dropped", execution_id=execution_id, publisher=portion.publisher, why=str(error))
            number += 1
        await asyncio.to_thread(self._divisions.drop, execution_id)

    async def tidy(self, older_than_seconds: float) -> None:
        """Drop what nobody goes on with."""

        def drop() -> None:
            self._done.tidy(older_than_seconds, self._store.store)
            staged = self._store.staging.staged
            for each in list(self._divisions.old(older_than_seconds, goes_on=lambda i: staged(i) is not None)):
                self._divisions.drop(each)

        await asyncio.to_thread(drop)

    async def _takers(self, found: Sequence[Portion]) -> list[_Taker]:
        """Return who takes each portion; those of Skrei's own store are one."""
        takers: list[_Taker] = []
        for portion in found:
            publisher = await self._destinations.find(portion.publisher)
            same = next((n for n, each in enumerate(takers) if each.publisher is publisher is self._store), None)
            if same is None:
                takers.append(_Taker(portion, publisher))
            else:  # the rest, which names no path, has those of the other too
                paths = (*takers[same].portion.paths, *portion.paths) if takers[same].portion.paths else ()
                takers[same] = _Taker(replace(takers[same].portion, paths=paths), publisher)
        return takers

    async def _bring(self, division: Division, takers: Sequence[_Taker]) -> Published:
        away = [
            (number, taker)
            for number, taker in enumerate(takers)
            if taker.publisher is not self._store and taker.here is None
        ]
        unseen = [each for each in away if each[1].unseen]
        for number, taker in unseen:
            await self._take(division, number, taker)
        staying = [(number, taker.here) for number, taker in enumerate(takers) if taker.here is not None]
        for count, (number, here) in enumerate(staying):
            if division.parts[number].final is None:
                execution_id = division.parcel.execution_id
                await self._final(division, number, await here.show(execution_id, left_id(execution_id, count)))
        for number, taker in away:
            if not taker.unseen and division.parts[number].final is None:
                await self._forward(division, number, taker)
        for number, taker in unseen:
            if division.parts[number].final is None:
                await self._show(division, number, taker)
        return Published(told(self._placed(taker, part) for taker, part in zip(takers, division.parts, strict=True)))

    def _placed(self, taker: _Taker, part: Part) -> Placed:
        paths, params = taker.portion.paths, part.final or {}
        if taker.here is not None:  # its node knows what that is
            packed = params.get("Archive", {"Digest": part.digest, "Size": part.size})
            return Placed(paths, LOCAL_DIRECTORY, params, packed["Digest"], packed["Size"])
        name = STORE if taker.publisher is self._store else taker.portion.publisher
        return Placed(paths, name, params, part.digest, part.size)

    async def _take(self, division: Division, number: int, taker: _Taker) -> None:
        part = division.parts[number]
        if part.place is None:
            with _of(taker):
                part.place = await taker.publisher.take(
                    division.parcel_of(number), division.content(number), taker.portion.params
                )
            await asyncio.to_thread(division.note)

    async def _forward(self, division: Division, number: int, taker: _Taker) -> None:
        with _of(taker):
            published = await taker.publisher.forward(
                division.parcel_of(number), division.content(number), taker.portion.params
            )
        await self._final(division, number, published)

    async def _show(self, division: Division, number: int, taker: _Taker) -> None:
        part = division.parts[number]
        assert part.place is not None, "it was taken"
        try:
            with _of(taker):
                published = await taker.publisher.finalise(division.parcel_of(number), part.place)
        except StagedGone as error:
            part.place = None
            await asyncio.to_thread(division.note)
            raise DestinationAway(f"{error.message} It is sent there again.") from error
        await self._final(division, number, published or Published({}))

    async def _final(self, division: Division, number: int, published: Published) -> None:
        division.parts[number].final = dict(published.params)
        await asyncio.to_thread(division.note)

    async def _settle(self, parcel: Parcel, found: Sequence[Portion]) -> None:
        """Keep what stays here, and let go of the whole."""
        takers = await self._takers(found)
        division = await asyncio.to_thread(self._divisions.find, parcel)
        for number, taker in enumerate(takers):
            if division is not None and taker.publisher is self._store and division.content(number).is_file():
                part = division.parts[number]
                await self._store.take_in(parcel.execution_id, part.digest, division.content(number))
        await self._store.abort(parcel.execution_id)
        await asyncio.to_thread(self._divisions.drop, parcel.execution_id)


@contextlib.contextmanager
def _of(taker: _Taker) -> Iterator[None]:
    """Say of which paths it is that a destination has refused."""
    try:
        with discreet(taker.portion.publisher):
            yield
    except PublishDenied as error:
        raise PublishDenied(f"{taker}: {error.message}", hint=error.hint) from error
