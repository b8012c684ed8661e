"""Decisions are numbered one after the other, and every one says what enforces it."""

import re
from pathlib import Path

import pytest

from scripts.environment import ROOT

PAGES = sorted((ROOT / "docs/adr").glob("*.md"))


def test_no_two_decisions_share_a_number_and_none_is_missing() -> None:
    assert [page.name[:4] for page in PAGES] == [f"{number:04}" for number in range(1, len(PAGES) + 1)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name[:4])
def test_a_decision_is_one_screen_with_its_number_and_what_enforces_it(page: Path) -> None:
    text = page.read_text()
    assert re.match(rf"# {page.name[:4]}: ", text)
    assert "**Decision.**" in text
    assert "**Enforced by**" in text
    assert len(text.splitlines()) <= 60
