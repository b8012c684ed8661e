"""`skrei logs`: what a job says, live or after its end."""

from collections.abc import Iterable

from skrei import calls
from skrei.cli import render, several_logs
from skrei.cli.ask import Ask
from skrei.cli.flags import LAST, NAMESPACE, VERSION, flag, integer, text
from skrei.cli.grammar import Command, Kind, Option, Values
from skrei.cli.log_frames import frames
from skrei.cli.references import job_named, task_named
from skrei.errors import LogsFailed
from skrei.log_query import LogQuery
from skrei.log_units import chosen
from skrei.views import Execution

MOST_LINES = 10_000
"""Lines before now that can be asked for: what the API gives."""

LOGS = Command(
    "job logs",
    "Print what a job says, live or after its end.",
    "skrei.cli.logs:logs",
    (
        flag("--follow", "Go on until the execution ends.", "-f"),
        Option(
            ("--tail", "-t"),
            "Only what comes from now on; with a number, so many lines before it too.",
            Kind.COUNT,
            most=MOST_LINES,
        ),
        text("--execution-id", "ID", "The output of this execution.", "-e"),
        integer("--partition", "The output of this partition.", "-p"),
        text("--task", "NAME", "The output of this task.", completes="task"),
        VERSION,
        NAMESPACE,
    ),
    (LAST,),
)


def logs(values: Values) -> None:
    """Print what the executions that are meant say: of several, side by side, each line with where it is from."""
    with Ask(values.text("api")) as ask:
        typed = values.text("JOB")
        query = LogQuery(
            job_named(typed, ask.endpoint),
            values.text("execution-id"),
            follow=values.flag("follow"),
            tail=values.flag("tail"),
            namespace=values.text("namespace"),
            lines=values.count("tail"),
            task=values.text("task"),
            partition=values.integer("partition") if "partition" in values.given else None,
            version=values.integer("version"),
        )
        try:
            if not query.execution and _show_several(ask, query):
                return
            spoke = False
            for said in frames(ask.endpoint, query):
                if said is not None:
                    render.output_text(said.text, said.stream)
                    spoke = True
            if not spoke and not query.execution:
                found = ask.every(calls.executions(query.job, namespace=query.namespace, version=query.version))
                _tell_silence(chosen(found, query), query)
        except LogsFailed as error:
            error.hint = error.hint or f"skrei describe {typed} tells how it stands, and its executions."
            raise
    render.next_step(f"skrei describe {typed}", "how it stands")


def _tell_silence(meant: Iterable[Execution], query: LogQuery) -> None:
    """Say why nothing was said, where that is because no program ran, or it was ended before it spoke."""
    why = next((one.message for one in meant if one.message and one.state in {"Failed", "Refused"}), "")
    if why and not query.tail and query.lines != 0:
        render.note(f"It said nothing: {why}")


def _show_several(ask: Ask, query: LogQuery) -> bool:
    """Show the executions that are meant, one of each unit, where that is more than one; else return False."""
    job = ask.send(calls.job(query.job, namespace=query.namespace, version=query.version))
    if query.task:
        task_named(query.task, job)
    if (job.units <= 1 and not job.per_node) or (query.partition is not None and query.task):
        return False
    meant = chosen(ask.every(calls.executions(job.id, version=job.version)), query)
    if not (len(meant) > 1 or query.follow):
        return False
    if not several_logs.show(ask, meant, query, by_node=job.per_node):
        _tell_silence(meant, query)
    return True
