"""Figures of one process for Prometheus: counters and histograms kept here, gauges read when somebody asks.

The text format is a page of code, and every process of Skrei holds this: a library for it would cost an edge box more
memory than what it counts (ADR 0043). Series are bounded: whatever would be one too many is counted as `other`.
"""

import bisect
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
"""What the text is."""
MOST_SERIES = 256
"""Of one figure kept here: each is a line of every answer, for ever. Labels are words of ours: none comes near."""
OTHER = "other"
"""What is counted for labels beyond that."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of a histogram's buckets, in seconds: from one statement of the record to what a request may take."""

FDS = Path("/proc/self/fd")

Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One line: labels in their order, and a value; `suffix` is put behind the figure's name."""

    value: float
    labels: Labels = ()
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with what it says now. `kind` is counter, gauge or histogram; names follow Prometheus' conventions."""

    name: str
    kind: str
    text: str
    samples: tuple[Sample, ...] = ()


def gauge(name: str, text: str, value: float) -> Figure:
    """Return a gauge of one value."""
    return Figure(name, "gauge", text, (Sample(value),))


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Figure:
    """Return a gauge with a value for each word of one label."""
    return Figure(name, "gauge", text, tuple(Sample(value, ((label, word),)) for word, value in values.items()))


class Counter:
    """Something that only grows, by its labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.labels = name, text, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, amount: float = 1.0, *words: str) -> None:
        """Count `amount` for these words, one for each label."""
        values = self._values
        if words not in values and len(values) >= MOST_SERIES:
            words = (OTHER,) * len(self.labels)
        values[words] = values.get(words, 0.0) + amount

    def value(self, *words: str) -> float:
        """Return what was counted."""
        return self._values.get(words, 0.0)

    def figure(self) -> Figure:
        """Return what it says now."""
        samples = (Sample(value, tuple(zip(self.labels, words, strict=True))) for words, value in self._values.items())
        return Figure(self.name, "counter", self.text, tuple(samples))


class Histogram:
    """How often something took how long, or was how large."""

    def __init__(self, name: str, text: str, buckets: Sequence[float] = SECONDS) -> None:
        self.name, self.text = name, text
        self._ends = tuple(buckets)
        self._counts = [0] * (len(self._ends) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one."""
        self._counts[bisect.bisect_left(self._ends, value)] += 1
        self._sum += value

    def figure(self) -> Figure:
        """Return what it says now."""
        return Figure(self.name, "histogram", self.text, tuple(self._samples()))

    def _samples(self) -> Iterator[Sample]:
        total = 0
        for end, count in zip((*self._ends, math.inf), self._counts, strict=True):
            total += count
            yield Sample(total, (("le", number(end)),), "_bucket")
        yield Sample(self._sum, (), "_sum")
        yield Sample(total, (), "_count")


Read = Callable[[], Iterable[Figure]]


class Figures:
    """All figures of a process, in the order in which they were named."""

    def __init__(self) -> None:
        self._reads: list[Read] = []

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """Return a new counter; its name ends in `_total`."""
        made = Counter(name, text, labels)
        self._reads.append(lambda: (made.figure(),))
        return made

    def histogram(self, name: str, text: str, buckets: Sequence[float] = SECONDS) -> Histogram:
        """Return a new histogram; its name ends in its unit."""
        made = Histogram(name, text, buckets)
        self._reads.append(lambda: (made.figure(),))
        return made

    def read(self, read: Read) -> None:
        """Ask `read` for figures whenever somebody asks us. It must not wait."""
        self._reads.append(read)

    def now(self) -> Iterator[Figure]:
        """Yield every figure as it is now."""
        for read in self._reads:
            yield from read()

    def text(self) -> str:
        """Return every figure as Prometheus reads it."""
        return "".join(lines(self.now()))


def lines(figures: Iterable[Figure]) -> Iterator[str]:
    """Yield figures, line by line. Pure."""
    for each in figures:
        yield f"# HELP {each.name} {_line(each.text)}\n# TYPE {each.name} {each.kind}\n"
        for value, labels, suffix in each.samples:
            told = ",".join(f'{label}="{_quoted(word)}"' for label, word in labels)
            yield (
                f"{each.name}{suffix}{{{told}}} {number(value)}\n" if told else f"{each.name}{suffix} {number(value)}\n"
            )


def number(value: float) -> str:
    """Return a number as Prometheus writes it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def process_figures(service: str, version: str) -> Read:
    """Return what reads this process's own figures, under the names that every Prometheus client gives them."""
    started = time.time()  # a child of the nursery is born before it is told what to be
    page = os.sysconf("SC_PAGE_SIZE")

    def read() -> Iterator[Figure]:
        yield Figure(
            "skrei_build_info",
            "gauge",
            "Which service this is, and of which version.",
            (Sample(1, (("service", service), ("version", version))),),
        )
        cpu = os.times()
        yield Figure(
            "process_cpu_seconds_total", "counter", "Processor time of this process.", (Sample(cpu.user + cpu.system),)
        )
        yield gauge("process_start_time_seconds", "When it started, in seconds since 1970.", started)
        resident = _words(Path("/proc/self/statm"))
        if resident:
            yield gauge("process_resident_memory_bytes", "Memory that it holds.", int(resident[1]) * page)
            yield gauge("process_open_fds", "Files and sockets that it holds open.", sum(1 for _ in FDS.iterdir()))

    return read


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("ascii", errors="replace").split()
    except OSError:
        return []


def _line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _line(text).replace('"', '\\"')
