import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from skrei_domain.messages import PublisherCommand, PublisherFact, ResultHeld
from skrei_publisher.retention import Retention
from skrei_publisher.shelf import Item
from skrei_publisher.source import SourceAway
from skrei_publisher.store import ResultStore, digest_of
from skrei_publisher.worker import Worker

DAY = 86400.0


class Record:
    """The record's copies of inline results, as the API shows them."""

    def __init__(self, **results: bytes) -> None:
        self.results = results
        self.asked: list[str] = []
        self.away = False

    async def fetch_many(self, execution_ids: Sequence[str]) -> dict[str, bytes]:
        self.asked += execution_ids
        if self.away:
            raise SourceAway("The API answered 503.")
        held = {each: self.results.get(each.replace("-", "_")) for each in execution_ids}
        return {each: content for each, content in held.items() if content is not None}


class Bench:
    """A worker over a real store, with everything that it told."""

    def __init__(
        self, root: Path, record: Record, *, batch: int = 10, most_pending: int = 100, quota: int = 1000
    ) -> None:
        self.told: list[PublisherFact] = []
        self.now = 0.0
        self.store = ResultStore(root)
        self.store.open()
        self.retention = Retention(
            self.store, keep=timedelta(days=7), quota_bytes=quota, dropped=self.dropped, now=lambda: self.now
        )
        self.dropped_logs: list[str] = []
        self.copies: list[str] = []
        self.worker = Worker(
            self.store,
            record,
            self.retention,
            tell=self.tell,
            batch=batch,
            most_pending=most_pending,
            drop_logs=self.drop_logs,
            make_room=self.make_room,
        )

    async def tell(self, fact: PublisherFact) -> None:
        self.told.append(fact)

    def make_room(self, _: int) -> bool:
        self.store.drop(self.copies)
        return bool(self.copies)

    async def drop_logs(self, ids: Sequence[str]) -> None:
        self.dropped_logs += ids

    async def dropped(self, ids: Sequence[str]) -> None:
        await self.tell(PublisherFact(dropped=tuple(ids)))

    async def do(self, command: PublisherCommand) -> PublisherFact:
        self.told.clear()
        self.worker.accept(command)
        await self.worker.run_once()
        return self.told[-1] if self.told else PublisherFact()


def held(name: str, content: bytes) -> ResultHeld:
    return ResultHeld(
        execution_id=name, digest=digest_of(content), size=len(content), expires_at=datetime(2026, 1, 1, tzinfo=UTC)
    )


def take(*wanted: ResultHeld) -> PublisherCommand:
    return PublisherCommand(take=wanted)


@pytest.fixture
def record() -> Record:
    return Record(e_1=b"one", e_2=b"two")


@pytest.fixture
def bench(tmp_path: Path, record: Record) -> Iterator[Bench]:
    bench = Bench(tmp_path, record)
    yield bench
    bench.store.close()


async def test_results_are_taken_over_in_bulk_and_told_by_digest(bench: Bench) -> None:
    fact = await bench.do(take(held("e-1", b"one"), held("e-2", b"two")))
    assert set(fact.stored) == {("e-1", digest_of(b"one")), ("e-2", digest_of(b"two"))}
    assert bench.store.holds("e-1", digest_of(b"one"))


async def test_a_repeated_command_is_answered_again_without_asking_the_record(bench: Bench, record: Record) -> None:
    first = await bench.do(take(held("e-1", b"one")))
    record.results.clear()
    assert await bench.do(take(held("e-1", b"one"))) == first
    assert record.asked == ["e-1"]


async def test_what_cannot_be_fetched_is_not_told_and_the_others_are(bench: Bench) -> None:
    fact = await bench.do(take(held("e-9", b"gone"), held("e-1", b"one")))
    assert [name for name, _ in fact.stored] == ["e-1"]


async def test_copies_make_room_for_what_the_record_holds(bench: Bench, record: Record) -> None:
    record.results["e_3"] = copy = b"c" * 999
    assert (await bench.do(take(held("e-3", copy)))).stored
    assert await bench.do(take(held("e-1", b"one"))) == PublisherFact(), "the store is full"
    bench.copies = ["e-3"]
    assert (await bench.do(take(held("e-1", b"one")))).stored


