"""`make demo` as a newcomer runs it: real processes, from nothing to results and back to nothing."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.demo_runs import LONGEST_SECONDS, a_place, nothing_is_left, start

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def place() -> Iterator[Path]:
    with a_place() as folder:
        yield folder


def results(place: Path) -> Iterator[Path]:
    yield from (place / "demo-results").rglob("words.txt")


def read(out: str) -> dict[str, str]:
    """What each place is told to have read in place."""
    return dict(re.findall(r"^  count +(\w+) .*: (\S+ MB) read in place$", out, re.MULTILINE))


def test_two_demos_side_by_side_each_go_to_their_data_and_leave_nothing_but_results(place: Path) -> None:
    began = time.monotonic()
    with start(place) as first, start(place) as second:
        told = [demo.communicate(timeout=2 * LONGEST_SECONDS) for demo in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], told
    assert time.monotonic() - began < LONGEST_SECONDS
    assert len(list(results(place))) == 2 * 4
    for out, _ in told:
        it_went_to_the_data(out)
    assert nothing_is_left(place)
    assert list(place.glob("skrei-demo-*")) == []


def it_went_to_the_data(out: str) -> None:
    assert read(out) == {"oslo": "24 MB", "lisbon": "20 MB", "ship": "17 MB"}, "each part ran where its books are"
    moved = re.search(r"^read in place 61 MB · moved ([\d.]+) KB$", out, re.MULTILINE)
    assert moved, "what lay there, and what of it travelled"
    assert float(moved[1]) < 100
    assert re.search(r"^  merge .* has room: \S+ KB moved to it, the counts of 3 parts$", out, re.MULTILINE)
    assert re.search(r"^  the +[\d,]+  #+$", out, re.MULTILINE)
    assert "State     = Completed" in out
    assert (
        len(re.findall(r"^  \S.*skrei'? (?:docker run|serve|doctor) .*$", out.split("Try next:")[1], re.MULTILINE)) == 3
    )
