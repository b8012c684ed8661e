"""Publishers beside the store: found by name, handed what has won, told of once; a slow one holds nobody else up."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from skrei_compute_agent.upload_errors import PublishFailed
from skrei_compute_agent.uploader import Uploader
from skrei_domain.bounds import MOST_TEXT
from skrei_domain.job_reading import FieldProblem
from skrei_domain.messages import (
    PublishedAt,
    PublisherCommand,
    PublisherFact,
    PublishRefused,
    PublishWaits,
    StagedResult,
)
from skrei_domain.uploads import Parcel
from skrei_kit.tokens import Elsewhere, TokenSigner
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo, param
from skrei_plugin_api.publisher import DestinationAway, Forwarder, PublishDenied, Published
from skrei_plugin_api.testing import parcel
from skrei_plugin_api.upload_staging import StagingLimits
from skrei_publisher import destinations
from skrei_publisher.control_door import ControlDoor, Wanted
from skrei_publisher.destinations import FORWARD, Destinations, NoSuchPublisher
from skrei_publisher.done import Done, free_copies
from skrei_publisher.finaliser import End, Final, Finaliser, facts_of
from skrei_publisher.needed import Needed
from skrei_publisher.retention import Retention
from skrei_publisher.source import SourceAway
from skrei_publisher.turns import AT_ONCE
from skrei_publisher.worker import Worker
from tests.support.publisher_door import Door, a_door

CONTENT = b"a result" * 1_000
LEFT: Params = {"Where": "left"}


class Shelf(Forwarder):
    """Brings results into a folder."""

    plugin_api, name, version = PLUGIN_API, "shelf", "1"

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self.brought: list[str] = []
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.works = True
        self.fault: Exception | None = None
        self.described = 0
        self.packs_again = False

    def repacks(self, params: Params) -> bool:
        return self.packs_again

    async def describe(self) -> PluginInfo:
        self.described += 1
        return PluginInfo(available=self.works, reason="" if self.works else "nobody set it up")

    def validate(self, params: Params) -> list[FieldProblem]:
        return [] if param(params, "Where") else [FieldProblem("Where", "nothing", "a name")]

    def at(self, params: Params) -> str:
        return f"the shelf {param(params, 'Where')}"

    async def reach(self, params: Params) -> None:
        if param(params, "Where") == "nowhere":
            raise PublishDenied("there is no shelf nowhere")

    async def forward(self, parcel: Parcel, content: Path, params: Params) -> Published:
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        if self.away:
            raise DestinationAway("the shelf is away")
        if param(params, "Where") == "full":
            raise PublishDenied("the shelf is full")
        assert await asyncio.to_thread(content.read_bytes) == CONTENT
        self.brought.append(parcel.execution_id)
        return Published({"Where": param(params, "Where"), "Digest": parcel.digest})

    @asynccontextmanager
    async def read(self, execution_id: str, params: Params, *, first: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield CONTENT[first:]

        yield pieces()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(PluginContext(tmp_path / "shelf"))


@pytest.fixture
async def door(tmp_path: Path, shelf: Shelf) -> AsyncIterator[Door]:
    limits = StagingLimits(
        2 * len(CONTENT), uploads=8, open_seconds=100.0, staged_seconds=100.0, node_share_percent=100
    )
    async with a_door(tmp_path / "store", limits, shelf=shelf) as made:
        yield made


async def upload(
    door: Door, name: str = "e-1", *, counts: bool = True, to: str = "shelf", params: Params = LEFT
) -> StagedResult:
    """Bring CONTENT there; returns what its receipt says."""
    path = door.root / f"packed-{name}"
    path.write_bytes(CONTENT)
    uploader = Uploader()
    uploader.door(door.url)
    wanted = parcel(CONTENT, name).model_copy(update={"counts": counts})
    receipt = door.read(await uploader.upload(path, wanted, door.token(name, to=to, params=params)))
    return StagedResult(
        execution_id=name,
        digest=receipt.digest,
        size=receipt.size,
        publisher=receipt.publisher,
        place=receipt.place,
        destination=receipt.destination,
    )


def a_finaliser(door: Door) -> Finaliser:
    return Finaliser(door.destinations, Done(door.root / "done"))


async def told_of(door: Door, *wanted: tuple[StagedResult, bool]) -> PublisherFact | None:
    """What the leader is told once these, each with whether it counts, were brought to their ends side by side."""
    finaliser = a_finaliser(door)
    return next(facts_of(await asyncio.gather(*(finaliser.one(staged, counts) for staged, counts in wanted))), None)


async def test_what_has_won_is_handed_over_and_told_with_its_place(door: Door, shelf: Shelf) -> None:
    staged = await upload(door)
    assert (staged.publisher, staged.place) == ("shelf", FORWARD + '{"Where":"left"}')
    assert shelf.brought == []
    fact = await told_of(door, (staged, True))
    at = PublishedAt(execution_id="e-1", type="shelf", params={"Where": "left", "Digest": staged.digest})
    assert fact == PublisherFact(finalised=(("e-1", staged.digest),), published=(at,))


async def test_a_leader_that_did_not_hear_is_told_the_same_and_nothing_is_brought_twice(
    door: Door, shelf: Shelf
) -> None:
    staged = await upload(door)
    assert await told_of(door, (staged, True)) == await told_of(door, (staged, True))
    assert shelf.brought == ["e-1"]


async def test_what_failed_for_now_is_tried_again(door: Door, shelf: Shelf) -> None:
    staged, shelf.away = await upload(door), True
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert [each.reason for each in fact.waits] == ["the shelf left: the shelf is away"]
    assert fact.finalised == fact.refused == ()
    shelf.away = False
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert fact.published


async def test_what_a_plugin_breaks_by_is_tried_again_and_ends_nobody(door: Door, shelf: Shelf) -> None:
    staged, quick = await upload(door), await upload(door, "e-2", to="store", params={})
    shelf.fault = RuntimeError("a bug of somebody else's")
    fact = await told_of(door, (staged, True), (quick, True))
    assert fact is not None
    assert [name for name, _ in fact.finalised] == ["e-2"]
    shelf.fault = None
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert fact.published


async def test_a_plugin_that_does_not_work_for_now_loses_nothing_that_it_took(door: Door, shelf: Shelf) -> None:
    staged, beaten = await upload(door), await upload(door, "e-2")
    shelf.works = False
    door.destinations._worked.clear()  # another process
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert "'shelf' does not work here: nobody set it up" in fact.waits[0].reason
    fact = await told_of(door, (beaten, False))
    assert fact is not None
    assert [name for name, _ in fact.finalised] == ["e-2"]
    shelf.works = True
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert fact.published


async def test_what_the_leader_asks_for_is_kept_however_long_a_destination_is_away(door: Door, shelf: Shelf) -> None:
    staged, shelf.works = await upload(door), False
    door.destinations._worked.clear()
    os.utime(door.root / "staged" / "e-1", (0, 0))
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert fact.waits
    assert door.publisher.staging.tidy() == []


async def test_a_plugin_that_has_worked_is_away_and_not_unknown(door: Door, shelf: Shelf) -> None:
    await door.destinations.find("shelf")
    shelf.works = False
    with pytest.raises(DestinationAway, match="'shelf' does not work here now: nobody set it up"):
        await door.destinations.find("shelf")


async def test_a_bucket_of_the_owner_that_does_not_work_is_not_the_store(door: Door, shelf: Shelf) -> None:
    shelf.works = False
    context = PluginContext(door.root / "plugins", options={"s3managed_bucket": "results"})
    with pytest.raises(NoSuchPublisher, match="nobody set it up"):
        await Destinations(door.publisher, context, made={"s3managed": shelf}).find("s3managed")


async def test_a_refusal_is_no_longer_than_the_leader_hears(door: Door, shelf: Shelf) -> None:
    staged, shelf.fault = await upload(door), PublishDenied("no" * MOST_TEXT)
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert [len(each.problem.message) for each in fact.refused] == [MOST_TEXT]


async def test_a_process_that_ended_before_it_kept_its_copy_keeps_it_later(door: Door, shelf: Shelf) -> None:
    staged = await upload(door)
    Done(door.root / "done").note(parcel(CONTENT, "e-1"), Published({"Where": "left"}))
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert fact.published == (PublishedAt(execution_id="e-1", type="shelf", params={"Where": "left"}),)
    assert door.publisher.staging.held_bytes == 0
    assert door.publisher.store.find("e-1") is not None
    assert shelf.brought == []


async def test_params_that_no_leader_takes_are_refused_before_anything_is_sent(door: Door) -> None:
    long = {"Where": "x" * 4_096}
    assert [each.path for each in await door.destinations.check("shelf", long)] == ["Params"]
    with pytest.raises(PublishFailed, match=r"Publisher\.Params: 4,108 characters; allowed: at most 4,088 as JSON"):
        await upload(door, params=long)
    assert door.parts() == 0


async def test_a_plugin_that_cannot_tidy_holds_up_no_other(door: Door, shelf: Shelf, tmp_path: Path) -> None:
    tidied: list[float] = []

    class Other(Shelf):
        async def tidy(self, *, older_than_seconds: float) -> None:
            tidied.append(older_than_seconds)

    class Broken(Shelf):
        async def tidy(self, *, older_than_seconds: float) -> None:
            raise RuntimeError("a bug of somebody else's")

    made = {"broken": Broken(PluginContext(tmp_path / "b")), "other": Other(PluginContext(tmp_path / "o"))}
    await Destinations(door.publisher, PluginContext(tmp_path), made=made).tidy(9.0)
    assert tidied == [9.0]


async def test_many_addresses_ask_a_plugin_once_whether_it_works(door: Door, shelf: Shelf) -> None:
    control = ControlDoor(door.destinations, "secret")
    wanted = [Wanted(execution_id=f"e-{number}", publisher="shelf") for number in range(20)]
    assert await control.addresses([*wanted, Wanted(execution_id="e-x", publisher="moon")]) == [""] * 21
    assert shelf.described == 1


async def test_a_final_no_withdraws_the_winner_and_leaves_nothing(door: Door) -> None:
    staged = await upload(door, params={"Where": "full"})
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert [(each.problem.code, each.problem.message) for each in fact.refused] == [
        ("publish-failed", "the shelf is full")
    ]
    assert door.publisher.staging.held_bytes == door.publisher.store.used_bytes == 0


async def test_what_never_counts_is_kept_in_the_store_and_not_handed_over(door: Door, shelf: Shelf) -> None:
    beaten = await upload(door)
    failed = await upload(door, "e-2", counts=False)
    assert (failed.publisher, failed.place) == ("store", "store")
    fact = await told_of(door, (beaten, False), (failed, False))
    assert fact is not None
    assert {name for name, _ in fact.finalised} == {"e-1", "e-2"}
    assert (fact.published, shelf.brought) == ((), [])
    assert door.publisher.store.find("e-1") == door.publisher.store.path("e-1")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"params": {"Where": "nowhere"}}, "there is no shelf nowhere"),
        ({"params": {}}, "Publisher.Params.Where: nothing; allowed: a name"),
        ({"to": "moon"}, "there is no publisher 'moon'; there are"),
    ],
)
async def test_a_destination_that_leads_nowhere_is_told_before_anything_is_sent(
    door: Door, given: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(PublishFailed, match="the publisher refuses the result") as raised:
        await upload(door, **given)
    assert said in raised.value.message
    assert door.parts() == 0


@pytest.mark.row("6.2/s3managed")
async def test_a_publisher_that_is_not_set_up_is_named_with_the_reason_but_a_managed_one_is_the_store(
    door: Door, shelf: Shelf
) -> None:
    shelf.works = False
    with pytest.raises(PublishFailed, match="'shelf' does not work here: nobody set it up"):
        await upload(door)
    door.destinations._made["s3managed"] = shelf
    assert (await upload(door, "e-2", to="s3managed", params={})).publisher == "store"


async def test_a_copy_is_read_at_the_door_and_goes_first_when_room_is_needed(door: Door) -> None:
    done = Done(door.root / "done")
    door.publisher.make_room = lambda size: free_copies(door.publisher.store, done, size)
    for name in ("e-1", "e-2"):
        await told_of(door, (await upload(door, name), True))
    assert door.publisher.store.used_bytes == 2 * len(CONTENT)
    await upload(door, "e-3")
    assert [door.publisher.store.find(name) is None for name in ("e-1", "e-2")] == [True, False]


async def test_a_copy_that_a_job_may_still_read_makes_no_room_nor_one_of_which_nobody_knows(door: Door) -> None:
    store, done, asked = door.publisher.store, Done(door.root / "done"), []
    for name in ("e-1", "e-2"):
        await told_of(door, (await upload(door, name), True))

    class Api:
        away = False

        async def needed(self, results: Sequence[str], manifests: Sequence[str]) -> frozenset[str]:
            asked.append((list(results), list(manifests)))
            if self.away:
                raise SourceAway("the API does not answer")
            return frozenset({"e-1"})

    api = Api()
    needed = Needed(api, seconds=5.0)
    api.away = True
    assert not await asyncio.to_thread(free_copies, store, done, 1 << 30, needed=needed.results)
    api.away = False
    assert await asyncio.to_thread(free_copies, store, done, 1 << 30, needed=needed.results)
    assert [store.find(name) is None for name in ("e-1", "e-2")] == [False, True]
    assert asked[0] == (["e-1", "e-2"], [])
    assert await asyncio.to_thread(needed.manifests, ["sha256:a"]) == {"e-1"}
    assert asked[-1] == ([], ["sha256:a"])


async def test_a_copy_can_make_room_however_old_it_is(door: Door) -> None:
    done, store = Done(door.root / "done"), door.publisher.store
    for name in ("e-1", "e-2"):
        await told_of(door, (await upload(door, name), True))
    store.drop(["e-1"])
    done.tidy(-60, store)
    assert done.oldest() == ["e-2"], "of the other there is no copy"
    assert free_copies(store, done, 1)
    assert store.used_bytes == 0
    done.tidy(-60, store)
    assert done.oldest() == []


async def test_what_lies_elsewhere_is_read_through_the_door_from_where_the_reader_has_it(door: Door) -> None:
    at = Elsewhere("shelf", {"Where": "left"}, len(CONTENT))
    token = TokenSigner(door.keys[0]).download("e-9", seconds=60, at=at)
    url = f"{door.url}/results/e-9.tar.gz"
    async with aiohttp.ClientSession() as session:
        async with session.get(url, params={"token": token}) as response:
            assert (response.status, await response.read()) == (200, CONTENT)
        async with session.get(url, params={"token": token}, headers={"Range": "bytes=5000-"}) as response:
            assert response.headers["Content-Range"] == f"bytes 5000-{len(CONTENT) - 1}/{len(CONTENT)}"
            assert (response.status, await response.read()) == (206, CONTENT[5000:])
        async with session.head(url, params={"token": token}) as response:
            assert response.headers["Content-Length"] == str(len(CONTENT))


async def test_what_is_packed_again_promises_no_length_and_goes_on_where_it_was_cut(door: Door, shelf: Shelf) -> None:
    shelf.packs_again = True
    token = TokenSigner(door.keys[0]).download("e-9", seconds=60, at=Elsewhere("shelf", {}, len(CONTENT) - 100))
    url = f"{door.url}/results/e-9.tar.gz"
    async with aiohttp.ClientSession() as session:
        async with session.get(url, params={"token": token}) as response:
            assert (response.content_length, response.headers["X-Skrei-Path"]) == (None, "")
            assert await response.read() == CONTENT
        async with session.get(url, params={"token": token}, headers={"Range": "bytes=5000-"}) as response:
            assert response.headers["Content-Range"].startswith("bytes 5000-")
            assert (response.status, await response.read()) == (206, CONTENT[5000:])


def a_worker(door: Door, finaliser: Finaliser, told: list[PublisherFact]) -> Worker:
    async def tell(fact: PublisherFact) -> None:
        told.append(fact)

    async def dropped(_: object) -> None:
        raise AssertionError("nothing is dropped")

    store = door.publisher.store
    retention = Retention(store, keep=timedelta(days=7), quota_bytes=1 << 30, dropped=dropped)
    return Worker(
        store,
        None,  # type: ignore[arg-type]  # nothing is taken over here
        retention,
        tell=tell,
        batch=10,
        most_pending=100,
        finaliser=finaliser,
    )


async def test_a_publisher_with_all_hands_full_leaves_the_others_their_turn(door: Door) -> None:
    told: list[PublisherFact] = []
    gate = asyncio.Event()

    class Slow(Finaliser):
        async def one(self, staged: StagedResult, counts: bool) -> Final:
            if staged.publisher == "slow":
                await gate.wait()
            return Final(staged)

    def staged(number: int, publisher: str) -> StagedResult:
        digest = f"sha256:{number:064}"
        return StagedResult(execution_id=f"e-{number}", digest=digest, size=1, publisher=publisher, place="there")

    worker = a_worker(door, Slow(door.destinations), told)
    worker.accept(PublisherCommand(finalise=tuple(staged(number, "slow") for number in range(AT_ONCE + 1))))
    await worker.run_once()
    worker.accept(PublisherCommand(finalise=(staged(99, "quick"),)))
    await worker.run_once()
    assert [name for fact in told for name, _ in fact.finalised] == ["e-99"]
    assert worker.pending == 1, "it waits for its turn"
    gate.set()
    await asyncio.gather(*worker._ending.values())
    await worker.run_once()
    assert worker._work.is_set(), "there is room for the one that waits"
    await worker.run_once()
    assert len([name for fact in told for name, _ in fact.finalised]) == AT_ONCE + 2


async def test_a_destination_that_hangs_is_told_to_leave_off_and_tried_again(door: Door, shelf: Shelf) -> None:
    staged = await upload(door)
    shelf.gate.clear()
    end = await Finaliser(door.destinations, Done(door.root / "done"), seconds=0.02).one(staged, counts=True)
    assert isinstance(end, PublishWaits)
    assert end.reason.startswith("the shelf left: it was not done within 0 s"), end.reason
    assert "SKREI_PUBLISH_SECONDS" in end.reason
    shelf.gate.set()
    fact = await told_of(door, (staged, True))
    assert fact is not None
    assert fact.published


async def test_a_bucket_of_the_owner_is_named_to_nobody_who_waits_for_it(door: Door, shelf: Shelf) -> None:
    staged, shelf.away = await upload(door), True
    door.destinations._made["s3managed"] = shelf
    managed = staged.model_copy(update={"publisher": "s3managed", "destination": "s3managed"})
    end = await a_finaliser(door).one(managed, counts=True)
    assert isinstance(end, PublishWaits)
    assert end.reason == "s3managed: it cannot be brought there now; the publisher's log says why"


async def test_a_bucket_of_the_owner_is_named_to_nobody_whom_it_refuses(door: Door, shelf: Shelf) -> None:
    door.destinations._made["s3managed"] = shelf
    with pytest.raises(PublishFailed) as raised:
        await upload(door, to="s3managed", params={"Where": "nowhere"})
    assert "where this cluster keeps results; the publisher's log says why" in raised.value.message
    assert "shelf" not in raised.value.message + raised.value.hint
    staged = await upload(door, "e-2", params={"Where": "full"})
    end = await a_finaliser(door).one(staged.model_copy(update={"publisher": "s3managed"}), counts=True)
    assert isinstance(end, PublishRefused)
    assert end.problem.message == destinations.MANAGED_REFUSES


async def test_a_plugin_that_hangs_as_it_starts_holds_up_no_other_and_nobody_for_ever(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destinations, "START_SECONDS", 0.02)

    class Hangs(Shelf):
        async def start(self) -> None:
            await asyncio.Event().wait()

    kinds: dict[str, type[Forwarder]] = {"hangs": Hangs, "shelf": Shelf}

    class Registry:
        names = tuple(kinds)

        def load(self, name: str) -> type[Forwarder]:
            return kinds[name]

    registry: Any = Registry()
    all_of_them = Destinations(door.publisher, PluginContext(tmp_path), registry=registry)
    hanging = asyncio.create_task(all_of_them.find("hangs"))
    assert (await all_of_them.find("shelf")).name == "shelf"
    with pytest.raises(DestinationAway, match="the publisher 'hangs' has not answered within"):
        await hanging
    await all_of_them.close()


async def test_what_failed_has_a_pause_before_it_is_tried_again(door: Door, shelf: Shelf) -> None:
    told: list[PublisherFact] = []
    tries: list[str] = []

    class Counting(Finaliser):
        async def one(self, staged: StagedResult, counts: bool) -> End:
            tries.append(staged.execution_id)
            return await super().one(staged, counts)

    worker, staged, shelf.away = a_worker(door, Counting(door.destinations), told), await upload(door), True
    for _ in range(3):
        worker.accept(PublisherCommand(finalise=(staged,)))
        await worker.run_once()
        await asyncio.gather(*worker._ending.values())
        await worker.run_once()
    assert tries == ["e-1"]
    assert [each.execution_id for fact in told for each in fact.waits] == ["e-1"]
    assert worker.pending == 0


async def test_a_slow_destination_holds_nobody_else_up(door: Door, shelf: Shelf) -> None:
    told: list[PublisherFact] = []
    worker = a_worker(door, a_finaliser(door), told)
    shelf.gate.clear()
    slow, quick = await upload(door), await upload(door, "e-2", to="store", params={})
    worker.accept(PublisherCommand(finalise=(slow, quick)))
    await worker.run_once()
    while not told:  # its disk may take longer than a batch is waited for
        await worker._work.wait()
        await worker.run_once()
    assert [fact.finalised for fact in told] == [(("e-2", quick.digest),)]
    worker.accept(PublisherCommand(finalise=(slow,)))
    assert worker.pending == 0, "it is under way"
    shelf.gate.set()
    await asyncio.gather(*worker._ending.values())
    await worker.run_once()
    assert [name for fact in told for name, _ in fact.finalised] == ["e-2", "e-1"]
    assert shelf.brought == ["e-1"]
