"""docs/LIMITS.md names every limit: each row is what the code says, and no limit of the code is without a row."""

import ast
import importlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from skrei_kit.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "LIMITS.md"

NOT_LIMITS = {
    "ABSENT": "a mark",
    "ADVISORY_LOCK": "a name",
    "BEGUN": "a mark",
    "BITS_A_KEY": "a layout",
    "BYTES_POINTS": "a weight",
    "COUNT_BITS": "a layout",
    "DAG_PB": "a code",
    "DAY": "a unit",
    "FAILURE_POINTS": "a weight",
    "FAVOUR_POINTS": "a weight",
    "FIRST_HISTORY": "a guess",
    "FORMAT": "a version",
    "FULL": "a scale",
    "FULL_JOB_ID": "a format",
    "GIB": "a unit",
    "GZIP_LEVEL": "a choice",
    "IDENTITY": "a code",
    "RAW": "a code",
    "FAILED": "a code",
    "INTERNAL": "a code",
    "SAMPLED": "a code",
    "SCALE": "a scale",
    "SERVER": "a code",
    "SHA2_256": "a code",
    "STATUS": "a stream",
    "STDERR": "a stream",
    "STDIN": "a stream",
    "STDOUT": "a stream",
    "TERMINATE": "a signal",
    "HASHES": "a layout",
    "INTERRUPT": "a signal",
    "KEY_CHARACTERS": "a format",
    "KIB": "a unit",
    "KILL": "a signal",
    "KILLED": "a code",
    "LEVEL": "a choice",
    "MADE": "a mode",
    "MIB": "a unit",
    "NOBODY": "a user",
    "NO_EXIT_CODE": "a mark",
    "OLDEST_POSTGRES": "a version",
    "OLDEST_PROTOCOL": "a version",
    "PLUGIN_API": "a version",
    "PORT": "a name",
    "PROTOCOL": "a version",
    "READ_ONLY": "a mode",
    "SERIAL_BITS": "a format",
    "SHARD_LETTERS": "a layout",
    "TIE_BITS": "a layout",
    "TOP_WORDS": "a choice",
    "UNMATCHED": "a number of its own",
    "VERSION": "a version",
    "api_port": "a name",
    "publisher_port": "a name",
    "trace_share": "a share",
}
"""Numbers that limit nothing."""

SETTINGS = (
    "skrei_orchestrator_api.settings.Settings",
    "skrei_scheduler.settings.SchedulerSettings",
    "skrei_compute_agent.settings.Settings",
    "skrei_publisher.settings.Settings",
)
BYTES = (("EiB", 60), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10))


class Row(NamedTuple):
    name: str
    value: str
    setting: str
    reason: str
    where: str


def rows() -> list[Row]:
    """The rows of every table of the page."""
    found = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and cells[4].startswith("`"):
            found.append(Row(*(cell.strip("`") for cell in cells)))
    return found


def shown(name: str, value: object) -> str:
    """A value as the page writes it."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():,g} s"
    assert isinstance(value, int | float)
    kind = name.lower()
    if kind.endswith("bytes") and isinstance(value, int):
        for unit, bits in BYTES:
            if value >= 1 << bits and value % (1 << bits) == 0:
                return f"{value >> bits:,} {unit}"
        return f"{value:,} bytes"
    number = f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"
    for ending, unit in (("milliseconds", "ms"), ("seconds", "s"), ("hours", "h"), ("days", "d"), ("percent", "%")):
        if kind.endswith(ending):
            return f"{number} {unit}"
    return number


def value_at(dotted: str) -> object:
    """What a dotted name stands for; of a settings field it is the default."""
    module, _, name = dotted.rpartition(".")
    try:
        holder: object = importlib.import_module(module)
    except ModuleNotFoundError:
        outer, _, inner = module.rpartition(".")
        holder = getattr(importlib.import_module(outer), inner)
    if isinstance(holder, type) and issubclass(holder, Settings):
        return holder.model_fields[name].default
    return getattr(holder, name)


def constants() -> Iterator[str]:
    """Every number with a name in capitals at the top of a module, as its dotted name."""
    for source in sorted(ROOT.glob("libs/**/src/**/*.py")) + sorted(ROOT.glob("services/*/src/**/*.py")):
        parts = source.with_suffix("").parts
        module = ".".join(parts[len(parts) - parts[::-1].index("src") :]).removesuffix(".__init__")
        for node in ast.parse(source.read_text("utf-8")).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if isinstance(target, ast.Name) and target.id.isupper() and not target.id.startswith("_"):
                yield f"{module}.{target.id}"


def limits() -> Iterator[tuple[str, object]]:
    """Every limit of the code: numeric constants, and numeric settings of the four services."""
    for dotted in constants():
        if dotted.rpartition(".")[2] not in NOT_LIMITS:
            value = value_at(dotted)
            if isinstance(value, int | float | timedelta) and not isinstance(value, bool):
                yield dotted, value
    for dotted in SETTINGS:
        model = value_at(dotted)
        assert isinstance(model, type)
        assert issubclass(model, Settings)
        for name, field in model.model_fields.items():
            if field.annotation in (int, float) and name not in NOT_LIMITS:
                yield f"{dotted}.{name}", field.default


@pytest.mark.row("12/limits")
def test_every_row_of_the_page_is_what_the_code_says() -> None:
    wrong = {row.where: row.value for row in rows() if shown(row.name, value_at(row.where)) != row.value}
    assert wrong == {}, "docs/LIMITS.md says another value than the code"


@pytest.mark.row("12/limits")
def test_every_limit_of_the_code_has_one_row() -> None:
    listed = [row.where for row in rows()]
    assert len(listed) == len(set(listed))
    missing = {dotted: shown(dotted, value) for dotted, value in limits() if dotted not in set(listed)}
    assert missing == {}, "add a row to docs/LIMITS.md for each, with its reason (or a line to NOT_LIMITS here)"
    assert set(listed) == {dotted for dotted, _ in limits()}


def test_every_row_is_named_by_its_constant_has_a_reason_and_the_setting_of_a_setting() -> None:
    for row in rows():
        name = row.where.rpartition(".")[2]
        assert row.name == name
        assert len(row.reason) > 10, f"{row.where} needs a reason"
        assert row.setting == (f"SKREI_{name.upper()}" if ".settings." in row.where else "")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("MAX_SPEC_BYTES", 65_536, "64 KiB"),
        ("OLD_LOG_BYTES", 10_000_000, "10,000,000 bytes"),
        ("retention_days", 7.0, "7 d"),
        ("TRY_SECONDS", 0.5, "0.5 s"),
        ("REMEMBERED", timedelta(hours=1), "3,600 s"),
        ("MAX_COUNT", 10_000, "10,000"),
    ],
)
def test_values_are_written_one_way(name: str, value: object, text: str) -> None:
    assert shown(name, value) == text
