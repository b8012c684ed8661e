"""`skrei demo`: how it is called; `skrei.cli.demo` does it, which takes its time to import."""

from skrei.cli.flags import flag
from skrei.cli.grammar import Command

DEMO = Command(
    "demo",
    "Start three real nodes, count words where their books are, show the result, stop everything again.",
    "skrei.cli.demo:demo",
    (flag("--keep", "Leave the stack running.", variable="KEEP"),),
)
