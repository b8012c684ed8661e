"""What `docker run` and `wasm run` share: their options, and the job that they make."""

import os
from pathlib import Path

from skrei.cli import inputs
from skrei.cli.flags import API, flag, integer, seconds, text, texts
from skrei.cli.grammar import Kind, Option, Values
from skrei.views import Document

NETWORKS = {"default": "Default", "none": "None", "bridge": "Bridge", "host": "Host", "http": "HTTP", "full": "Full"}

STAYING = (
    flag("--wait", "Do not stay with the job: print its id and leave.", default=True),
    flag("--detach", "Print the job's id and leave; the same as --no-wait.", "-d"),
    flag("--id-only", "Print the job's id on standard output, and leave."),
    seconds("--wait-timeout-secs", "Stay at most so long; 0 is no limit."),
    flag("--quiet", "Say nothing beside the job's own output.", "-q"),
    flag("--dry-run", "Print the job as it would be sent."),
    Option(
        ("--format",),
        "How --dry-run prints it.",
        choices=("yaml", "json"),
        default="yaml",
        metavar="yaml|json",
    ),
)
JOB = (
    text("--name", "NAME", "The job's name."),
    text("--namespace", "NAME", "The job's namespace."),
    integer("--count", "How many partitions.", default=1, least=1),
    integer("--priority", "Higher goes first.", least=None),
    texts("--labels", "K=V", "A label of the job; repeat.", "-l"),
    text("--constraints", "SELECTOR", "Which nodes: `region=eu,disk in (ssd,nvme),!gpu`.", "-s"),
    Option(
        ("--target",),
        "Any node that can, or all of them (an ops job).",
        choices=("any", "all"),
        default="any",
        metavar="any|all",
    ),
)
TASK = (
    text("--task-name", "NAME", "The task's name.", default="main"),
    Option(
        ("--env", "-e"), "An environment variable; without VALUE the one that is set here.", Kind.TEXTS, metavar="K[=V]"
    ),
    texts("--input", "SRC[:DST]", "Data that is read at DST (/inputs): a path, s3://, https://, ipfs://.", "-i"),
    texts("--volume", "SRC:DST[:rw]", "The same for a path, as docker says it; repeat.", "-v"),
    texts("--output", "NAME:PATH", "A folder that the program fills; repeat.", "-o"),
    text("--publisher", "NAME", "Where results go; else Skrei's result store.", "-p"),
    text("--cpu", "CORES", "Like 500m or 2."),
    text("--memory", "SIZE", "Like 256Mb or 1Gi."),
    text("--disk", "SIZE", "Like 10Gb."),
    text("--gpu", "NUMBER", "Whole devices."),
    Option(
        ("--network",),
        "What of the network the program may reach.",
        choices=tuple(NETWORKS),
        default="default",
        metavar="none|bridge|host|http",
    ),
    texts("--domain", "NAME", "With --network http: a domain that may be reached; repeat."),
    integer("--timeout", "Seconds for the whole job; 0 is no limit."),
    integer("--queue-timeout", "Seconds to wait for room; 0 is the default."),
)
OPTIONS = (*JOB, *TASK, *STAYING, API)


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
        "Timeouts": filled(TotalTimeout=values.integer("timeout"), QueueTimeout=values.integer("queue-timeout")),
    }
    if publisher := values.text("publisher"):
        task["Publisher"] = inputs.publisher(publisher)
    if values.text("network") != "default" or values.texts("domain"):
        network = NETWORKS["http"] if values.texts("domain") else NETWORKS[values.text("network")]
        task["Network"] = {"Type": network} | filled(Domains=list(values.texts("domain")))
    everywhere = values.text("target") == "all"
    return filled(Name=values.text("name"), Namespace=values.text("namespace")) | {
        "Type": "ops" if everywhere else "batch",
        **({} if everywhere else {"Count": values.integer("count")}),
        "Priority": values.integer("priority"),
        "Labels": inputs.pairs(values.texts("labels"), "--labels"),
        "Constraints": inputs.constraints(values.text("constraints")),
        "Tasks": [task],
    }


def filled(**values: object) -> Document:
    """Return the values that say something: an absent key takes the API's default."""
    return {key: value for key, value in values.items() if value}
