"""Migrations form one line, in the order of their files: two written side by side are put one after the other."""

import re
from pathlib import Path

VERSIONS = Path(__file__).resolve().parents[2] / "libs/store/src/skrei_store/migrations/versions"
NAMED = re.compile(r'^(revision|down_revision) = (?:"(\d{4})"|None)$', re.MULTILINE)


def test_each_migration_follows_the_one_before_it() -> None:
    files = sorted(VERSIONS.glob("[0-9]*.py"))
    told = [dict(NAMED.findall(path.read_text("utf-8"))) for path in files]
    numbers = [path.name[:4] for path in files]
    assert numbers == [f"{number:04d}" for number in range(1, len(files) + 1)]
    assert [each["revision"] for each in told] == numbers
    assert [each["down_revision"] for each in told] == ["", *numbers[:-1]]
