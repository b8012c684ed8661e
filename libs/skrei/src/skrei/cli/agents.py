"""`skrei agent …`: what the server at the other end is."""

from skrei import calls
from skrei.cli import render
from skrei.cli.ask import Ask
from skrei.cli.flags import OBJECT, PRETTY, one_of
from skrei.cli.grammar import Command, Values
from skrei.cli.shape import Shape
from skrei.views import Document


def _object(name: str, summary: str) -> Command:
    return Command(f"agent {name}", summary, f"skrei.cli.agents:{name}", OBJECT)


ALIVE = _object("alive", "Tell whether the API is well.")
NODE = _object("node", "Tell what the API's own node is.")
CONFIG = _object("config", "Tell the settings that the server runs with; secrets are left out.")
VERSION = Command(
    "agent version",
    "Tell the version of the server.",
    "skrei.cli.agents:version",
    (one_of("--output", "Text for people, JSON and YAML for programs.", "text", "json", "yaml", default="text",
            short=("-o",)), PRETTY),
)  # fmt: skip


def alive(values: Values) -> None:
    """Print whether the API is well."""
    render.document(_asked(values, "alive"), Shape.of(values))


def node(values: Values) -> None:
    """Print what the API's own node is."""
    render.document(_asked(values, "node"), Shape.of(values))


def config(values: Values) -> None:
    """Print the server's settings."""
    answer = _asked(values, "config")
    found = answer.get("config")
    render.document(found if isinstance(found, dict) else answer, Shape.of(values))


def version(values: Values) -> None:
    """Print the server's version."""
    told = _asked(values, "version")
    if values.text("output") != "text":
        render.document(told, Shape.of(values))
        return
    render.line(f"Skrei {told.get('GitVersion') or ''}")
    for name in ("BuildDate", "GitCommit"):
        if told.get(name):
            render.line(f"{name}: {told[name]}")


def _asked(values: Values, what: calls.About) -> Document:
    with Ask(values.text("api")) as ask:
        return ask.send(calls.about(what))
