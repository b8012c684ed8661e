"""Running a job as one runs a program: submitted, stayed with, and its exit code passed on."""

from collections.abc import Callable, Iterable
from http import HTTPStatus

from skrei import calls, state
from skrei.cli import render, render_run
from skrei.cli.ask import Ask
from skrei.cli.autostart import api_for_a_run
from skrei.cli.exit_codes import NOT_RUN
from skrei.cli.grammar import Values
from skrei.cli.remedies import with_remedy
from skrei.errors import ApiError, CommandFailed
from skrei.views import Document, Job, Submitted
from skrei_domain.errors import SkreiError


def run(values: Values, job: Document, command: str, done: Callable[[Ask, str], None] | None = None) -> int:
    """Submit `job` and do what `values` (of `run_options.STAYING`) say; return the exit code.

    `done` is called with the id of a job that was stayed with, and ended well. Raises CommandFailed with 125 where it
    could not even be submitted.
    """
    if values.flag("dry-run"):
        render.job_file(job, values.text("format"))
        return 0
    try:
        endpoint = api_for_a_run(values.text("api"))
    except SkreiError as error:
        raise not_run(error, command) from error
    with Ask(endpoint) as ask:
        try:
            submitted = submit(ask, job, values)
        except SkreiError as error:
            raise not_run(error, command) from error
        code = stay_with(ask, values, Job.parse(job | {"ID": submitted.job_id}), submitted.warnings)
        if done is not None and code == 0 and not leaves_at_once(values):
            done(ask, submitted.job_id)
        return code


def stay_with(ask: Ask, values: Values, job: Job, warnings: Iterable[str]) -> int:
    """Do with a job that was submitted what `values` (of `run_options.STAYING`) say; return the exit code."""
    if leaves_at_once(values):
        for warning in warnings:
            render.note(f"Warning: {warning}")
        render.line(job.id)
        return 0
    if not values.flag("quiet"):
        render_run.submitted(job.id, warnings)
    from skrei.cli.stay import Stay

    stay = Stay(
        ask,
        job.id,
        many=max(job.units, len(job.tasks)) > 1 or job.per_node or job.split,
        quiet=values.flag("quiet"),
        timeout_seconds=values.seconds("wait-timeout-secs"),
        tells_nodes=values.flag("node-details"),
    )
    return stay.until_end()


def leaves_at_once(values: Values) -> bool:
    """Whether the job's id is all that is wanted."""
    return values.flag("id-only") or values.flag("detach") or not values.flag("wait")


def submit(ask: Ask, job: Document, values: Values | None = None) -> Submitted:
    """Submit a job, and remember it as the last one here. A repeat after a lost answer never makes a second job."""
    force, token = (values.flag("force"), values.text("idempotency-token")) if values else (False, "")
    try:
        submitted = ask.send(calls.submit(job, force=force, idempotency_token=token))
    except ApiError as error:
        if error.status == HTTPStatus.CONFLICT:
            others = "`skrei job rerun` runs it again as it is, `--name OTHER` under another name"
            error.hint = f"{error.hint}; {others}".removeprefix("; ")
        raise
    state.remember_job(ask.endpoint, submitted.job_id)
    return submitted


def not_run(error: SkreiError, command: str) -> CommandFailed:
    """Return `error` as the end of a command whose program never ran."""
    return CommandFailed(error.message, hint=with_remedy(error, command).hint, exit_code=NOT_RUN)
