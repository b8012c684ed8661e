"""`skrei job run FILE` and `skrei job validate FILE`: jobs from YAML or JSON."""

import sys
import time
from dataclasses import replace
from pathlib import Path

from skrei.cli import render, render_jobs, render_progress, render_run
from skrei.cli.ask import Ask
from skrei.cli.autostart import api_for_a_run
from skrei.cli.flags import API, flag, text
from skrei.cli.grammar import Argument, Command, Option, Values
from skrei.cli.looks import executions_of, looks
from skrei.cli.run_options import STAYING
from skrei.cli.texts import short
from skrei.errors import Rejected
from skrei.progress import Progress, best_attempts
from skrei.views import Document
from skrei_domain.errors import SkreiError

MOST_SHOWN = 4
"""Partitions whose output is printed when the job is done; `skrei logs` has all."""
FILE = Argument("FILE", "YAML or JSON; `-` or nothing reads standard input", default="-")

NAME = text("--name", "NAME", "The job's name, instead of the file's.")
FORCE = flag("--force", "Submit even when nothing has changed.")
FOLLOW = flag("--follow", "Stay as `docker run` does: its output as it comes, its exit code.", "-f")
OUTPUT = Option(
    ("--format", "--output", "-o"),
    "How --dry-run prints it.",
    choices=("yaml", "json"),
    default="yaml",
    metavar="yaml|json",
)

RUN = Command(
    "job run",
    "Submit the job in a file and show its progress. Exits 1 when it does not complete.",
    "skrei.cli.jobfiles:run",
    (NAME, FOLLOW, FORCE, *(one for one in STAYING if one.key != "format"), OUTPUT, API),
    (FILE,),
)
VALIDATE = Command(
    "job validate",
    "Check a job file without an API: every wrong field at once.",
    "skrei.cli.jobfiles:validate",
    (),
    (FILE,),
)


def run(values: Values) -> int:
    """Submit the job in a file and stay with it."""
    from skrei.cli.run import not_run, submit
    from skrei.cli.run import run as run_job
    from skrei.jobfile import renamed

    if values.flag("follow"):
        try:
            job = renamed(_load(values.text("FILE")), values.text("name"))
        except SkreiError as error:
            raise not_run(error, "job run") from error
        return run_job(values, job, "job run")
    job = renamed(_load(values.text("FILE")), values.text("name"))
    if values.flag("dry-run") or values.flag("id-only") or values.flag("detach") or not values.flag("wait"):
        return run_job(values, job, "job run")
    with Ask(api_for_a_run(values.text("api"))) as ask:
        submitted = submit(ask, job, force=values.flag("force"))
        for warning in submitted.warnings:
            render.note(f"Warning: {warning}")
        render.line(f"Job successfully submitted. Job ID: {submitted.job_id}")
        try:
            last = _watch(ask, submitted.job_id, values.seconds("wait-timeout-secs"))
        except KeyboardInterrupt:
            from skrei.cli.stay import leave

            return leave(ask, submitted.job_id)
    return finish(last)


def validate(values: Values) -> None:
    """Check a job file: what is wrong with the file and with the job in it, all at once."""
    from skrei.jobfile import examine, not_a_job
    from skrei_domain.errors import Invalid
    from skrei_domain.job import parse_job

    warnings: tuple[str, ...] = ()
    text, name, folder = _read(values.text("FILE"))
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


def finish(last: Progress) -> int:
    """Print what a finished job said and what can be asked next; return the exit code."""
    job = last.job
    if job.state != "Completed":
        render_run.failure(job, last.executions)
        return 1
    if 0 < job.count <= MOST_SHOWN:
        render_jobs.job_output(last.executions)
    for one in best_attempts(last.executions):
        if one.exit_code:
            render.note(f"Partition {one.partition} ended with exit code {one.exit_code}.")
    render.line()
    render.hints(
        [
            (f"skrei describe {short(job.id)}", "everything about it"),
            (f"skrei get {short(job.id)}", "fetch its results"),
        ]
    )
    return 0


def _watch(ask: Ask, job_id: str, timeout_seconds: float) -> Progress:
    until = time.monotonic() + timeout_seconds if timeout_seconds else None
    with render_progress.progress_view() as view:
        for look in looks(ask, job_id):
            view.show(look)
            if look.job.is_terminal:
                return look if look.executions else replace(look, executions=executions_of(ask, job_id))
            if until is not None and time.monotonic() > until:
                break
    raise Rejected(
        f"The job is not done after {timeout_seconds:g} s; it goes on without this program.",
        hint=f"Come back: skrei logs -f {short(job_id)}",
    )


def _load(file: str) -> Document:
    from skrei.jobfile import parse

    text, name, folder = _read(file)
    return parse(text, name=name, folder=folder)


def _read(file: str) -> tuple[str, str, Path]:
    """Return a job file's text, what to call it, and the folder that its paths start at."""
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
