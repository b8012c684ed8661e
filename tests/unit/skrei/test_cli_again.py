"""The next page is that of the same question."""

import shlex

import pytest

from skrei.cli import tree
from skrei.cli.again import next_page
from skrei.cli.grammar import read
from skrei.cli.universal import with_universal


@pytest.mark.parametrize(
    ("command", "typed", "expected"),
    [
        ("job list", "-l team=fish --labels 'stage in (test,prod)' -n 5 --oldest-first --namespace n",
         "--namespace n --labels team=fish --labels 'stage in (test,prod)' --limit 5 --oldest-first"),
        ("job list", "", ""),
        ("job list", "--next-token old --api http://h:1 --no-pretty --interval 2.5",
         "--api http://h:1 --no-pretty --interval 2.5"),
        ("job executions", "web --all-versions --order-by modified_at", "web --all-versions --order-by modified_at"),
        ("job history", "'a b' --event-type job -v 3", "'a b' --event-type job --version 3"),
        ("node list", "--labels gpu --filter-status connected", "--labels gpu --filter-status connected"),
    ],
)  # fmt: skip
def test_the_next_page_is_asked_for_with_what_was_given(command: str, typed: str, expected: str) -> None:
    known = tree.load(command)
    said = shlex.split(next_page(known, read(with_universal(known), shlex.split(typed)), "t0k"))
    assert said[:3] == ["skrei", *command.split()]
    assert said[-2:] == ["--next-token", "t0k"]
    assert sorted(said[3:-2]) == sorted(shlex.split(expected))
