"""Journal rows and tables: how `NodeSide`'s memory is written and read back, exactly."""

import json
import sqlite3
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeAlias

from pydantic import TypeAdapter

from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import ExecutionObserved, Fact, PortObserved, RunOrder
from skrei_domain.sync import (
    DropFacts,
    DropKnown,
    JournalRow,
    Known,
    Meta,
    NodeMemory,
    PutFact,
    PutKnown,
    PutMeta,
)

_FACT: TypeAdapter[Fact] = TypeAdapter(Fact)
_PORTS = TypeAdapter(tuple[PortObserved, ...])

_Values: TypeAlias = tuple[str | int | None, ...]

_PUT_META = """
INSERT INTO meta (one, node_id, timeline, epoch, incarnation, confirmed, confirmed_by) VALUES (1, ?, ?, ?, ?, ?, ?)
ON CONFLICT (one) DO UPDATE SET node_id = excluded.node_id, timeline = excluded.timeline, epoch = excluded.epoch,
    incarnation = excluded.incarnation, confirmed = excluded.confirmed, confirmed_by = excluded.confirmed_by
"""
_GET_META = "SELECT node_id, timeline, epoch, incarnation, confirmed, confirmed_by FROM meta"
_PUT_KNOWN = """
INSERT INTO executions
    (execution_id, revision, want, state, starts, told, forgotten, changed_at, devices, ended, ports, falls, fell_at,
     run)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (execution_id) DO UPDATE SET revision = excluded.revision, want = excluded.want, state = excluded.state,
    starts = excluded.starts, told = excluded.told, forgotten = excluded.forgotten,
    changed_at = excluded.changed_at, devices = excluded.devices, ended = excluded.ended,
    ports = excluded.ports, falls = excluded.falls, fell_at = excluded.fell_at, run = excluded.run
"""
_MOVE_KNOWN = """
UPDATE executions SET revision = ?2, want = ?3, state = ?4, starts = ?5, told = ?6, forgotten = ?7, changed_at = ?8,
    devices = ?9, ended = ?10, ports = ?11, falls = ?12, fell_at = ?13
WHERE execution_id = ?1
"""
_DROP_KNOWN = "DELETE FROM executions WHERE execution_id = ?"
_PUT_FACT = "INSERT OR REPLACE INTO facts (sequence, fact, writer) VALUES (?, ?, ?)"
_DROP_FACTS = "DELETE FROM facts WHERE sequence <= ?"
_DROP_ALL_FACTS = "DELETE FROM facts"


class Tables:
    """Writes rows inside the caller's transaction; remembers which run orders are stored, to write each once."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        rows = database.execute("SELECT execution_id FROM executions WHERE run IS NOT NULL")
        self._with_order = {execution_id for (execution_id,) in rows}

    def apply(self, rows: Iterable[JournalRow]) -> None:
        """Write rows in order; of several that replace the same execution, or meta, only the last."""
        known: dict[str, Known] = {}
        meta: Meta | None = None
        for row in rows:
            match row:
                case PutKnown(changed):
                    known[changed.execution_id] = changed
                case PutMeta(new):
                    meta = new
                case PutFact(sequence, fact, writer):
                    text = _FACT.dump_json(fact, exclude_none=True).decode()
                    self._database.execute(_PUT_FACT, (sequence, text, writer))
                case DropFacts(None):
                    self._database.execute(_DROP_ALL_FACTS)
                case DropFacts(through):
                    self._database.execute(_DROP_FACTS, (through,))
                case DropKnown(execution_id):
                    known.pop(execution_id, None)
                    self._with_order.discard(execution_id)
                    self._database.execute(_DROP_KNOWN, (execution_id,))
        for changed in known.values():
            self._put(changed)
        if meta is not None:
            self._database.execute(_PUT_META, _meta(meta))

    def _put(self, known: Known) -> None:
        if known.order is None:
            self._with_order.discard(known.execution_id)
            self._database.execute(_PUT_KNOWN, (*_known(known), None))
        elif known.execution_id in self._with_order:
            self._database.execute(_MOVE_KNOWN, _known(known))
        else:
            self._with_order.add(known.execution_id)
            self._database.execute(_PUT_KNOWN, (*_known(known), known.order.model_dump_json()))


def load_memory(database: sqlite3.Connection, node_id: str, make_id: Callable[[], str]) -> NodeMemory:
    """Return what the journal holds; an empty one is given its node id first, durably."""
    row = database.execute(_GET_META).fetchone()
    if row is None:
        meta = Meta(node_id or make_id())
        database.execute(_PUT_META, _meta(meta))
    else:
        meta = Meta(*row)
    memory = NodeMemory(meta)
    cursor = database.cursor()
    cursor.row_factory = sqlite3.Row
    for values in cursor.execute("SELECT * FROM executions"):
        memory.known.put(_read_known(values))
    memory.known.sort_stones()
    for sequence, fact, writer in database.execute("SELECT sequence, fact, writer FROM facts ORDER BY sequence"):
        memory.outbox[sequence] = _FACT.validate_json(fact)
        memory.writers[sequence] = writer
    return memory


def _meta(meta: Meta) -> _Values:
    return (meta.node_id, meta.timeline, meta.epoch, meta.incarnation, meta.confirmed, meta.confirmed_by)


def _known(known: Known) -> _Values:
    return (
        known.execution_id,
        known.revision,
        known.want.value,
        known.state.value,
        known.starts,
        known.told,
        int(known.forgotten),
        known.changed_at.isoformat() if known.changed_at is not None else None,
        json.dumps(known.devices) if known.devices else None,
        known.ended.model_dump_json(exclude_none=True) if known.ended is not None else None,
        _PORTS.dump_json(known.ports).decode() if known.ports else None,
        known.falls,
        known.fell_at.isoformat() if known.fell_at is not None else None,
    )


def _read_known(row: sqlite3.Row) -> Known:
    changed_at, fell_at = row["changed_at"], row["fell_at"]
    return Known(
        execution_id=row["execution_id"],
        revision=row["revision"],
        want=Want(row["want"]),
        state=ExecutionState(row["state"]),
        starts=row["starts"],
        told=row["told"],
        order=RunOrder.model_validate_json(row["run"]) if row["run"] is not None else None,
        forgotten=bool(row["forgotten"]),
        changed_at=datetime.fromisoformat(changed_at) if changed_at is not None else None,
        devices=tuple(json.loads(row["devices"] or "[]")),
        ended=ExecutionObserved.model_validate_json(row["ended"]) if row["ended"] is not None else None,
        ports=_PORTS.validate_json(row["ports"]) if row["ports"] is not None else (),
        falls=row["falls"],
        fell_at=datetime.fromisoformat(fell_at) if fell_at is not None else None,
    )
