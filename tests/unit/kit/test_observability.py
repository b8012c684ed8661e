"""What is written about an error, on a terminal and elsewhere."""

import logging
import subprocess
import sys

import pytest

FAILING = """
import logging
from skrei_kit.observability import configure_logs, get_logger

def fail(password):
    raise ValueError("nothing works")

configure_logs(service="test", pretty={pretty})
try:
    fail("hunter" + "2")
except ValueError:
    get_logger().exception("failed")
    logging.getLogger("library").exception("library failed")
"""


@pytest.mark.parametrize("pretty", [True, False], ids=["terminal", "json"])
def test_a_traceback_says_where_and_never_what_the_variables_held(pretty: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING.format(pretty=pretty)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr.count("Traceback (most recent call last)") == 2
    assert done.stderr.count("ValueError: nothing works") == 2
    assert "in fail" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_level_that_nobody_knows_is_named() -> None:
    from skrei_kit.observability import configure_logs

    before = logging.getLogger().handlers[:]
    with pytest.raises(ValueError, match="'loud' is not a log level"):
        configure_logs("loud")
    assert logging.getLogger().handlers == before
