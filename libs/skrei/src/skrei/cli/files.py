"""`skrei job ls`, `skrei job cat`: looking into what a job left, without fetching all of it."""

import sys

from skrei.cli import render
from skrei.cli.ask import Ask
from skrei.cli.flags import NAMESPACE, TABLE, integer
from skrei.cli.grammar import Argument, Command, Values
from skrei.cli.references import job_and_path, job_named
from skrei.cli.shape import Shape
from skrei.cli.texts import quantity, short
from skrei.errors import Rejected

COPY_BYTES = 256 * 1024
"""Held of a file while it is printed."""
PARTITION = integer("--partition", "Only this partition's; else every one's.", default=-1, least=0)
_JOB = Argument("JOB[/PATH]", "a job, and a file or folder of its results", default="-", completes="job")
_PATH = Argument("PATH", "the file or folder, where it does not stand behind the job", default="")

LS = Command("job ls", "List the files of a job's results.", "skrei.cli.files:ls", (PARTITION, NAMESPACE, *TABLE),
             (_JOB, _PATH))  # fmt: skip
CAT = Command(
    "job cat",
    "Print a file of a job's results; those of several partitions one after another.",
    "skrei.cli.files:cat",
    (PARTITION, NAMESPACE),
    (_JOB, _PATH),
)


def ls(values: Values) -> None:
    """List files."""
    from skrei.cli.archive_entries import entries, kept_results

    job, inside = _meant(values)
    with Ask(values.text("api")) as ask:
        kept = kept_results(ask, job_named(job, ask.endpoint), values.text("namespace"), _partition(values))
    found = [one for each in kept for one in entries(each) if _below(one.path, inside)]
    if not found:
        raise Rejected(f"The results hold no {inside}.", hint=f"What they hold: skrei job ls {job}")
    shape = Shape.of(values)
    if not shape.is_rows:
        told = [{"Partition": one.kept.partition, "Path": one.path, "Size": one.size, "Folder": one.is_folder,
                 "ExecutionID": one.kept.execution_id} for one in found]  # fmt: skip
        render.document({"Items": told}, shape)
        return
    plain = shape.output == "csv"
    rows = (
        (
            str(one.kept.partition),
            "" if one.is_folder else str(one.size) if plain else quantity(one.size),
            f"{one.path}/" if one.is_folder else one.path,
        )
        for one in found
    )
    render.table(("PARTITION", "SIZE", "PATH"), rows, shape)
    file = next((one.path for one in found if not one.is_folder), "")
    if file:
        render.next_step(f"skrei job cat {job} {file}", "print one of them")


def cat(values: Values) -> None:
    """Print a file: exactly to a pipe or a file, harmless to a terminal."""
    from skrei.cli.archive_entries import entries, kept_results
    from skrei.cli.screen import Screen

    job, inside = _meant(values)
    if not inside:
        raise Rejected("No file is named.", hint=f"skrei job cat {job} stdout; skrei job ls {job} lists what there is.")
    with Ask(values.text("api")) as ask:
        kept = kept_results(ask, job_named(job, ask.endpoint), values.text("namespace"), _partition(values))
    screen = Screen(many=False, before=sys.stdout.flush)
    printed = folder = False
    for each in kept:
        for one in entries(each):
            if one.path.rstrip("/") != inside:
                continue
            folder = folder or one.is_folder
            while one.content is not None and (data := one.content.read(COPY_BYTES)):
                screen.write(1, data)
                if screen.broken is not None:
                    raise screen.broken
            printed = printed or one.content is not None
    screen.close()
    if not printed:
        what = f"{inside} is a folder" if folder else f"The results hold no {inside}"
        raise Rejected(f"{what}.", hint=f"What they hold: skrei job ls {short(job)}")


def _meant(values: Values) -> tuple[str, str]:
    job, path = job_and_path(values.text("JOB[/PATH]"))
    return job, values.text("PATH").strip("/") or path


def _partition(values: Values) -> int | None:
    return values.integer("partition") if "partition" in values.given else None


def _below(path: str, folder: str) -> bool:
    return not folder or path.rstrip("/") == folder or path.startswith(f"{folder}/")
