# ruff: noqa: D102 - a test's name says what it claims
"""The contract suite of publishers that take uploads by a plan."""

import base64
import hashlib
import tempfile
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Mapping
from pathlib import Path
from typing import ClassVar

from skrei_domain.uploads import Parcel, UploadPlan, UploadRequest
from skrei_plugin_api.aside import apart
from skrei_plugin_api.plugin import PLUGIN_API, Params
from skrei_plugin_api.publisher import (
    DigestDiffers,
    Published,
    Publisher,
    PublishError,
    StagedGone,
    UploadIncomplete,
    UploadUnknown,
)


class PublisherContract:
    """What every publisher does that takes uploads itself. Subclasses give a fixture `publisher`, made empty and closed
    afterwards."""

    content: ClassVar[bytes] = bytes(range(256)) * 70_000
    """A result of 17 MiB: several parts of most publishers, the last one shorter."""
    params: ClassVar[Params] = {}
    """A destination that there is."""
    invalid: ClassVar[Mapping[str, Params]] = {}
    """Params that are wrong, by the path of the field that is."""

    async def send(self, publisher: Publisher, request: UploadRequest, data: bytes) -> None:
        """Carry one request of a plan out; as it is, for publishers whose parts come to their own door.

        Raises DigestDiffers where a server says at once that these are not the bytes that were announced.
        """
        number = int(request.url.rsplit("/", 1)[1])
        await publisher.receive(request.url.split("/")[1], number, len(data), pieces(data))

    @abstractmethod
    async def read(self, publisher: Publisher, execution_id: str, published: Published | None) -> bytes | None:
        """Return the finalised result of an execution as a reader gets it; None when there is none."""

    async def test_it_says_who_it_is(self, publisher: Publisher) -> None:
        assert publisher.plugin_api == PLUGIN_API
        assert (await apart(publisher.describe)).available

    async def test_right_params_have_no_problems_and_wrong_ones_are_named(self, publisher: Publisher) -> None:
        for change in (str, str.lower, str.upper):
            assert publisher.validate({change(key): value for key, value in self.params.items()}) == []
        for path, params in self.invalid.items():
            assert [problem.path for problem in publisher.validate(params)] == [path], params

    async def test_a_destination_that_is_there_is_reached(self, publisher: Publisher) -> None:
        await publisher.reach(self.params)

    async def test_a_plan_covers_every_byte_once(self, publisher: Publisher) -> None:
        plan = await self.plan(publisher, self.content, {"X-Test": "yes"})
        position = 0
        for request in sorted(plan.requests, key=lambda request: request.first):
            assert request.first == position
            position += request.size
        assert position == len(self.content)

    async def test_what_is_finalised_can_be_read_and_nothing_before(self, publisher: Publisher) -> None:
        place = await self.upload(publisher, self.content)
        assert await publisher.open("e-1") is None
        published = await publisher.finalise(parcel(self.content), place)
        assert await self.read(publisher, "e-1", published) == self.content

    async def test_every_step_may_be_repeated(self, publisher: Publisher) -> None:
        wanted = parcel(self.content)
        for _ in range(2):
            place = await self.upload(publisher, self.content)
        assert await publisher.stage(wanted) == place
        assert (await self.plan(publisher, self.content)).requests == ()
        published = [await publisher.finalise(wanted, place) for _ in range(2)]
        assert published[0] == published[1]
        assert await self.read(publisher, "e-1", published[1]) == self.content

    async def test_a_plan_asked_again_names_what_is_missing(self, publisher: Publisher) -> None:
        plan = await self.plan(publisher, self.content)
        await self.carry(publisher, plan, self.content, some=1)
        rest = await self.plan(publisher, self.content)
        assert {each.first for each in rest.requests} == {each.first for each in plan.requests[1:]}

    async def test_a_parcel_with_parts_missing_is_not_staged(self, publisher: Publisher) -> None:
        plan = await self.plan(publisher, self.content)
        await self.carry(publisher, plan, self.content, some=1)
        await raises(UploadIncomplete, publisher.stage(parcel(self.content)))

    async def test_another_content_than_announced_is_dropped(self, publisher: Publisher) -> None:
        plan = await self.plan(publisher, self.content)
        try:
            await self.carry(publisher, plan, self.content[:-1] + b"!")
        except DigestDiffers:
            await raises(UploadIncomplete, publisher.stage(parcel(self.content)))  # the server took none of it
            return
        await raises(DigestDiffers, publisher.stage(parcel(self.content)))
        assert len((await self.plan(publisher, self.content)).requests) == len(plan.requests)

    async def test_another_parcel_of_the_execution_replaces_the_first(self, publisher: Publisher) -> None:
        await self.upload(publisher, self.content)
        other = self.content[::-1]
        place = await self.upload(publisher, other)
        published = await publisher.finalise(parcel(other), place)
        assert await self.read(publisher, "e-1", published) == other

    async def test_what_was_aborted_is_gone(self, publisher: Publisher) -> None:
        place = await self.upload(publisher, self.content)
        for _ in range(2):
            await publisher.abort("e-1")
        await raises(StagedGone, publisher.finalise(parcel(self.content), place))
        await raises(UploadUnknown, publisher.stage(parcel(self.content)))

    async def test_aborting_never_touches_what_is_final(self, publisher: Publisher) -> None:
        published = await publisher.finalise(parcel(self.content), await self.upload(publisher, self.content))
        await publisher.abort("e-1")
        assert await self.read(publisher, "e-1", published) == self.content

    async def test_a_portion_is_taken_unseen_and_seen_once_it_is_final(self, publisher: Publisher) -> None:
        if not publisher.takes_portions:
            return
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.content)
            file.flush()
            for _ in range(2):
                place = await publisher.take(parcel(self.content), Path(file.name), self.params)
        published = await publisher.finalise(parcel(self.content), place)
        assert await self.read(publisher, "e-1", published) == self.content

    async def test_a_portion_that_was_aborted_is_gone(self, publisher: Publisher) -> None:
        if not publisher.takes_portions:
            return
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.content)
            file.flush()
            place = await publisher.take(parcel(self.content), Path(file.name), self.params)
            await publisher.abort("e-1")
        await raises(StagedGone, publisher.finalise(parcel(self.content), place))

    async def test_what_is_final_can_be_read_from_any_byte(self, publisher: Publisher) -> None:
        published = await publisher.finalise(parcel(self.content), await self.upload(publisher, self.content))
        if published is None:
            return  # it is in the process's own store
        async with publisher.read("e-1", published.params, first=1_000_000) as found:
            assert b"".join([piece async for piece in found]) == self.content[1_000_000:]

    async def plan(self, publisher: Publisher, content: bytes, headers: Mapping[str, str] | None = None) -> UploadPlan:
        """Ask for a plan as a node does: once more with the digests of pieces where they are asked for."""
        wanted = parcel(content)
        plan = await publisher.plan(wanted, headers or {}, params=self.params)
        if plan.piece_bytes:
            wanted = in_pieces(wanted, content, plan.piece_bytes)
            plan = await publisher.plan(wanted, headers or {}, params=self.params)
        return plan

    async def upload(self, publisher: Publisher, content: bytes) -> str:
        """Plan, send and stage; returns the place."""
        await self.carry(publisher, await self.plan(publisher, content), content)
        return await publisher.stage(parcel(content))

    async def carry(self, publisher: Publisher, plan: UploadPlan, content: bytes, some: int | None = None) -> None:
        """Carry a plan out, or its first `some` requests."""
        for request in plan.requests[:some]:
            await self.send(publisher, request, content[request.first : request.first + request.size])


def in_pieces(parcel: Parcel, content: bytes, size: int) -> Parcel:
    """Return a parcel with the digests of its pieces."""
    found = (content[first : first + size] for first in range(0, len(content), size))
    digests = tuple(base64.b64encode(hashlib.sha256(each).digest()).decode() for each in found)
    return parcel.model_copy(update={"piece_bytes": size, "pieces": digests})


def parcel(content: bytes, execution_id: str = "e-1") -> Parcel:
    """Return what announces `content`."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Parcel(execution_id=execution_id, digest=digest, size=len(content))


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Yield data as a connection brings it."""
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


async def raises(kind: type[PublishError], step: Awaitable[object]) -> None:
    """Fail unless a step ends with this error."""
    try:
        await step
    except kind as error:
        assert error.message  # noqa: PT017 - suites do without pytest
    else:
        raise AssertionError(f"no {kind.__name__}")
