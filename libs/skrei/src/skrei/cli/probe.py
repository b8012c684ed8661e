"""`skrei version`: asked by scripts and people alike, and answered at once."""

from skrei import __version__, calls
from skrei.cli import render
from skrei.cli.ask import Ask
from skrei.cli.flags import TABLE, flag
from skrei.cli.grammar import Command, Values
from skrei.cli.shape import Shape
from skrei.errors import ApiError, Unreachable

VERSION = Command(
    "version",
    "Tell the version of this program and of the API.",
    "skrei.cli.probe:version",
    (flag("--client", "Only of this program; no API is asked."), *TABLE),
)
TIMEOUT_SECONDS = 2.0
"""A server that has not told its version by then is told as not reachable."""


def version(values: Values) -> None:
    """Print the version of this program and of the API."""
    told = ("", "", "") if values.flag("client") else server_version(values.text("api"))
    url, server, problem = told
    render.version(__version__, server, url, problem, Shape.of(values))


def server_version(given: str) -> tuple[str, str, str]:
    """Return the endpoint, the version of the API there, and why that is not known."""
    with Ask(given, timeout_seconds=TIMEOUT_SECONDS) as ask:
        try:
            return ask.endpoint, str(ask.send(calls.version().once()).get("GitVersion") or ""), ""
        except Unreachable:
            return ask.endpoint, "", f"none answers at {ask.endpoint} (start one with `skrei serve`)"
        except ApiError as error:
            return ask.endpoint, "", error.message
