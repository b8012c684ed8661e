"""`skrei docker run`: a container as a job, called as `docker run` is."""

from skrei.cli.exit_codes import NOT_RUN
from skrei.cli.flags import flag, text, texts
from skrei.cli.grammar import Argument, Command, Misuse, Option, Values
from skrei.cli.run_options import OPTIONS, filled, job_of
from skrei_domain.errors import SkreiError

RUN = Command(
    "docker run",
    "Run a container: its output is this program's output, its exit code this program's exit code.",
    "skrei.cli.docker:run",
    (
        texts("--entrypoint", "PROGRAM", "Instead of the image's; repeat for its words."),
        text("--workdir", "PATH", "The folder to start in.", "-w"),
        Option(
            ("--pull",),
            "When to ask the registry; the node's default is missing.",
            choices=("missing", "always", "never"),
            default="",
            metavar="missing|always|never",
        ),
        *OPTIONS,
        flag("--rm", "Accepted and meaningless: no container is left behind.", hidden=True),
        flag("--interactive", "", "-t", hidden=True),
        flag("--tty", "", hidden=True),
    ),
    (
        Argument("IMAGE", "the image to run"),
        Argument("COMMAND", "what to run in it, with its own options", rest=True),
    ),
    misuse_code=NOT_RUN,
    more=(
        "Exit code: the program's (of several partitions the highest); 1 the job failed otherwise, 124 timeout,\n"
        "125 could not be run, 130 Ctrl+C, which leaves the job running; a second Ctrl+C stops it."
    ),
)


def run(values: Values) -> int:
    """Run a container."""
    from skrei.cli.run import not_run
    from skrei.cli.run import run as run_job

    try:
        engine = engine_of(values)
        job = job_of(values, engine)
    except SkreiError as error:
        raise not_run(error, "docker run") from error
    return run_job(values, job, "docker run")


def engine_of(values: Values) -> dict[str, object]:
    """Return the engine part of the job. Raises Misuse for what only a terminal could do."""
    if values.flag("interactive") or values.flag("tty") or "t" in values.texts("input"):  # -it is -i t
        raise Misuse(
            "skrei docker run: a job has no terminal and no standard input (-it).",
            hint="Leave -it out and name a command: skrei docker run ubuntu ls /",
            exit_code=NOT_RUN,
        )
    params = filled(
        Image=values.text("IMAGE"),
        Entrypoint=list(values.texts("entrypoint")),
        Parameters=list(values.texts("COMMAND")),
        WorkingDirectory=values.text("workdir"),
        Pull=values.text("pull"),
    )
    return {"Type": "docker", "Params": params}
