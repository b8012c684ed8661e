"""The driver knows every type of array that this package asks with: it would ask the record in each session."""

import importlib
import re
from pathlib import Path

from skrei_store import arrays
from skrei_store.bulk import Part

SOURCES = Path(arrays.__file__).parent
ARRAY = re.compile(r"::(\w+)\[\]")


def test_every_array_of_a_statement_is_known() -> None:
    written = {name for path in SOURCES.glob("*.py") for name in ARRAY.findall(path.read_text("utf-8"))}
    modules = [importlib.import_module(f"skrei_store.{path.stem}") for path in SOURCES.glob("parts*.py")]
    parts = [value for module in modules for value in vars(module).values() if isinstance(value, Part)]
    assert written | {column.split(" ", 1)[1] for part in parts for column in part.columns} == set(arrays.TYPES)
