"""Every call of the API as a value: where it goes, what it carries, how its answer is read. Pure.

Whoever has a transport sends these: the client for programs (`skrei.client`) and the light one of the command line
(`skrei.cli.ask`), so that there is one place that knows the API's paths and fields.
"""

from skrei.calls.about_jobs import (
    MOST_AT_ONCE,
    STOPPED,
    describe,
    diff,
    endpoints,
    executions,
    history,
    job,
    jobs,
    portions,
    rerun,
    results,
    stop,
    submit,
    submit_many,
    versions,
)
from skrei.calls.about_nodes import change_node, join_command, new_join_token, node, nodes, revoke_node
from skrei.calls.about_server import About, about, alive, collect, version
from skrei.calls.call import Call, flag, job_path

__all__ = [
    "MOST_AT_ONCE",
    "STOPPED",
    "About",
    "Call",
    "about",
    "alive",
    "change_node",
    "collect",
    "describe",
    "diff",
    "endpoints",
    "executions",
    "flag",
    "history",
    "job",
    "job_path",
    "jobs",
    "join_command",
    "new_join_token",
    "node",
    "nodes",
    "portions",
    "rerun",
    "results",
    "revoke_node",
    "stop",
    "submit",
    "submit_many",
    "version",
    "versions",
]
