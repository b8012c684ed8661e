"""`skrei devstack`: a control plane and several nodes on this machine, in a folder that goes with them."""

from skrei.cli.flags import flag, integer, text
from skrei.cli.grammar import Command

DEVSTACK = Command(
    "devstack",
    "Run a control plane and several nodes on this machine, for trying things out; Ctrl+C stops and removes them.",
    "skrei.cli.devstack_run:devstack",
    (
        integer("--computes", "Nodes beside the control plane.", default=3, most=64),
        integer(
            "--orchestrators", "Schedulers of the control plane: one leads, the others stand by.", default=1, most=5
        ),
        integer("--hybrids", "1 makes the control plane's process a node too.", most=1),
        integer("--bad-computes", "Not there: nodes of Skrei that misbehave are tests of ours.", most=0),
        text(
            "--stack-repo",
            "FOLDER",
            "Where everything lies, and stays (or --data-dir); else a folder that goes.",
            completes="file",
        ),
        flag("--random-ports", "Free ports, whatever the usual ones are used for."),
        integer("--port", "The API's port; 0 takes a free one.", default=1234, most=65535, variable="SKREI_API_PORT"),
        text("--cpu-profiling-file", "FILE", "Accepted and meaningless: services are profiled by py-spy."),
        text("--memory-profiling-file", "FILE", "Accepted and meaningless."),
    ),
)
