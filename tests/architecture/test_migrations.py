"""Migrations are one line: two that were written side by side must be put one after the other before they land."""

import re
from pathlib import Path

import skrei_store.migrations

VERSIONS = Path(skrei_store.migrations.__file__).parent / "versions"


def test_migrations_follow_each_other_by_number() -> None:
    found = []
    for path in sorted(VERSIONS.glob("[0-9]*.py")):
        text = path.read_text("utf-8")
        revision, down = (
            re.search(rf'^{name} = (?:"(\d+)"|None)', text, re.MULTILINE) for name in ("revision", "down_revision")
        )
        assert revision is not None, f"{path.name} names no revision"
        assert down is not None, f"{path.name} does not say what it follows"
        assert path.name.startswith(f"{revision.group(1)}_"), f"{path.name} is revision {revision.group(1)}"
        found.append((revision.group(1), down.group(1)))
    numbers = [f"{number:04d}" for number in range(1, len(found) + 1)]
    assert found == list(zip(numbers, [None, *numbers], strict=False)), "renumber the later one"
