"""`skrei job wait`, `rerun`, `scale`, `rollback`, `diff`: what is done with a job that is there.

A rerun, a scale and a rollback make a new version of the job, as an update with a changed file does.
"""

import time
from http import HTTPStatus
from pathlib import Path

from skrei import calls, state
from skrei.cli import render
from skrei.cli.ask import Ask
from skrei.cli.exit_codes import FAILED, MISUSED, NOT_RUN, TIMED_OUT, Ends
from skrei.cli.flags import JOB, NAMESPACE, flag, integer, one_of, seconds, text
from skrei.cli.grammar import Argument, Command, Misuse, Values
from skrei.cli.looks import executions_of, looks
from skrei.cli.references import job_named, task_named
from skrei.cli.run_options import EXIT_CODES, STAYING, TEMPLATE
from skrei.cli.texts import short
from skrei.errors import ApiError, CommandFailed, Rejected
from skrei.job_parts import Difference
from skrei.progress import Progress
from skrei.rollout import GONE_BACK_FROM, Rollout
from skrei.views import Document, Job

SERVERS = ("ID", "State", "Version", "Revision", "CreateTime", "ModifyTime")
"""What of a job the server writes."""

WAIT = Command(
    "job wait",
    "Wait until jobs have ended, and exit with the highest exit code of their programs.",
    "skrei.cli.acts:wait",
    (
        one_of(
            "--for",
            "What to wait for: running is a first program that was started, ready a service's whole version.",
            *("end", "running", "ready"),
            default="end",
        ),
        seconds("--timeout", "At most so long; 0 is no limit."),
        flag("--quiet", "Say nothing.", "-q"),
        NAMESPACE,
    ),
    (Argument("JOB", "jobs, by id, prefix or name; none is the last one", several=True, completes="job"),),
    more=EXIT_CODES,
)
RERUN = Command(
    "job rerun",
    "Run a job again: a new version of it, with the same description.",
    "skrei.cli.acts:rerun",
    (
        integer("--version", "Of this version; 0 is the latest.", "-v"),
        text("--reason", "TEXT", "Why; for whoever reads the job's history."),
        flag("--same-inputs", "Read the very objects that the version read; else its inputs are listed anew."),
        NAMESPACE,
        *(one for one in STAYING if one.key not in ("dry-run", "format")),
    ),
    (JOB,),
    misuse_code=NOT_RUN,
    more=EXIT_CODES,
)
SCALE = Command(
    "job scale",
    "Give a job another number of partitions (a service: of replicas): a new version of it.",
    "skrei.cli.acts:scale",
    (text("--task", "NAME", "Of this task, which has a count of its own.", completes="task"), NAMESPACE),
    (JOB, Argument("COUNT", "how many")),
)
ROLLBACK = Command(
    "job rollback",
    "Go back to an earlier version of a job: a new version with its description.",
    "skrei.cli.acts:rollback",
    (integer("--to", "To this version; else the one before the last, unless a service is back already."), NAMESPACE),
    (JOB,),
)
DIFF = Command(
    "job diff",
    "Tell what a job file would change in the job of its name, or what differs between two versions of a job.",
    "skrei.cli.acts:diff",
    (
        integer("--version", "The newer of two versions; 0 is the latest.", "-v"),
        integer("--to", "The older one; 0 is the one before."),
        *TEMPLATE,
        NAMESPACE,
    ),
    (Argument("FILE|JOB", "a job file, or a job", completes="job"),),
)


def wait(values: Values) -> int:
    """Wait for each job; return the highest exit code."""
    until = time.monotonic() + values.seconds("timeout") if values.seconds("timeout") else None
    codes = []
    with Ask(values.text("api")) as ask:
        for typed in values.texts("JOB") or ("-",):
            job = ask.send(calls.job(job_named(typed, ask.endpoint), namespace=values.text("namespace")))
            codes.append(_wait_for(ask, job.id, values, until))
    return max(codes, default=0)


