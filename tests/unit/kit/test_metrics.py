"""Figures are told as Prometheus reads them, and however many labels come, series stay few."""

import math

from skrei_kit.metrics import MOST_SERIES, Figure, Figures, Sample, gauges, lines, number, process_figures


def test_a_counter_and_a_histogram_are_told_in_the_text_format() -> None:
    figures = Figures()
    ended = figures.counter("skrei_jobs_ended_total", "Jobs that ended.", ("state",))
    took = figures.histogram("skrei_commit_seconds", "How long commits took.", (0.1, 1.0))
    ended.add(1, "Completed")
    ended.add(2, "Failed")
    for seconds in (0.05, 0.1, 0.5, 7.0):
        took.add(seconds)
    assert figures.text().splitlines() == [
        "# HELP skrei_jobs_ended_total Jobs that ended.",
        "# TYPE skrei_jobs_ended_total counter",
        'skrei_jobs_ended_total{state="Completed"} 1',
        'skrei_jobs_ended_total{state="Failed"} 2',
        "# HELP skrei_commit_seconds How long commits took.",
        "# TYPE skrei_commit_seconds histogram",
        'skrei_commit_seconds_bucket{le="0.1"} 2',
        'skrei_commit_seconds_bucket{le="1"} 3',
        'skrei_commit_seconds_bucket{le="+Inf"} 4',
        "skrei_commit_seconds_sum 7.65",
        "skrei_commit_seconds_count 4",
    ]


def test_a_counter_without_labels_is_there_before_anything_was_counted() -> None:
    figures = Figures()
    figures.counter("skrei_takeovers_total", "Takeovers.")
    assert "skrei_takeovers_total 0\n" in figures.text()


def test_series_beyond_the_most_are_counted_together() -> None:
    counter = Figures().counter("skrei_x_total", "Any.", ("word",))
    for count in range(MOST_SERIES + 50):
        counter.add(1, f"w{count}")
    samples = counter.figure().samples
    assert len(samples) == MOST_SERIES + 1
    assert counter.value("other") == 50
    counter.add(1, "w3")
    assert counter.value("w3") == 2


def test_labels_cannot_break_out_of_their_quotes() -> None:
    hostile = 'a"} 1\nfake 2 \\'
    told = "".join(lines([gauges("skrei_x", "Any\nthing.", "name", {hostile: 1})])).splitlines()
    assert told == [
        "# HELP skrei_x Any\\nthing.",
        "# TYPE skrei_x gauge",
        'skrei_x{name="a\\"} 1\\nfake 2 \\\\"} 1',
    ]


def test_numbers_are_written_as_prometheus_reads_them() -> None:
    assert [number(value) for value in (1, 0.25, math.inf, -math.inf, math.nan, 2**40, 1e20)] == [
        "1",
        "0.25",
        "+Inf",
        "-Inf",
        "NaN",
        "1099511627776",
        "1e+20",
    ]


def test_what_is_read_is_asked_each_time() -> None:
    figures, seen = Figures(), iter((1.0, 2.0))
    figures.read(lambda: [Figure("skrei_now", "gauge", "Now.", (Sample(next(seen)),))])
    assert [next(iter(figures.now())).samples[0].value for _ in range(2)] == [1.0, 2.0]


def test_a_process_tells_which_it_is_and_what_it_holds() -> None:
    figures = Figures()
    figures.read(process_figures("scheduler", "1.2.3"))
    found = {figure.name: figure.samples[0] for figure in figures.now()}
    assert found["skrei_build_info"].labels == (("service", "scheduler"), ("version", "1.2.3"))
    assert found["process_resident_memory_bytes"].value > 1_000_000
    assert found["process_open_fds"].value >= 3