async def test_logs_are_dropped_as_the_leader_says_and_nobody_waits_for_that(bench: Bench) -> None:
    assert await bench.do(PublisherCommand(drop_logs=("e-1", "e-2"))) == PublisherFact()
    assert bench.dropped_logs == ["e-1", "e-2"]
    assert bench.worker.pending == 0


async def test_without_a_bound_of_its_own_the_publisher_drops_nothing_by_age(bench: Bench) -> None:
    await bench.do(take(held("e-1", b"one")))
    bench.now = 1e12
    unbound = Retention(bench.store, keep=timedelta(), quota_bytes=10**9, dropped=bench.dropped, now=lambda: bench.now)
    assert await unbound.run_once() == 0
    assert await bench.retention.run_once() == 1


async def test_bytes_that_are_not_the_digest_are_never_stored(bench: Bench, record: Record) -> None:
    record.results["e_1"] = b"tampered"
    assert await bench.do(take(held("e-1", b"one"))) == PublisherFact()
    assert bench.store.find("e-1") is None


async def test_an_api_that_is_away_leaves_everything_to_the_next_command(bench: Bench, record: Record) -> None:
    record.away = True
    assert await bench.do(take(held("e-1", b"one"))) == PublisherFact()
    record.away = False
    assert (await bench.do(take(held("e-1", b"one")))).stored


async def test_a_damaged_result_is_fetched_anew(bench: Bench) -> None:
    bench.store.put([Item("e-1", digest_of(b"one"), b"one")])
    with closing(sqlite3.connect(bench.store.root / "small.db")) as other, other:
        other.execute("UPDATE results SET content = ?", (b"xne",))
    assert (await bench.do(take(held("e-1", b"one")))).stored
    assert bench.store.holds("e-1", digest_of(b"one"))


async def test_a_drop_is_done_once_and_told_every_time(bench: Bench) -> None:
    await bench.do(take(held("e-1", b"one")))
    for _ in range(2):
        assert (await bench.do(PublisherCommand(drop=("e-1",)))).dropped == ("e-1",)
    assert bench.store.find("e-1") is None


async def test_the_later_word_on_an_execution_counts(bench: Bench) -> None:
    bench.worker.accept(take(held("e-1", b"one")))
    assert (await bench.do(PublisherCommand(drop=("e-1",)))).stored == ()


async def test_a_full_store_takes_nothing_and_drops_nothing(tmp_path: Path, record: Record) -> None:
    bench = Bench(tmp_path, record, quota=3)
    assert (await bench.do(take(held("e-1", b"one")))).stored
    assert await bench.do(take(held("e-2", b"two"))) == PublisherFact()
    assert bench.store.find("e-1")
    bench.store.close()


async def test_a_disk_that_refuses_is_no_end_of_the_service(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.store._shelf, "put", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert await bench.do(take(held("e-1", b"one"))) == PublisherFact()


async def test_what_waits_is_bounded_and_the_rest_is_left_to_the_sweep(tmp_path: Path, record: Record) -> None:
    bench = Bench(tmp_path, record, most_pending=1)
    bench.worker.accept(take(held("e-1", b"one"), held("e-2", b"two")))
    assert (bench.worker.pending, bench.worker.left_out) == (1, 1)
    bench.store.close()


async def test_a_long_command_is_carried_out_in_batches(tmp_path: Path) -> None:
    record = Record(**{f"e_{n}": b"x" for n in range(5)})
    bench = Bench(tmp_path, record, batch=2)
    bench.worker.accept(take(*(held(f"e-{n}", b"x") for n in range(5))))
    while bench.worker.pending:
        await bench.worker.run_once()
    assert [len(fact.stored) for fact in bench.told] == [2, 2, 1]
    bench.store.close()


async def test_a_result_goes_when_its_time_is_over_and_the_leader_is_told(bench: Bench) -> None:
    await bench.do(take(held("e-1", b"one")))
    ((_, _, stored_at),) = bench.store.entries()
    bench.now = stored_at + 6 * DAY
    assert await bench.retention.run_once() == 0
    bench.now = stored_at + 8 * DAY
    assert await bench.retention.run_once() == 1
    assert bench.told[-1].dropped == ("e-1",)
    assert bench.store.find("e-1") is None
