"""What `skrei doctor` leads to."""

import pytest

from skrei.cli.doctor import first_step
from skrei.cli.health import Finding, Verdict, is_optimised


@pytest.mark.parametrize(
    ("verdict", "command"),
    [(Verdict.FINE, "skrei docker run ubuntu echo hello"), (Verdict.OPTIONAL, "skrei demo")],
)
def test_the_next_step_is_one_that_works_here(verdict: Verdict, command: str) -> None:
    found = [Finding("python", Verdict.FINE, "3.13"), Finding("docker", verdict, "no daemon")]
    assert first_step(found)[0] == command


@pytest.mark.parametrize(
    ("prefix", "configured", "fast"),
    [
        ("/usr", "'--enable-shared' '--prefix=/usr'", True),
        ("/usr/local", "'--enable-optimizations' '--with-lto'", True),
        ("/opt/pyenv/versions/3.13.0", "'--prefix=/opt/pyenv/versions/3.13.0' '--enable-shared'", False),
        ("C:\\Python313", "", True),
    ],
)
def test_a_python_that_was_built_by_hand_has_to_be_asked_to_be_fast(prefix: str, configured: str, fast: bool) -> None:
    assert is_optimised(prefix, configured) is fast
