"""`skrei demo`: how it is called; `skrei.cli.demo` does it, which takes its time to import."""

from skrei.cli.flags import flag
from skrei.cli.grammar import Command

DEMO = Command(
    "demo",
    "Start the real stack, run a word count over it, show its results, stop everything again.",
    "skrei.cli.demo:demo",
    (flag("--keep", "Leave the stack running.", variable="KEEP"),),
)
