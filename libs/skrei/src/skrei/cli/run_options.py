"""What `docker run`, `wasm run` and `data copy` share: their options, and the job that they make."""

import os
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from skrei.cli import inputs
from skrei.cli.exit_codes import NOT_RUN
from skrei.cli.flags import flag, integer, one_of, seconds, text, texts
from skrei.cli.grammar import Argument, Command, Kind, Misuse, Option, Values
from skrei.views import Document
from skrei_domain.errors import SkreiError

if TYPE_CHECKING:
    from skrei.cli.ask import Ask

NETWORKS = {"default": "Default", "none": "None", "bridge": "Bridge", "host": "Host", "http": "HTTP", "full": "Full"}

STAYING = (
    flag("--wait", "Do not stay with the job: print its id and leave.", default=True),
    flag("--detach", "Print the job's id and leave; the same as --no-wait.", "-d"),
    flag("--id-only", "Print the job's id on standard output, and leave."),
    seconds("--wait-timeout-secs", "Stay at most so long; 0 is no limit."),
    flag("--quiet", "Say nothing beside the job's own output.", "-q"),
    flag("--dry-run", "Print the job as it would be sent, and send nothing."),
    one_of("--format", "How --dry-run prints it.", "yaml", "json", default="yaml"),
    flag("--node-details", "Say which node each partition runs on."),
    flag("--follow", "Accepted and meaningless: the output is shown while it comes.", "-f", hidden=True),
    flag("--group-events", "Accepted and meaningless: what happened is told by partition.", hidden=True),
)
FORCE = flag("--force", "Submit even when nothing has changed.")
ONCE = text("--idempotency-token", "TEXT", "Submit at most once under this token, for a day: a repeat is the same job.")
NAMES = (text("--name", "NAME", "The job's name."), text("--namespace", "NAME", "The job's namespace."))
PRIORITY = integer("--priority", "Higher goes first.", least=None)
LABELS = texts("--labels", "K=V", "A label of the job; repeat, or K=V,K=V.", "-l")
TIMEOUTS = (
    seconds("--timeout", "For the whole job, like 90 or 5m; 0 is no limit."),
    seconds("--queue-timeout", "How long to wait for room; 0 is the default."),
)
JOB = (
    *NAMES,
    FORCE,
    ONCE,
    Option(("--count", "--concurrency"), "How many partitions.", Kind.INTEGER, 1, "NUMBER", least=1),
    PRIORITY,
    LABELS,
    Option(
        ("--constraints", "--selector", "-s"),
        "Which nodes: `region=eu,disk in (ssd,nvme),!gpu`.",
        default="",
        metavar="SELECTOR",
    ),
    one_of("--target", "Any node that can, or all of them (an ops job).", "any", "all", default="any"),
    one_of("--fail-on", "With exit-code, a program that ends with another code than 0 has failed.", "exit-code"),
)
TASK = (
    text("--task-name", "NAME", "The task's name.", default="main"),
    Option(
        ("--env", "-e"), "An environment variable; without VALUE the one that is set here.", Kind.TEXTS, metavar="K[=V]"
    ),
    texts("--input", "SRC[:DST]", "Data read at DST (/inputs): a path, data://, s3://, https://, ipfs://.", "-i"),
    texts("--volume", "SRC:DST[:rw]", "The same for a path, as docker says it; repeat.", "-v"),
    texts("--output", "NAME:PATH", "A folder that the program fills; repeat.", "-o"),
    text("--publisher", "NAME", "Where results go: s3://BUCKET/KEY, ipfs; else Skrei's result store.", "-p"),
    text("--cpu", "CORES", "Like 500m or 2."),
    text("--memory", "SIZE", "Like 256Mb or 1Gi."),
    text("--disk", "SIZE", "Like 10Gb."),
    text("--gpu", "NUMBER", "Whole devices."),
    Option(
        ("--network",),
        "What of the network the program may reach.",
        choices=tuple(NETWORKS),
        default="default",
        metavar="default|none|bridge|host|http",
    ),
    texts("--domain", "NAME", "With --network http: a domain that may be reached; repeat."),
    *TIMEOUTS,
)
TEMPLATE = (
    flag("--no-template", "Read the file as it is: {{ }} means nothing in it."),
    texts("--template-vars", "K=V", "What {{.K}} in the file stands for; repeat.", "-V"),
    texts("--template-envs", "REGEX", "Variables of this environment that {{.NAME}} may stand for.", "-E"),
)
OPTIONS = (*JOB, *TASK, *STAYING)
EXIT_CODES = (
    "Exit code: the program's (of several partitions the highest); 1 the job failed otherwise, 124 timeout,\n"
    "125 could not be run, 130 Ctrl+C, which leaves the job running; a second Ctrl+C stops it."
)


