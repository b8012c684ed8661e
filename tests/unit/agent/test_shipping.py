import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_compute_agent.shipping import EVERY_SECONDS, PIECE_BYTES, Backoff, Budget, Piece, Stream, in_turn


def test_output_waits_for_a_piece_or_its_time() -> None:
    stream = Stream()
    stream.grown(0, 0.0)
    assert stream.due(100.0) is None
    stream.grown(10, 100.0)
    stream.grown(20, 103.0)
    assert stream.due(104.9) is None
    assert stream.due(100.0 + EVERY_SECONDS) == Piece(0, 20, last=False)
    stream.grown(PIECE_BYTES + 7, 101.0)
    assert stream.due(101.0) == Piece(0, PIECE_BYTES, last=False)


def test_what_was_sent_starts_a_new_wait() -> None:
    stream = Stream()
    stream.grown(20, 0.0)
    stream.answered(20, cut=False, last=False, now=5.0)
    assert stream.due(99.0) is None
    stream.grown(25, 99.0)
    assert stream.due(100.0) is None
    assert stream.due(104.0) == Piece(20, 5, last=False)


def test_the_end_is_sent_at_once_and_told_even_when_nothing_is_left() -> None:
    stream = Stream()
    stream.grown(20, 0.0)
    stream.answered(20, cut=False, last=False, now=5.0)
    stream.end(20, 6.0)
    assert stream.due(6.0) == Piece(20, 0, last=True)
    stream.answered(20, cut=False, last=True, now=6.0)
    assert stream.finished
    assert stream.due(99.0) is None


def test_the_publisher_s_word_on_how_much_it_has_counts() -> None:
    stream = Stream()
    stream.grown(100, 0.0)
    stream.answered(60, cut=False, last=False, now=1.0)
    assert stream.due(6.0) == Piece(60, 40, last=False)
    stream.answered(0, cut=False, last=False, now=7.0)
    assert stream.due(12.0) == Piece(0, 100, last=False), "a publisher that lost it gets it again"


def test_a_stream_that_was_cut_is_left_alone() -> None:
    stream = Stream()
    stream.grown(100, 0.0)
    stream.answered(50, cut=True, last=False, now=1.0)
    stream.grown(10 * PIECE_BYTES, 2.0)
    assert (stream.due(100.0), stream.finished) == (None, True)


def test_who_waits_longest_comes_first() -> None:
    streams = {name: Stream() for name in "abc"}
    for name, since in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        streams[name].grown(10, since)
    assert [key for key, _ in in_turn(streams.items(), 10.0, 2)] == ["b", "c"]


@given(
    st.floats(1, 1e6),
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, PIECE_BYTES)), max_size=50),
)
def test_a_budget_lets_through_no_more_than_its_rate_and_one_burst(
    rate: float, burst: float, tries: list[tuple[float, int]]
) -> None:
    budget, now, spent = Budget(rate, burst_bytes=burst, now=0.0), 0.0, 0.0
    for pause, size in tries:
        now += pause
        if budget.allows(now):
            budget.spend(size)
            spent += size
        assert spent <= burst + rate * now + PIECE_BYTES * 1.0001


def test_a_publisher_that_is_away_is_asked_less_and_less() -> None:
    backoff, now = Backoff(), 0.0
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        backoff.failed(now)
        assert backoff.waits(now + pause - 0.01)
        now += pause
        assert not backoff.waits(now)
    backoff.worked()
    assert not backoff.waits(now)
    assert not backoff.away


EVENTS = st.one_of(st.integers(0, 3 * PIECE_BYTES), st.sampled_from(["send", "gap", "lost", "end"]))


@given(st.lists(EVENTS, max_size=40))
def test_whatever_happens_on_the_way_all_of_it_arrives_once_the_way_is_clear(events: list[int | str]) -> None:
    stream, size, have, now = Stream(), 0, 0, 0.0
    for event in events:
        now += 1
        if isinstance(event, int) and not stream.ended:
            size = max(size, event)
            stream.grown(size, now)
        elif event == "end" and not stream.ended:
            stream.end(size, now)
        elif event == "lost" and not stream.told_end:
            have = 0
        elif (piece := stream.due(now + EVERY_SECONDS)) is not None and event in ("send", "gap"):
            assert piece.length <= PIECE_BYTES
            assert piece.offset + piece.length <= size
            if event == "send" and piece.offset <= have:
                have = max(have, piece.offset + piece.length)
            stream.answered(have, cut=False, last=piece.last, now=now)
    if not stream.ended:
        stream.end(size, now)
    for _ in range(20):
        piece = stream.due(now)
        if piece is None:
            break
        if piece.offset <= have:
            have = max(have, piece.offset + piece.length)
        stream.answered(have, cut=False, last=piece.last, now=now)
    assert stream.finished
    assert have == size


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1])
def test_an_end_takes_as_many_pieces_as_it_needs(size: int) -> None:
    stream, pieces = Stream(), []
    stream.end(size, 0.0)
    while (piece := stream.due(0.0)) is not None:
        pieces.append(piece)
        stream.answered(piece.offset + piece.length, cut=False, last=piece.last, now=0.0)
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert sum(piece.length for piece in pieces) == size
