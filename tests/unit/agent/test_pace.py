"""The budget of what a node sends: nobody gets ahead of it, whatever is asked for and when."""

from hypothesis import given
from hypothesis import strategies as st

from skrei_compute_agent.pace import LEAST_SLICE_BYTES, Bucket, Pace

RATE = 1_000
ASKED = st.lists(st.tuples(st.integers(0, 5_000), st.floats(0, 3)), min_size=1, max_size=30)


@given(ASKED)
def test_no_more_is_sent_by_any_moment_than_a_second_at_once_and_the_rate(asked: list[tuple[int, float]]) -> None:
    bucket, now, sent, last = Bucket(RATE, now=0.0), 0.0, 0, 0.0
    for size, passes in asked:
        now += passes
        at = now + bucket.take(size, now)
        sent += size
        assert sent <= RATE * (1 + at) + 1e-6, "sent before its turn"
        assert at >= last - 1e-9, "who asked later was let past"
        last = at


def test_a_budget_that_is_not_used_up_lets_nobody_wait_and_does_not_grow() -> None:
    bucket = Bucket(RATE, now=0.0)
    assert bucket.take(RATE, 0.0) == 0
    assert bucket.take(RATE, 0.0) == 1
    assert bucket.take(RATE, 1_000.0) == 0
    assert bucket.take(RATE, 1_000.0) == 1, "a long rest is worth a second"
    assert bucket.take(0, 999.0) >= 0, "a clock that goes back gives nothing"


async def test_without_a_limit_nobody_waits_and_with_one_pieces_are_small() -> None:
    await Pace().wait(10**12)
    assert Pace().slice(10**6) == 10**6
    assert Pace(400_000).slice(10**6) == 100_000
    assert Pace(5_000).slice(10**6) == LEAST_SLICE_BYTES