def run_command(name: str, summary: str, own: tuple[Option, ...], what: Argument, rest: Argument) -> Command:
    """Return the declaration of a command that runs `what` with the words of `rest`: both engines' are alike."""
    module = f"skrei.cli.{name.partition(' ')[0]}"
    return Command(name, summary, f"{module}:run", (*own, *OPTIONS), (what, rest), misuse_code=NOT_RUN, more=EXIT_CODES)


def run_engine(
    values: Values, name: str, job: Callable[[Values], Document], done: "Callable[[Ask, str], None] | None" = None
) -> int:
    """Submit the job that `job` makes of the values, and stay with it; what cannot be made of them is not run.

    `done` is called with the id of one that was stayed with, and ended well.
    """
    from skrei.cli.run import not_run, run

    try:
        made = job(values)
    except SkreiError as error:
        raise not_run(error, name) from error
    return run(values, made, name, done)


def job_of(values: Values, engine: Document, extra_inputs: tuple[Document, ...] = ()) -> Document:
    """Return the job that these values ask for, with one task for `engine`. Raises Rejected."""
    here = Path.cwd()
    read = [inputs.input_source(one, here) for one in values.texts("input")]
    read += [inputs.input_source(one, here, option="--volume") for one in values.texts("volume")]
    task: Document = {
        "Name": values.text("task-name"),
        "Engine": engine,
        "Env": inputs.environment(values.texts("env"), os.environ),
        "InputSources": [*extra_inputs, *read],
        "ResultPaths": [inputs.result_path(one) for one in values.texts("output")],
        "Resources": filled(
            CPU=values.text("cpu"), Memory=values.text("memory"), Disk=values.text("disk"), GPU=values.text("gpu")
        ),
        "Timeouts": timeouts(values),
    }
    if publisher := values.text("publisher"):
        task["Publisher"] = inputs.publisher(publisher)
    if network := _network(values):
        task["Network"] = network
    kind = {"Type": "ops"} if values.text("target") == "all" else {"Type": "batch", "Count": values.integer("count")}
    return around_tasks(values, kind) | {"Tasks": [task], **filled(FailOn=values.text("fail-on"))}


def around_tasks(values: Values, kind: Document) -> Document:
    """Return what the values say of a job of that kind, whatever it runs. Raises Rejected."""
    return filled(Name=values.text("name"), Namespace=values.text("namespace")) | {
        **kind,
        "Priority": values.integer("priority"),
        "Labels": inputs.pairs(values.texts("labels"), "--labels"),
        "Constraints": inputs.constraints(values.text("constraints")),
    }


def timeouts(values: Values) -> Document:
    """Return what the values of `TIMEOUTS` say."""
    return filled(TotalTimeout=ceil(values.seconds("timeout")), QueueTimeout=ceil(values.seconds("queue-timeout")))


def _network(values: Values) -> Document:
    """Return what is said of the network; domains alone mean HTTP. Raises Misuse where they contradict the rest."""
    said, domains = values.text("network"), list(values.texts("domain"))
    if domains and "network" in values.given and said != "http":
        raise Misuse(
            f"--network {said} and --domain {domains[0]} contradict each other: domains are let through by http alone.",
            hint="Leave out one of the two; --domain alone means --network http.",
            exit_code=NOT_RUN,
        )
    if domains:
        return {"Type": NETWORKS["http"], "Domains": domains}
    return {} if said == "default" else {"Type": NETWORKS[said]}


def filled(**values: object) -> Document:
    """Return the values that say something: an absent key takes the API's default."""
    return {key: value for key, value in values.items() if value}
