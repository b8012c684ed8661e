"""`skrei logs`: what a job says, live or after its end."""

from skrei.cli import render
from skrei.cli.ask import Ask, job_path
from skrei.cli.flags import LAST, NAMESPACE, flag, text
from skrei.cli.grammar import Command, Values
from skrei.cli.log_frames import LogQuery, frames
from skrei.cli.references import job_named
from skrei.errors import LogsFailed
from skrei.views import Execution, Job

LOGS = Command(
    "job logs",
    "Print what a job says, live or after its end.",
    "skrei.cli.logs:logs",
    (
        flag("--follow", "Go on until the execution ends.", "-f"),
        flag("--tail", "Only what comes from now on.", "-t"),
        text("--execution-id", "ID", "The output of this execution.", "-e"),
        NAMESPACE,
    ),
    (LAST,),
)


def logs(values: Values) -> None:
    """Print the output of one execution."""
    with Ask(values.text("api")) as ask:
        typed = values.text("JOB")
        job = job_named(typed, ask.endpoint)
        execution = values.text("execution-id") or _one_of_several(ask, job, typed, values.text("namespace"))
        query = LogQuery(
            job,
            execution,
            follow=values.flag("follow"),
            tail=values.flag("tail"),
            namespace=values.text("namespace"),
        )
        try:
            for said in frames(ask.endpoint, query):
                if said is not None:
                    render.output_text(said.text, said.stream)
        except LogsFailed as error:
            error.hint = error.hint or f"skrei describe {typed} tells how it stands, and its executions."
            raise
    render.next_step(f"skrei describe {typed}", "how it stands")


def _one_of_several(ask: Ask, job: str, typed: str, namespace: str) -> str:
    """Return the execution to show of a job with several partitions, saying which; empty leaves it to the API."""
    from skrei.cli.looks import executions_of
    from skrei.progress import best_attempts

    found = Job.parse(ask.get(job_path(job), namespace=namespace).get("Job") or {})
    best = best_attempts(executions_of(ask, found.id)) if found.units > 1 else ()
    if not best:
        return ""
    render.note(
        f"{_which(best[0], found)}, execution {best[0].id}; for another: "
        f"skrei logs {typed} -e EXECUTION (skrei job executions {typed} lists them)"
    )
    return best[0].id


def _which(execution: Execution, job: Job) -> str:
    if len(job.tasks) > 1:
        return f"Task {execution.task}, partition {execution.partition}"
    return f"Partition {execution.partition} of {job.count}"
