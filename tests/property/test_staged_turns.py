"""Staged results are asked for in turn: whatever waits where, none is passed over for long."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.messages import StagedResult
from skrei_store.staged import MOST_DESTINATIONS, Row, Turns

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 60


def staged(counts: dict[str, int]) -> list[Row]:
    """So many results of each destination, some of them written at the same moment."""
    return [
        Row(
            StagedResult(
                execution_id=f"e-{at}-{number:04}", digest="d", size=1, publisher="s3", destination=destination
            ),
            True,
            SINCE + timedelta(seconds=number // 3),
        )
        for at, (destination, count) in enumerate(counts.items())
        for number in range(count)
    ]


def asked(turns: Turns, rows: list[Row]) -> list[Row]:
    """What the two statements of `next_staged` find; `rows` in the order in which they were written."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(row.staged.destination, []).append(row)
    destinations = sorted(each for each in lines if each >= turns.begin)[:MOST_DESTINATIONS]
    if not destinations:
        turns.begin = ""
        return []
    share = max(LIMIT // len(destinations), 1)
    found: list[Row] = []
    for each in destinations:
        behind = turns.behind(each)
        found += [row for row in lines[each] if (row.created_at, row.staged.execution_id) > behind][:share]
    turns.had(destinations, found, share)
    return found


COUNTS = st.dictionaries(
    st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=4),
    st.just(1) | st.just(1) | st.just(9),
    min_size=1,
    max_size=MOST_DESTINATIONS + 3,
)


@given(COUNTS)
def test_each_is_asked_for_within_a_round_however_many_wait_elsewhere(counts: dict[str, int]) -> None:
    rows, turns = staged(counts), Turns()
    sweeps = -(-len(counts) // MOST_DESTINATIONS) + 1
    first = {row.staged.destination for _ in range(sweeps) for row in asked(turns, rows)}
    assert first == set(counts), "every destination has had its turn"

    most = max(counts.values())
    share = LIMIT // min(len(counts), MOST_DESTINATIONS)
    rounds = 2 * (most // share + 2) * sweeps
    seen = {row.staged.execution_id for _ in range(rounds) for row in asked(turns, rows)}
    assert seen == {row.staged.execution_id for row in rows}