def _wait_for(ask: Ask, job_id: str, values: Values, until: float | None) -> int:
    ends, told = Ends(), values.flag("quiet") or values.text("for") != "end"
    rollout: Rollout | None = None
    for look in looks(ask, job_id):
        ends.take(look.events)
        if look.job.endless and not look.job.is_terminal and not told:
            told = True
            sooner = "--for ready waits until all of it is" if look.job.type == "service" else "--for running is sooner"
            render.note(f"{short(job_id)} is a {look.job.type}, which runs until it is stopped; {sooner}.")
        if values.text("for") == "ready":
            _check_gets_ready(look.job)
            rollout = rollout or Rollout(look.job.version)
            rollout.take(look.events)
            rollout.look(look.job.version)
            if rollout.settled:
                return _tell_rollout(job_id, rollout, values)
        if look.job.is_terminal:
            from skrei.cli.render_jobs import job_state

            code = ends.exit_code(look.job, look.executions or executions_of(ask, job_id))
            if not values.flag("quiet"):
                render.line(f"{short(job_id)} {job_state(look.job)}")
            return code
        if values.text("for") == "running" and _runs(look, ends):
            if not values.flag("quiet"):
                render.line(f"{short(job_id)} {look.job.state}")
            return 0
        if until is not None and time.monotonic() > until:
            raise CommandFailed(
                f"{short(job_id)} is {look.job.state} after {values.seconds('timeout'):g} s.",
                hint=f"Why: skrei describe {short(job_id)}",
                exit_code=TIMED_OUT,
            )
    raise AssertionError("unreachable: looks end with a terminal one")


def _runs(look: Progress, ends: Ends) -> bool:
    """Whether a program of the job's version has been started: a job is Running from its first placement on."""
    if look.job.state != "Running":
        return False
    return ends.has_run(look.job.version) or any(one.state == "Running" for one in (*look.executions, *look.moved))


def _check_gets_ready(job: Job) -> None:
    if job.type != "service":
        raise CommandFailed(
            f"{short(job.id)} is a {job.type} job, and only a service gets ready.",
            hint="Wait for its end, which is the default, or --for running.",
            exit_code=MISUSED,
        )


def _tell_rollout(job_id: str, rollout: Rollout, values: Values) -> int:
    if not rollout.ready:
        raise CommandFailed(
            rollout.problem, hint=f"What each version did: skrei job history {short(job_id)}", exit_code=FAILED
        )
    if not values.flag("quiet"):
        render.line(f"{short(job_id)} version {rollout.version} is ready")
    return 0


def rerun(values: Values) -> int:
    """Run a job again, and stay with it as `docker run` does."""
    from skrei.cli.run import stay_with

    with Ask(values.text("api")) as ask:
        named = job_named(values.text("JOB"), ask.endpoint)
        again = calls.rerun(
            named,
            namespace=values.text("namespace"),
            version=values.integer("version"),
            reason=values.text("reason"),
            same_inputs=values.flag("same-inputs"),
        )
        try:
            submitted = ask.send(again)
            job = ask.send(calls.job(submitted.job_id))
        except ApiError as error:
            raise CommandFailed(error.message, hint=error.hint, exit_code=NOT_RUN) from error
        state.remember_job(ask.endpoint, job.id)
        return stay_with(ask, values, job, submitted.warnings)


def scale(values: Values) -> None:
    """Change the count of a job."""
    said = values.text("COUNT")
    if not said.isdigit():
        raise Misuse(f"skrei job scale: {said}: not a whole number.", hint="Usage: skrei job scale JOB COUNT")
    with Ask(values.text("api")) as ask:
        job = _document(ask, values)
        task = values.text("task")
        if task:
            task_named(task, Job.parse(job))
            tasks = [one | {"Count": int(said)} if one.get("Name") == task else one for one in job.get("Tasks") or ()]
            changed = job | {"Tasks": tasks}
        else:
            changed = job | {"Count": int(said)}
        _update(ask, changed, f"scaled to {int(said)}")


