"""`skrei data copy`: data goes from where it is to where it shall be, on a node that is near it."""

from pathlib import Path
from typing import TYPE_CHECKING

from skrei.cli import copies, render
from skrei.cli.exit_codes import NOT_RUN
from skrei.cli.flags import text
from skrei.cli.grammar import Argument, Command, Option, Values
from skrei.cli.run_options import (
    EXIT_CODES,
    FORCE,
    LABELS,
    NAMES,
    ONCE,
    PRIORITY,
    STAYING,
    TIMEOUTS,
    around_tasks,
    filled,
    run_engine,
    timeouts,
)
from skrei.views import Document

if TYPE_CHECKING:
    from skrei.cli.ask import Ask

PROGRAM = Path(__file__).parents[1] / "copying" / "copy.wasm"

COPY = Command(
    "data copy",
    "Copy data to S3, to IPFS or to a folder of a node; print where it is then.",
    "skrei.cli.data_copy:copy",
    (
        text("--checksum", "sha256:HEX", "What the one file that is copied has to be."),
        text("--disk", "SIZE", "How much may be copied, like 10Gb; else 1Gb."),
        Option(
            ("--constraints", "--selector", "-s"),
            "Which nodes may do it: `region=eu,!gpu`.",
            default="",
            metavar="SELECTOR",
        ),
        *NAMES,
        LABELS,
        FORCE,
        ONCE,
        PRIORITY,
        *TIMEOUTS,
        *STAYING,
    ),
    (
        Argument("SRC", "a path, data://NAME, https://…, s3://BUCKET/KEY[,opt=K=V], ipfs://CID"),
        Argument("DST", "s3://BUCKET/KEY[,opt=K=V], ipfs://, or a folder to be made on a node (/srv/copies/x)"),
    ),
    misuse_code=NOT_RUN,
    more=(
        "For example: skrei data copy https://example.org/rows.csv s3://archive/rows\n"
        "             skrei data copy data://books ipfs://\n\n" + EXIT_CODES
    ),
)


def copy(values: Values) -> int:
    """Submit the job that copies, stay with it, and print the address of what it left."""
    return run_engine(values, "data copy", copy_job, lambda ask, job_id: render.line(arrived(ask, job_id)))


def arrived(ask: "Ask", job_id: str) -> str:
    """Return where the copy is. Raises CommandFailed where nobody says."""
    from skrei.cli.looks import executions_of
    from skrei.errors import CommandFailed
    from skrei.progress import best_attempts

    for one in best_attempts(executions_of(ask, job_id)):
        published = one.document.get("PublishedResult") or {}
        if found := copies.address(published):
            if not found.partition("://")[1]:
                render.note(f"On node {one.node_id}:")
            return found
    raise CommandFailed(
        "The copy is made, but the server does not say where it is.",
        hint=f"skrei job results {job_id} tells what it knows; an older server keeps such results itself.",
        exit_code=1,
    )


def copy_job(values: Values) -> Document:
    """Return the job. Raises Rejected."""
    from skrei.inline import data_url

    said = values.text("SRC")
    checksum = values.text("checksum")
    source = copies.source(said, Path.cwd(), checksum)
    made = copies.task(
        source,
        copies.file_name(said),
        copies.publisher(values.text("DST")),
        data_url(PROGRAM),
        {"CPU": "500m", "Memory": "64Mb"} | filled(Disk=values.text("disk")),
        digest=copies.expected(source, checksum),
    )
    return around_tasks(values, {"Type": "batch", "Count": 1}) | {
        "FailOn": "exit-code",
        "Tasks": [made | filled(Timeouts=timeouts(values))],
    }
