"""`skrei data copy`: data goes from where it is to where it shall be, on a node that is near it."""

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from skrei.cli import copies, inputs, render
from skrei.cli.exit_codes import NOT_RUN
from skrei.cli.flags import seconds, text, texts
from skrei.cli.grammar import Argument, Command, Kind, Option, Values
from skrei.cli.run_options import EXIT_CODES, FORCE, ONCE, STAYING, filled
from skrei.views import Document
from skrei_domain.errors import SkreiError

if TYPE_CHECKING:
    from skrei.cli.ask import Ask

PROGRAM = Path(__file__).parents[1] / "copying" / "copy.wasm"

COPY = Command(
    "data copy",
    "Copy data to S3, to IPFS or to a folder of a node; print where it is then.",
    "skrei.cli.data_copy:copy",
    (
        text("--checksum", "sha256:HEX", "What a file from a web server has to be."),
        text("--disk", "SIZE", "How much may be copied, like 10Gb; else 1Gb."),
        Option(
            ("--constraints", "--selector", "-s"),
            "Which nodes may do it: `region=eu,!gpu`.",
            default="",
            metavar="SELECTOR",
        ),
        text("--name", "NAME", "The job's name."),
        text("--namespace", "NAME", "The job's namespace."),
        texts("--labels", "K=V", "A label of the job; repeat, or K=V,K=V.", "-l"),
        FORCE,
        ONCE,
        Option(("--priority",), "Higher goes first.", Kind.INTEGER, 0, "NUMBER", least=None),
        seconds("--timeout", "For the whole job, like 90 or 5m; 0 is no limit."),
        seconds("--queue-timeout", "How long to wait for room; 0 is the default."),
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
    from skrei.cli.ask import Ask
    from skrei.cli.autostart import api_for_a_run
    from skrei.cli.run import leaves_at_once, not_run, stay_with, submit
    from skrei.views import Job

    try:
        job = copy_job(values)
        if values.flag("dry-run"):
            render.job_file(job, values.text("format"))
            return 0
        endpoint = api_for_a_run(values.text("api"))
        with Ask(endpoint) as ask:
            submitted = submit(ask, job, values)
    except SkreiError as error:
        raise not_run(error, "data copy") from error
    with Ask(endpoint) as ask:
        code = stay_with(ask, values, Job.parse(job | {"ID": submitted.job_id}), submitted.warnings)
        if code == 0 and not leaves_at_once(values):
            render.line(arrived(ask, submitted.job_id))
    return code


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
    made = copies.task(
        copies.source(said, Path.cwd(), values.text("checksum")),
        copies.file_name(said),
        copies.publisher(values.text("DST")),
        data_url(PROGRAM),
        {"CPU": "500m", "Memory": "64Mb"} | filled(Disk=values.text("disk")),
    )
    timeouts = filled(TotalTimeout=ceil(values.seconds("timeout")), QueueTimeout=ceil(values.seconds("queue-timeout")))
    return filled(Name=values.text("name"), Namespace=values.text("namespace")) | {
        "Type": "batch",
        "Count": 1,
        "Priority": values.integer("priority"),
        "Labels": inputs.pairs(values.texts("labels"), "--labels"),
        "Constraints": inputs.constraints(values.text("constraints")),
        "FailOn": "exit-code",
        "Tasks": [made | filled(Timeouts=timeouts)],
    }
