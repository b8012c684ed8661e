"""Spans reach a real collector, in its own words, and nobody ever waits for that."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from skrei_domain.errors import Invalid
from skrei_embedded.nats import free_port
from skrei_kit import otlp, tracing
from skrei_kit.metrics import Figures
from skrei_kit.otlp import Exporter
from skrei_kit.settings import load
from skrei_kit.traced import TracedSettings, exporting, read_headers
from skrei_kit.tracing import Context, Span, id_of, of_job, of_trace
from tests.support.otlp_receiver import Collector, collecting, read

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def a_span(name: str = "run", **more: object) -> Span:
    context = Context(TRACE, id_of(name))
    return Span(name, context, "", NOW, NOW + timedelta(seconds=2), resource=(("service.name", "x"),), **more)  # type: ignore[arg-type]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(otlp, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(otlp, "AGAIN_SECONDS", 0.01)
    with collecting() as found:
        yield found


@asynccontextmanager
async def sending(url: str, figures: Figures, **headers: str) -> AsyncIterator[Exporter]:
    exporter = Exporter(url, headers, figures)
    async with exporting(exporter):
        yield exporter


async def until(found: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not found():  # noqa: ASYNC110 - a thread of its own has no event for this loop
            await asyncio.sleep(0.01)


def counted(figures: Figures, name: str) -> float:
    return sum(sample.value for figure in figures.now() if figure.name == name for sample in figure.samples)


def test_a_context_is_read_and_written_as_others_do() -> None:
    given = f"00-{TRACE}-b7ad6b7169203331-01"
    assert tracing.read(given) == Context(TRACE, "b7ad6b7169203331", sampled=True)
    assert tracing.read(given).header == given  # type: ignore[union-attr]
    assert tracing.read(given[:-2] + "00") == Context(TRACE, "b7ad6b7169203331", sampled=False)
    for bad in ("", given.upper(), given + "0", given.replace(TRACE, "0" * 32), "01" + given[2:]):
        assert tracing.read(bad) is None


def test_a_job_without_a_context_has_a_trace_of_its_own_that_everybody_finds() -> None:
    job = "j-0af76519-16cd-43dd-8448-eb211c80319c"
    assert of_job("", job, 1.0) == Context(TRACE, "", sampled=True)
    assert len(of_job("", "j-odd", 1.0).trace_id) == 32
    assert not of_job("", job, 0.0).sampled
    sampled = sum(of_trace(f"{number * 42_949_672:08x}{'0' * 24}", 0.25).sampled for number in range(100))
    assert sampled == 26


def test_spans_are_told_in_the_words_of_the_specification() -> None:
    told: dict[str, tracing.Value] = {"text": "a", "number": 7, "part": 0.5, "yes": True}
    found = read(json.loads(tracing.otlp([a_span(attributes=told, error="exit code 3"), a_span("other")])))
    assert [span.name for span in found] == ["run", "other"]
    assert found[0].attributes == told
    assert (found[0].failed, found[1].failed) == ("exit code 3", None)
    assert found[0].began == 1767323045678901000
    assert found[0].ended - found[0].began == 2_000_000_000


def test_a_clock_that_went_back_makes_a_span_without_length() -> None:
    span = Span("x", Context(TRACE, id_of("x")), "", NOW, NOW - timedelta(hours=1), resource=(("service.name", "x"),))
    (found,) = read(json.loads(tracing.otlp([span])))
    assert found.began == found.ended


async def test_spans_reach_a_collector_with_the_headers_that_it_wants(collector: Collector) -> None:
    figures = Figures()
    async with sending(collector.url, figures, authorization="Bearer x") as exporter:
        exporter.add(a_span(f"s{number}") for number in range(1_300))
        await until(lambda: counted(figures, "skrei_spans_sent_total") == 1_300)
    assert len(collector.spans) == 1_300
    assert len(collector.headers) == 3
    assert collector.headers[0]["authorization"] == "Bearer x"
    assert collector.problems == []


async def test_what_a_collector_does_not_take_now_is_sent_again_and_what_it_refuses_is_counted(
    collector: Collector,
) -> None:
    figures = Figures()
    collector.answers = [503, 429, 200, 400]
    async with sending(collector.url, figures) as exporter:
        exporter.add([a_span("first")])
        await until(lambda: counted(figures, "skrei_spans_sent_total") == 1)
        exporter.add([a_span("refused")])
        await until(lambda: counted(figures, "skrei_spans_dropped_total"))
        exporter.add([a_span("last")])
        await until(lambda: counted(figures, "skrei_spans_sent_total") == 2)
    assert [span.name for span in collector.spans] == ["first", "last"]


async def test_what_is_left_is_sent_when_the_service_stops(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "GATHER_SECONDS", 1_000.0)
    async with sending(collector.url, Figures()) as exporter:
        exporter.add([a_span()])
        await asyncio.sleep(0)
    assert [span.name for span in collector.spans] == ["run"]


async def test_without_a_collector_the_queue_ends_and_so_does_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "QUEUED_SPANS", 10)
    monkeypatch.setattr(otlp, "GATHER_SECONDS", 0.0)
    figures = Figures()
    async with asyncio.timeout(20), sending(f"http://127.0.0.1:{free_port()}", figures) as exporter:
        exporter.add(a_span(f"s{number}") for number in range(30))
        assert counted(figures, "skrei_spans_waiting") == 10
    assert counted(figures, "skrei_spans_dropped_total") == 20


def test_settings_say_where_and_nothing_is_made_without() -> None:
    assert load(TracedSettings).exporter(Figures()) is None
    assert load(TracedSettings, otlp_endpoint="https://x/otlp").exporter(Figures()) is not None
    for wrong in ({"otlp_endpoint": "collector:4318"}, {"otlp_headers": "novalue"}, {"trace_share": 2}):
        with pytest.raises(Invalid, match=f"SKREI_{next(iter(wrong)).upper()}"):
            load(TracedSettings, **wrong)
    assert read_headers("authorization=Bearer a=b, x-y=1") == {"authorization": "Bearer a=b", "x-y": "1"}
