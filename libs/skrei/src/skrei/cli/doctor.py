"""`skrei doctor`: what is missing on this machine, and how to get it."""

import os
from collections.abc import Sequence

from skrei.cli import render
from skrei.cli.flags import TABLE
from skrei.cli.grammar import Command, Values
from skrei.cli.health import Finding, Verdict
from skrei.cli.shape import Shape
from skrei.endpoint import is_named, resolve

DOCTOR = Command(
    "doctor",
    "Tell what is missing on this machine, and how to get it. Exits 1 when something that is needed is.",
    "skrei.cli.doctor:doctor",
    TABLE,
)
_SHOWN = {Verdict.FINE: "ok", Verdict.OPTIONAL: "-", Verdict.NEEDED: "MISSING"}


def doctor(values: Values) -> int:
    """Look at everything; return 1 when something that is needed is missing."""
    named = is_named(values.text("api"), os.environ)
    found = look(resolve(values.text("api"), os.environ), named=named)
    wrong = [one for one in found if one.verdict is Verdict.NEEDED]
    shape = Shape.of(values)
    if shape.output == "csv":
        rows = [(one.name, one.verdict.value, one.found, one.todo) for one in found]
        render.table(("NAME", "VERDICT", "FOUND", "TODO"), rows, shape)
        return 1 if wrong else 0
    if not shape.is_rows:
        told = [{"Name": one.name, "Verdict": one.verdict.value, "Found": one.found, "Todo": one.todo} for one in found]
        render.document({"Findings": told, "Ready": not wrong}, shape)
        return 1 if wrong else 0
    width = max(len(one.name) for one in found)
    for one in found:
        render.line(f"{_SHOWN[one.verdict]:<8}{one.name:<{width + 2}}{one.found}")
        if one.todo:
            render.line(f"{'':<8}{'':<{width + 2}}-> {one.todo}")
    if wrong:
        names = ", ".join(one.name for one in wrong)
        render.problem(f"not ready yet: {names}.", "What to do stands behind each arrow.")
        return 1
    render.next_step(*first_step(found))
    return 0


def first_step(found: Sequence[Finding]) -> tuple[str, str]:
    """Return a command that works with what was found here, and what it does."""
    if any(one.name == "docker" and one.verdict is not Verdict.FINE for one in found):
        return "skrei demo", "a first job; no containers are needed for it"
    return "skrei docker run ubuntu echo hello", "a first job"


def look(url: str, *, named: bool) -> list[Finding]:
    """Return every finding. With an API that somebody named, this machine needs no stack of its own."""
    from skrei.cli import health

    api = health.api(url, named=named)
    own = [] if named else health.own_stack(runs=api.verdict is Verdict.FINE)
    return [health.python(), health.versions(), api, *own]
