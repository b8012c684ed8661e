"""The last lines of an output, and the end of a flood: the same from the API as from a node."""

import io
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_compute_agent import output_files as agent_logs
from skrei_compute_agent.output_files import begin_of_last
from skrei_domain.errors import Unavailable
from skrei_orchestrator_api import log_pieces
from skrei_orchestrator_api.log_pieces import Piece, capped, last_lines
from skrei_orchestrator_api.log_readers import LogReaders

TEXTS = st.lists(st.text(alphabet="ab\n", max_size=6), max_size=12)


async def pieces(*said: Piece, then: Exception | None = None) -> AsyncIterator[Piece]:
    for piece in said:
        yield piece
    if then is not None:
        raise then


def expected(text: str, lines: int) -> str:
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""


@given(TEXTS, st.integers(0, 5))
async def test_the_last_lines_are_those_of_all_pieces_together(said: list[str], lines: int) -> None:
    found = [text async for _, text in last_lines(pieces(*((1, text) for text in said)), lines)]
    assert "".join(found) == expected("".join(said), lines)


@given(st.text(alphabet="ab\n", max_size=40), st.integers(0, 5))
def test_a_node_begins_where_the_last_lines_do(text: str, lines: int) -> None:
    begin = begin_of_last(io.BytesIO(text.encode()), lines)
    assert text[begin:] == expected(text, lines)


def test_a_line_without_end_is_looked_at_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_logs, "TAIL_BYTES", 10)
    assert begin_of_last(io.BytesIO(b"x" * 100), 3) == 90


async def test_what_goes_by_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pieces, "TAIL_CHARACTERS", 10)
    flood = pieces(*[(1, "x" * 7)] * 1_000, (2, "a\nb\n"))
    assert [piece async for piece in last_lines(flood, 1)] == [(1, "x" * 10), (2, "b\n")]


async def test_what_is_raised_at_the_end_comes_after_the_last_lines() -> None:
    found = last_lines(pieces((1, "a\nb\n"), then=Unavailable("not all")), 1)
    assert await anext(found) == (1, "b\n")
    with pytest.raises(Unavailable):
        await anext(found)


async def test_a_stream_that_never_ends_is_cut_with_a_marker_and_the_other_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_pieces, "MOST_CHARACTERS", 5)
    found = [piece async for piece in capped(pieces((1, "abc"), (1, "defg"), (2, "x"), (1, "more"), (2, "y")))]
    assert found[:2] == [(1, "abc"), (1, "de")]
    assert "cut after 5 bytes" in found[2][1]
    assert found[3:] == [(2, "x"), (2, "y")]


def test_readers_are_counted_and_the_last_one_too_many_is_not_admitted() -> None:
    readers = LogReaders(1)
    with readers.one() as first, readers.one() as second:
        assert (first, second, readers.now) == (True, False, 1)
    with readers.one() as again:
        assert again