def rollback(values: Values) -> None:
    """Submit an earlier version's description again."""
    with Ask(values.text("api")) as ask:
        latest = _latest(ask, job_named(values.text("JOB"), ask.endpoint), values)
        if not values.integer("to") and (why := _went_back(ask, latest)):
            render.line(f"{short(latest.id)} is back already: {why}.")
            render.next_step(f"skrei job rollback {short(latest.id)} --to NUMBER", "another version")
            return
        wanted = values.integer("to") or latest.version - 1
        _update(ask, _version(ask, latest, wanted).document, f"back to version {wanted}")


def _went_back(ask: Ask, latest: Job) -> str:
    """How a service came by itself to the version that it has: the one before is what was given up. Else empty."""
    if latest.type != "service":
        return ""
    told = ask.send(calls.history(latest.id, limit=1, event_type="job", version=latest.version)).items
    return next((item.message for item in told if GONE_BACK_FROM in item.details), "")


def diff(values: Values) -> None:
    """Print what differs."""
    typed = values.text("FILE|JOB")
    with Ask(values.text("api")) as ask:
        if Path(typed).is_file():
            from skrei.cli.jobfiles import job_in

            told = ask.send(calls.diff(job_in(values, typed)))
        else:
            told = Difference(_between(ask, job_named(typed, ask.endpoint), values))
    for warning in told.warnings:
        render.note(f"Warning: {warning}")
    render.line(told.text.rstrip("\n") or "No diff detected.")


def _between(ask: Ask, job: str, values: Values) -> str:
    """Return the difference of two versions, as `diff -u` tells it, of their descriptions as files."""
    import difflib

    from skrei.cli.render import file_text

    latest = _latest(ask, job, values)
    newer = values.integer("version") or latest.version
    older = values.integer("to") or newer - 1
    before, after = (
        file_text(bare(_version(ask, latest, one).document)).splitlines(keepends=True) for one in (older, newer)
    )
    return "".join(difflib.unified_diff(before, after, f"version {older}", f"version {newer}"))


def _latest(ask: Ask, job: str, values: Values) -> Job:
    return ask.send(calls.job(job, namespace=values.text("namespace")))


def _version(ask: Ask, latest: Job, wanted: int) -> Job:
    """Return one version of a job. Raises Rejected where there is none of that number."""
    if wanted == latest.version:
        return latest
    if not 0 < wanted < latest.version:
        there = f"1 to {latest.version}" if latest.version > 1 else "1 alone"
        what = f"There is no version {wanted}" if wanted > 0 else "There is no earlier version"
        raise Rejected(f"{what} of {short(latest.id)}.", hint=f"Its versions: {there}")
    return ask.send(calls.job(latest.id, version=wanted))


def bare(job: Document) -> Document:
    """Return a job's description without what the server writes: as it can be submitted."""
    own = {key: value for key, value in job.items() if key not in SERVERS}
    if meta := {key: value for key, value in (job.get("Meta") or {}).items() if not key.startswith("bacalhau.org/")}:
        return own | {"Meta": meta}
    return {key: value for key, value in own.items() if key != "Meta"}


def _document(ask: Ask, values: Values) -> Document:
    return _latest(ask, job_named(values.text("JOB"), ask.endpoint), values).document


def _update(ask: Ask, job: Document, what: str) -> None:
    from skrei.cli.run import submit

    try:
        submitted = submit(ask, bare(job))
    except ApiError as error:
        if error.status in (HTTPStatus.CONFLICT, HTTPStatus.INTERNAL_SERVER_ERROR) and "no changes" in error.message:
            raise Rejected(f"The job is so already: {error.message}", hint="Nothing was changed.") from error
        raise
    for warning in submitted.warnings:
        render.note(f"Warning: {warning}")
    render.line(f"{short(submitted.job_id)} {what}.")
    render.next_step(f"skrei describe {short(submitted.job_id)}", "how it goes")
