"""How bulk writes are put together: order, limits, parameters."""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from skrei_domain.messages import RunOutput
from skrei_scheduling.changes import Changes, ExecutionChange, Observed
from skrei_store import bulk, parts
from skrei_store.bulk import Mismatch, Part, write
from skrei_store.parts_rollbacks import ROLLBACKS
from skrei_store.values import dump, storable
from tests.support.builders import an_execution

AT = datetime(2026, 1, 1, tzinfo=UTC)
ONE = Part("one", ("id text", "n int8"), "INSERT INTO one ({names}) SELECT {names} FROM {new}")
TWO = Part("two", ("id text",), "DELETE FROM two WHERE id = ANY ({ids})", counted=True)
AFTER = Part("later", ("id text",), "INSERT INTO later SELECT id, {at} FROM {new}", after=frozenset({"two"}))


class Asked:
    """A connection that changes as many rows as it is told to."""

    def __init__(self, **changed: int) -> None:
        self.statements: list[tuple[str, tuple[object, ...]]] = []
        self._changed = changed

    async def fetchrow(self, sql: str, *values: object) -> dict[str, int]:
        self.statements.append((sql, values))
        return self._changed


async def written(work: list[tuple[Part, Any]], **changed: int) -> list[tuple[str, tuple[object, ...]]]:
    asked: Any = Asked(**changed)
    await write(asked, AT, work)
    return list(asked.statements)


async def test_parts_share_one_statement_with_their_own_parameters() -> None:
    ((sql, values),) = await written([(ONE, [("a", 1), ("b", 2)]), (TWO, [("c",)])], two=1)

    assert "unnest($2::text[], $3::int8[]) AS new(id, n)" in sql
    assert "id = ANY ($4::text[]) RETURNING 1" in sql
    assert values == (AT, ("a", "b"), (1, 2), ("c",))


async def test_a_part_that_must_see_another_comes_in_a_later_statement() -> None:
    statements = await written([(TWO, [("a",)]), (AFTER, [("b",)]), (ONE, [("c", 1)])], two=1)

    assert ["two AS" in sql for sql, _ in statements] == [True, False]
    assert "later AS" in statements[1][0]


async def test_parts_without_rows_cost_nothing() -> None:
    assert await written([(ONE, []), (TWO, [])]) == []
    assert len(await written([(TWO, []), (AFTER, [("b",)]), (ONE, [("c", 1)])])) == 1


async def test_rows_are_cut_by_number_and_by_bytes() -> None:
    many = await written([(ONE, [(str(n), n) for n in range(bulk.BULK_ROWS + 1)])])
    assert [len(values[1]) for _, values in many] == [bulk.BULK_ROWS, 1]  # type: ignore[arg-type]

    large = "x" * (bulk.BULK_BYTES // 2)
    assert [len(list(cut)) for cut in bulk.cut([(large,), (large,), (large,)])] == [2, 1]
    assert [len(list(cut)) for cut in bulk.cut([(large * 3,), ("",)])] == [1, 1], "one row always goes"


def test_what_one_statement_can_do_is_known_beforehand() -> None:
    assert bulk.in_one([(ONE, [("a", 1)]), (TWO, []), (AFTER, [("b",)])]) == [(ONE, [("a", 1)]), (AFTER, [("b",)])]
    assert bulk.in_one([(ONE, [])]) is None, "nothing to write"
    assert bulk.in_one([(TWO, [("a",)]), (AFTER, [("b",)])]) is None, "one has to see the other"
    assert bulk.in_one([(ONE, [(str(n), n) for n in range(bulk.BULK_ROWS + 1)])]) is None


def test_under_a_condition_there_are_rows_only_where_it_holds() -> None:
    assert "FROM (SELECT * FROM unnest($5::text[], $6::int8[]) AS given(id, n) WHERE c) AS new(id, n)" in ONE.text(
        5, only_if="c"
    )
    assert "id = ANY ((SELECT CASE WHEN c THEN $5::text[] ELSE '{}' END)::text[])" in TWO.text(5, only_if="c")
    assert "SELECT id, now() FROM" in AFTER.text(5, at="now()")


async def test_a_part_that_changed_fewer_rows_than_given_is_refused() -> None:
    with pytest.raises(Mismatch, match="two: 2 rows given, 1 changed"):
        await written([(TWO, [("a",), ("b",)])], two=1)


def test_every_part_of_changes_has_a_bulk_write() -> None:
    """A field that is added to `Changes` must be written; those that only the view needs are named here."""
    made = {part.name for part, _ in parts.parts_of(Changes(), lambda _: "{}")}
    assert made == {
        "executions_changed",  # executions
        "executions_added",  # executions_new
        "results_added",
        "jobs_changed",
        "history_added",
        "targets_added",
        "targets_failed",
        "manifests_added",
        "rolled_back",
        "rolled_specs",
        "rolled_ends",
        "rolled_audit",
        "evaluations_added",
        "evaluations_answered",
        "nodes_written",
        "cluster_moved",  # position, timeline
        "results_stored",
        "results_finalised",
        "results_published",
        "results_refused",
        "results_withdrawn",
        "results_dropped",
        "audited",
        "node_events_told",
        "node_events_dropped",  # those that the new ones push out
        "nodes_gone",
        "node_events_gone",  # theirs
        "node_intents_done",
    }
    made -= {part.name for part in ROLLBACKS[1:]}  # of one field, too
    assert len(made) - 5 == len(Changes.__dataclass_fields__) - 1  # of jobs targets and lists, of events the old ones


def test_one_execution_steps_out_before_another_steps_in() -> None:
    """The index of standing executions is checked row by row, so the statements are two."""
    assert parts.EXECUTIONS_NEW.after == {parts.EXECUTIONS.name}
    assert parts.RESULTS_DROPPED.after == {parts.RESULTS_STORED.name}


def test_every_row_fits_its_columns() -> None:
    row = an_execution()
    full = Observed((), 1, None, RunOutput(stdout="a"))
    changes = Changes(executions_new=(row,), executions=(ExecutionChange(row), ExecutionChange(row, full)), timeline=1)
    for part, rows in parts.parts_of(changes, lambda _: "{}"):
        for each in rows:
            assert len(each) == len(part.columns), part.name


@pytest.mark.parametrize(
    ("text", "held"),
    [("plain", "plain"), ("a\0b", "a\ufffdb"), ("æ\0", "æ\ufffd"), ("\ud800x", "?x"), ("", "")],
)
def test_a_text_is_stored_as_near_to_itself_as_a_column_can_hold_it(text: str, held: str) -> None:
    assert storable(text) == held


def test_details_are_stored_as_ascii_whatever_stands_in_them() -> None:
    assert dump({}) == "{}"
    assert dump({"k": "æ\0\ud800"}).isascii()


def test_a_service_that_holds_the_record_loads_no_object_layer() -> None:
    code = (
        "import sys, skrei_store.leader, skrei_store.submit, skrei_store.stop, skrei_store.lookups\n"
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
