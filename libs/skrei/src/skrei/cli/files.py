"""`skrei job results|ls|cat`: which results a job left, and looking into them without fetching all of it."""

import sys
from collections.abc import Sequence

from skrei import calls
from skrei.cli import render, render_results
from skrei.cli.archive_entries import Choice, entries, kept_results
from skrei.cli.ask import Ask
from skrei.cli.flags import LAST, NAMESPACE, TABLE, VERSION, integer, text
from skrei.cli.grammar import Argument, Command, Values
from skrei.cli.references import job_and_path, job_named
from skrei.cli.shape import Shape
from skrei.cli.texts import short
from skrei.errors import Rejected
from skrei.job_parts import Result, holding
from skrei.views import Job

COPY_BYTES = 256 * 1024
"""Held of a file while it is printed."""
CHOICE = (
    integer("--partition", "Only this partition's; else every one's.", "-p", default=-1, least=0),
    text("--task", "NAME", "Only this task's; else every one's.", completes="task"),
    text("--node", "NODE", "Only what this node left, by its name or id; else every one's.", completes="node"),
)
_JOB = Argument("JOB[/PATH]", "a job, and a file or folder of its results", default="-", completes="job")
_PATH = Argument("PATH", "the file or folder, where it does not stand behind the job", default="")

RESULTS = Command(
    "job results",
    "List a job's results: whose they are, how large, and until when they are kept.",
    "skrei.cli.files:results",
    (text("--execution", "ID", "What this execution left, whether it counts or not.", "-e"), *CHOICE, VERSION,
     NAMESPACE, *TABLE),
    (LAST,),
)  # fmt: skip
LS = Command(
    "job ls",
    "List the files of a job's results.",
    "skrei.cli.files:ls",
    (*CHOICE, NAMESPACE, *TABLE),
    (_JOB, _PATH),
)
CAT = Command(
    "job cat",
    "Print a file of a job's results; those of several partitions one after another.",
    "skrei.cli.files:cat",
    (*CHOICE, NAMESPACE),
    (_JOB, _PATH),
)


def results(values: Values) -> None:
    """List results."""
    shape = Shape.of(values)
    with Ask(values.text("api")) as ask:
        job = _job(ask, values, values.text("JOB"))
        wanted = calls.results(job.id, execution_id=values.text("execution"), version=values.integer("version"))
        found = ask.send(wanted)
        until = "" if found.items else _kept_until(ask, job)
    if not shape.is_rows:
        render.document(found.document, shape)
        return
    meant = _choice(values).of(job, found.items)
    render_results.results(job, meant, shape, until)
    if meant:
        render.next_step(f"skrei get {short(job.id)}", "fetch them")
    else:
        render.next_step(f"skrei describe {short(job.id)}", "how it stands")


def _kept_until(ask: Ask, job: Job) -> str:
    """Return until when a job's results were kept; empty where there were none, or they are kept."""
    from skrei.cli.looks import executions_of

    gone = (one for one in executions_of(ask, job.id) if one.has_result and one.result_kept is False)
    return next((one.result_kept_until for one in gone), "")


def ls(values: Values) -> None:
    """List files."""
    typed, inside = _meant(values)
    with Ask(values.text("api")) as ask:
        job = _job(ask, values, typed)
        kept = kept_results(ask, job, _choice(values))
    meant = holding(kept, inside)
    held = (one for each in meant for one in entries(ask.endpoint, each, inside))
    found = [one for one in held if _below(one.path, inside)]
    if not found:
        raise _none(meant, inside, typed)
    render_results.files(job, found, Shape.of(values))
    for each in [one for one in meant if one.left_at][: render_results.MOST_PLACES]:
        render.note(f"{render_results.left(each)}: `skrei get` fetches it where that node's owner allows.")
    file = next((one.path for one in found if not one.is_folder), "")
    if file:
        render.next_step(f"skrei job cat {typed} {file}", "print one of them")


def cat(values: Values) -> None:
    """Print a file: exactly to a pipe or a file, harmless to a terminal."""
    from skrei.cli.screen import Screen

    typed, inside = _meant(values)
    if not inside:
        raise Rejected(
            "No file is named.", hint=f"skrei job cat {typed} stdout; skrei job ls {typed} lists what there is."
        )
    with Ask(values.text("api")) as ask:
        kept = kept_results(ask, _job(ask, values, typed), _choice(values))
    screen = Screen(many=False, before=sys.stdout.flush)
    printed = folder = False
    meant = holding(kept, inside)
    for each in meant:
        for one in entries(ask.endpoint, each, inside):
            if one.path.rstrip("/") != inside:
                continue
            folder = folder or one.is_folder
            while one.content is not None and (data := one.content.read(COPY_BYTES)):
                screen.write(1, data)
                if screen.broken is not None:
                    raise screen.broken
            printed = printed or one.content is not None
    screen.close()
    if folder and not printed:
        raise Rejected(f"{inside} is a folder.", hint=f"What they hold: skrei job ls {short(typed)}")
    if not printed:
        raise _none(meant, inside, short(typed))


def _none(meant: Sequence[Result], inside: str, typed: str) -> Rejected:
    """Return why nothing is shown: it is not there, or stays on its node."""
    if left := next((one for one in meant if one.left_at), None):
        return Rejected(
            f"{inside} {left.left_words}." if inside else f"All of it {left.left_words}.",
            hint=f"Where that node's owner allows, this fetches it: skrei get {typed}{'/' if inside else ''}{inside}",
        )
    return Rejected(f"The results hold no {inside}.", hint=f"What they hold: skrei job ls {typed}")


def _job(ask: Ask, values: Values, typed: str) -> Job:
    return ask.send(calls.job(job_named(typed, ask.endpoint), namespace=values.text("namespace")))


def _meant(values: Values) -> tuple[str, str]:
    job, path = job_and_path(values.text("JOB[/PATH]"))
    return job, values.text("PATH").strip("/") or path


def _choice(values: Values) -> Choice:
    partition = values.integer("partition") if "partition" in values.given else None
    return Choice(values.text("task"), partition, values.text("node"))


def _below(path: str, folder: str) -> bool:
    return not folder or path.rstrip("/") == folder or path.startswith(f"{folder}/")
