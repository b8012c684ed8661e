"""docs/COMPATIBILITY.md tells the truth: each row is judged, and checked by a test that exists and names the row.

A row is named `section/word` after the map of the original's surface (`1.6/list`). The test beside it names it back:
`@pytest.mark.row("1.6/list")`, or the same text as the id of a parameter. So a row cannot outlive its test, and a test
cannot keep claiming a row that is gone.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "COMPATIBILITY.md"
STATUSES = frozenset({"works", "differs", "later"})
NAME = re.compile(r"(?:\d+(?:\.\d+)?|B)/[a-z0-9][a-z0-9-]*")
TEST = re.compile(r"`([A-Za-z0-9_]+)::([A-Za-z0-9_]+)`")


class Row(NamedTuple):
    name: str
    original: str
    status: str
    ours: str
    tests: str


def rows(page: str) -> list[Row]:
    """The rows of every table of the page that has their five columns."""
    found = []
    for line in page.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if line.startswith("|") and len(cells) == len(Row._fields) and NAME.fullmatch(cells[0].strip("`")):
            found.append(Row(cells[0].strip("`"), *cells[1:]))
    return found


@cache
def sources() -> dict[str, dict[str, str]]:
    """Of each test module its functions, as they are written, decorators included."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in ROOT.glob("tests/**/test_*.py"):
        text = path.read_text("utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[path.stem][node.name] = "\n".join(lines[first - 1 : node.end_lineno])
    return found


def wrong_with(row: Row) -> Iterator[str]:
    """What is wrong with a row, in sentences."""
    if row.status not in STATUSES:
        yield f"{row.name}: {row.status!r} is none of {', '.join(sorted(STATUSES))}"
    if not row.original:
        yield f"{row.name}: it does not say what the original does"
    if row.status != "works" and len(row.ours) < 10:
        yield f"{row.name}: {row.status} without saying what Skrei does, and why"
    tests = TEST.findall(row.tests)
    if not tests:
        yield f"{row.name}: no test; name one as `test_module::test_function`"
    for module, function in tests:
        source = sources().get(module, {}).get(function)
        if source is None:
            yield f"{row.name}: there is no test {module}::{function}"
        elif f'"{row.name}"' not in source:
            yield f'{row.name}: {module}::{function} does not name it; add @pytest.mark.row("{row.name}")'


def test_each_row_is_judged_and_has_a_test_that_names_it() -> None:
    found = rows(PAGE.read_text("utf-8"))
    assert found
    assert [wrong for row in found for wrong in wrong_with(row)] == []


def test_no_row_is_there_twice_and_no_line_of_a_table_is_skipped() -> None:
    page = PAGE.read_text("utf-8")
    names = [row.name for row in rows(page)]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    heads = [line for line in page.splitlines() if line.startswith("| Row |")]
    rules = [line for line in page.splitlines() if line.startswith("|---|")]
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len(lines) - len(heads) - len(rules) == len(names), "a line that is no row: five cells, named like 1.6/list"


def test_every_row_that_a_test_names_is_on_the_page() -> None:
    known = {row.name for row in rows(PAGE.read_text("utf-8"))}
    named = {
        (name, f"{module}::{function}")
        for module, functions in sources().items()
        for function, source in functions.items()
        for decorator in re.findall(r"@pytest\.mark\.row\(([^)]*)\)", source)
        for name in re.findall(r'"([^"]*)"', decorator)
    }
    assert [f"{test} names {name}" for name, test in sorted(named) if name not in known] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("| 1.2/alive | a | works |  | `test_no_such::test_x` |", "there is no test"),
        ("| 1.2/alive | a | works |  |  |", "no test"),
        ("| 1.2/alive | a | differs |  | `test_x::test_x` |", "without saying"),
        ("| 1.2/alive | a | maybe |  | `test_x::test_x` |", "is none of"),
        ("| 1.2/alive |  | works |  | `test_x::test_x` |", "does not say what the original does"),
        (
            "| 1.2/aliv | a | works | | `test_compatibility::test_each_row_is_judged_and_has_a_test_that_names_it` |",
            "does not name it",
        ),
    ],
)
def test_a_bad_row_is_refused(line: str, wrong: str) -> None:
    (row,) = rows(line)
    assert any(wrong in each for each in wrong_with(row))
