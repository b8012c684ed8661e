"""What `skrei doctor` leads to."""

import pytest

from skrei.cli.doctor import first_step
from skrei.cli.health import Finding, Verdict


@pytest.mark.parametrize(
    ("verdict", "command"),
    [(Verdict.FINE, "skrei docker run ubuntu echo hello"), (Verdict.OPTIONAL, "skrei demo")],
)
def test_the_next_step_is_one_that_works_here(verdict: Verdict, command: str) -> None:
    found = [Finding("python", Verdict.FINE, "3.13"), Finding("docker", verdict, "no daemon")]
    assert first_step(found)[0] == command
