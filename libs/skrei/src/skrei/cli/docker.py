"""`skrei docker run`: a container as a job, called as `docker run` is."""

from skrei.cli.exit_codes import NOT_RUN
from skrei.cli.flags import flag, one_of, text, texts
from skrei.cli.grammar import Argument, Misuse, Values
from skrei.cli.run_options import filled, job_of, run_command, run_engine
from skrei.views import Document

RUN = run_command(
    "docker run",
    "Run a container: its output is this program's output, its exit code this program's exit code.",
    (
        texts("--entrypoint", "PROGRAM", "Instead of the image's; repeat for its words."),
        text("--workdir", "PATH", "The folder to start in.", "-w"),
        one_of("--pull", "When to ask the registry; the node's default is missing.", "missing", "always", "never"),
        flag("--rm", "Accepted and meaningless: no container is left behind.", hidden=True),
        flag("--interactive", "", "-t", hidden=True),
        flag("--tty", "", hidden=True),
    ),
    Argument("IMAGE", "the image to run"),
    Argument("COMMAND", "the program in it and its arguments", rest=True),
)


def run(values: Values) -> int:
    """Run a container."""
    return run_engine(values, "docker run", lambda told: job_of(told, engine_of(told)))


def engine_of(values: Values) -> Document:
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
