"""`skrei job run FILE` and `skrei job validate FILE`: jobs from YAML or JSON."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from skrei import calls
from skrei.cli import inputs, render, render_describe, render_progress, render_run
from skrei.cli.ask import Ask
from skrei.cli.autostart import api_for_a_run
from skrei.cli.exit_codes import NOT_RUN, TIMED_OUT, Ends
from skrei.cli.flags import flag, one_of, text
from skrei.cli.grammar import Argument, Command, Values
from skrei.cli.looks import executions_of, looks
from skrei.cli.render_jobs import progress_states
from skrei.cli.run_options import EXIT_CODES, FORCE, ONCE, STAYING, TEMPLATE
from skrei.cli.texts import capital, short
from skrei.errors import ApiError, CommandFailed, Rejected, Unreachable
from skrei.progress import Progress, best_attempts, of_several_tasks, unit_name
from skrei.views import Document
from skrei_domain.errors import SkreiError

MOST_SHOWN = 4
"""Partitions whose output is printed when the job is done; `skrei logs` has all."""
FILE = Argument("FILE", "YAML or JSON; `-` or nothing reads standard input", default="-", completes="file")

NAME = text("--name", "NAME", "The job's name, instead of the file's.")
PUBLISHER = text(
    "--publisher",
    "NAME",
    "Where the results of its tasks go, instead of where the file says: s3://BUCKET/KEY, ipfs.",
    "-p",
)
FOLLOW = flag("--follow", "Stay as `docker run` does: its output as it comes.", "-f")
HIDE_WARNINGS = flag("--hide-warnings", "Print no warnings.")
OUTPUT = replace(
    one_of(
        "--format", "How --dry-run prints it; else it tells what would change, where that is known.", "yaml", "json"
    ),
    names=("--format", "--output", "-o"),
)
RUN = Command(
    "job run",
    "Submit the job in a file, show its progress and its output, and exit with its program's exit code.",
    "skrei.cli.jobfiles:run",
    (
        NAME,
        PUBLISHER,
        FOLLOW,
        FORCE,
        ONCE,
        HIDE_WARNINGS,
        *TEMPLATE,
        *(one for one in STAYING if one.key not in ("format", "follow")),
        OUTPUT,
    ),
    (FILE,),
    misuse_code=NOT_RUN,
    more=EXIT_CODES,
)
VALIDATE = Command(
    "job validate",
    "Check a job file without an API: every wrong field at once.",
    "skrei.cli.jobfiles:validate",
    TEMPLATE,
    (FILE,),
)


def run(values: Values) -> int:
    """Submit the job in a file and stay with it."""
    from skrei.cli.run import leaves_at_once, not_run, submit
    from skrei.cli.run import run as run_job

    try:
        job = _job_to_run(values)
    except SkreiError as error:
        raise not_run(error, "job run") from error
    if values.flag("dry-run"):
        return _tell(values, job)
    if values.flag("follow") or leaves_at_once(values):
        return run_job(values, job, "job run")
    try:
        ask = Ask(api_for_a_run(values.text("api")))
        submitted = submit(ask, job, values)
    except SkreiError as error:
        raise not_run(error, "job run") from error
    with ask:
        for warning in () if values.flag("hide-warnings") else submitted.warnings:
            render.note(f"Warning: {warning}")
        render.line(f"Job successfully submitted. Job ID: {submitted.job_id}")
        ends = Ends()
        try:
            last = _watch(ask, submitted.job_id, values.seconds("wait-timeout-secs"), ends)
        except KeyboardInterrupt:
            from skrei.cli.stay import leave

            return leave(ask, submitted.job_id)
    if not last.job.is_terminal:
        render.line(f"It runs, and goes on: {progress_states(last)}.")
        id_ = short(last.job.id)
        told = [(f"skrei logs -f {id_}", "what it says"), (f"skrei stop {id_}", "stop it")]
        if last.job.type == "service":
            told.insert(0, (f"skrei job wait --for ready {id_}", "until all of it is ready"))
        render.hints(told)
        return 0
    finish(last)
    return ends.exit_code(last.job, last.executions)


def _tell(values: Values, job: Document) -> int:
    """Print what a submission would change, where the API knows a job of this name; else the job itself."""
    if not values.text("format") and job.get("Name"):
        try:
            with Ask(values.text("api")) as ask:
                changes = ask.send(calls.diff(job).once())
        except (ApiError, Unreachable):
            pass  # nobody knows a job of this name: all of it is new
        else:
            render.line(changes.text.rstrip("\n") or "No diff detected.")
            return 0
    render.job_file(job, values.text("format") or "yaml")
    return 0


def validate(values: Values) -> None:
    """Check a job file: what is wrong with the file and with the job in it, all at once."""
    from skrei.jobfile import examine, not_a_job
    from skrei_domain.errors import Invalid
    from skrei_domain.job import parse_job

    warnings: tuple[str, ...] = ()
    text, name, folder = _read(values, values.text("FILE"))
    job, problems = examine(text, name=name, folder=folder)
    try:
        _, warnings = parse_job(job)
    except Invalid as error:
        problems += error.message.splitlines()
    if problems:
        raise not_a_job(name, problems)
    for warning in warnings:
        render.note(f"Warning: {warning}")
    render.line("OK")
    render.next_step(f"skrei run {values.text('FILE')}", "run it")


def finish(last: Progress) -> None:
    """Print what a finished job said and what can be asked next."""
    job = last.job
    if job.state != "Completed":
        render_run.failure(job, last.executions)
        render_run.data_read(last.executions)
        return
    parts = best_attempts(last.executions)
    if len(parts) <= MOST_SHOWN:
        render_describe.job_output(parts, by_node=job.per_node)
    else:
        of = "nodes" if job.per_node else "partitions"
        render.line(f"What its {len(parts)} {of} said: skrei logs {short(job.id)}")
    for one in parts:
        if one.exit_code:
            which = unit_name(one, named=of_several_tasks(parts), by_node=job.per_node)
            render.note(f"{capital(which)} ended with exit code {one.exit_code}.")
    render_run.data_read(last.executions)
    render.line()
    render.hints(
        [
            (f"skrei describe {short(job.id)}", "everything about it"),
            (f"skrei get {short(job.id)}", "fetch its results"),
        ]
    )


def _watch(ask: Ask, job_id: str, timeout_seconds: float, ends: Ends) -> Progress:
    until = time.monotonic() + timeout_seconds if timeout_seconds else None
    with render_progress.progress_view() as view:
        for look in looks(ask, job_id):
            ends.take(look.events)
            view.show(look)
            if look.job.is_terminal:
                return look if look.executions else replace(look, executions=executions_of(ask, job_id))
            if look.job.endless and _runs(look):
                return look
            if until is not None and time.monotonic() > until:
                break
    raise CommandFailed(
        f"The job is not done after {timeout_seconds:g} s; it goes on without this program.",
        hint=f"Come back: skrei logs -f {short(job_id)}",
        exit_code=TIMED_OUT,
    )


def _runs(look: Progress) -> bool:
    """Whether everything of a job that never ends runs: then there is nothing left to wait for."""
    states = look.partitions
    return look.job.state == "Running" and 0 < states["Running"] == states.total()


def job_in(values: Values, file: str) -> Document:
    """Return the job in a file, its template filled in as the values say. Raises Rejected."""
    from skrei.jobfile import parse, renamed

    text, name, folder = _read(values, file)
    return renamed(parse(text, name=name, folder=folder), values.text("name"))


def _job_to_run(values: Values) -> Document:
    from skrei.jobfile import published

    to = inputs.publisher(wanted) if (wanted := values.text("publisher")) else None
    job = job_in(values, values.text("FILE"))
    return job if to is None else published(job, to)


def _read(values: Values, file: str) -> tuple[str, str, Path]:
    """Return a job file's text with its template filled in, what to call it, and the folder that its paths start at."""
    text, name, folder = _text(file)
    if values.flag("no-template") or "{{" not in text:
        return text, name, folder
    from skrei.template import filled

    names = inputs.variables(values.texts("template-envs"), os.environ)
    return filled(text, names | inputs.pairs(values.texts("template-vars"), "-V"), file=name), name, folder


def _text(file: str) -> tuple[str, str, Path]:
    from skrei.jobfile import read

    if file != "-":
        if not Path(file).suffix and not Path(file).exists():
            raise Rejected(f"{file} is no file here.", hint=f"Name a job file; a container: skrei docker run {file}")
        return read(Path(file)), file, Path(file).absolute().parent
    if sys.stdin.isatty():
        raise Rejected(
            "No job file is named.", hint="skrei run FILE, or pipe one in; a container: skrei docker run IMAGE."
        )
    return sys.stdin.read(), "standard input", Path.cwd()
