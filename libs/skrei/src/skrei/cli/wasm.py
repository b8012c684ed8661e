"""`skrei wasm run`: one module with its arguments as a job, without a file."""

from pathlib import Path
from typing import Annotated

import typer

from skrei.cli.options import Api, endpoint, settled
from skrei.errors import Rejected
from skrei.views import Document

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Run WebAssembly modules.")

MODULE_TARGET = "/main.wasm"
"""Where the module lies for its node; no job sees it as an input."""
INPUT_TARGET = "/inputs"


@app.callback()
def group() -> None:
    """Run WebAssembly modules."""


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    module: Annotated[
        Path, typer.Argument(metavar="MODULE", help="A .wasm file of this machine; it travels with the job.")
    ],
    args: Annotated[list[str] | None, typer.Argument(metavar="[ARGS]...", help="The program's arguments.")] = None,
    *,
    entry_point: Annotated[str, typer.Option("--entry-point", help="The exported function to call.")] = "_start",
    name: Annotated[str, typer.Option("--name", help="The job's name.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", help="The job's namespace.")] = "",
    count: Annotated[int, typer.Option("--count", min=1, help="How many partitions.")] = 1,
    priority: Annotated[int, typer.Option("--priority", help="Higher goes first.")] = 0,
    labels: Annotated[
        list[str] | None, typer.Option("--labels", "-l", metavar="K=V", help="A label of the job.")
    ] = None,
    constraints: Annotated[
        str, typer.Option("--constraints", help="Which nodes: `region=eu,disk in (ssd,nvme),!gpu`.")
    ] = "",
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="K=V", help="An environment variable.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="PATH[:TARGET]", help="A path of the nodes that is read at TARGET (/inputs)."
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output", "-o", metavar="NAME:PATH", help="A folder that the program fills.")
    ] = None,
    cpu: Annotated[str, typer.Option("--cpu", help="Cores, like 500m or 2.")] = "",
    memory: Annotated[str, typer.Option("--memory", help="Memory, like 256Mb or 1Gi.")] = "",
    timeout: Annotated[int, typer.Option("--timeout", min=0, help="Seconds for the whole job; 0 is no limit.")] = 0,
    queue_timeout: Annotated[
        int, typer.Option("--queue-timeout", min=0, help="Seconds to wait for room; 0 is the default.")
    ] = 0,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until the job is done.")] = True,
    id_only: Annotated[bool, typer.Option("--id-only", help="Print the job's id and nothing else.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show the output while it comes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the job as it would be sent.")] = False,
    api: Api = None,
) -> None:
    """Run a module; what follows MODULE goes to the program. Exits 1 when the job does not complete."""
    from skrei.cli.submit import Wish, submit

    task: Document = {
        "Name": "main",
        "Engine": {
            "Type": "wasm",
            "Params": {"EntryModule": MODULE_TARGET, "Entrypoint": entry_point, "Parameters": list(args or ())},
        },
        "Env": _pairs(env, "--env"),
        "InputSources": [_module(module), *(_input(text) for text in inputs or ())],
        "ResultPaths": [_output(text) for text in outputs or ()],
        "Resources": _filled(CPU=cpu, Memory=memory),
        "Timeouts": _filled(TotalTimeout=timeout, QueueTimeout=queue_timeout),
    }
    job = _filled(Name=name, Namespace=namespace) | {
        "Type": "batch",
        "Count": count,
        "Priority": priority,
        "Labels": _pairs(labels, "--labels"),
        "Constraints": _constraints(constraints),
        "Tasks": [task],
    }
    settled(submit(endpoint(api), job, Wish(wait=wait, id_only=id_only, follow_logs=follow, dry_run=dry_run)))


def _module(module: Path) -> Document:
    from skrei.inline import data_url

    if not module.is_file():
        raise Rejected(f"{module} is not a file.", hint="Name a .wasm file of this machine.")
    return {
        "Source": {"Type": "inline", "Params": {"URL": data_url(module)}},
        "Target": MODULE_TARGET,
        "Alias": "module",
    }


def _input(text: str) -> Document:
    """Read `PATH[:TARGET]`, `file://PATH[:TARGET]` or `src=…,dst=…,opt=rw=true` as a local input."""
    source, target, writable = text, INPUT_TARGET, False
    if text.startswith("src="):
        fields = [field.partition("=")[::2] for field in text.split(",")]
        unknown = [key for key, _ in fields if key not in {"src", "dst", "opt"}]
        if unknown:
            raise Rejected(f"--input {text}: {unknown[0]!r} is not known; use src=, dst= and opt=.")
        named = dict(fields)
        source, target = named["src"], named.get("dst", INPUT_TARGET)
        writable = ("opt", "rw") in fields or ("opt", "rw=true") in fields
    scheme, separator, rest = source.partition("://")
    if not text.startswith("src=") and ":" in (rest if separator else source):
        source, _, target = source.rpartition(":")
    if separator and scheme != "file":
        raise Rejected(
            f"--input {text}: {scheme}:// is not read yet.",
            hint="Use a path of the nodes, or `skrei job run` with a file.",
        )
    path = Path(source.removeprefix("file://")).absolute()
    params: Document = {"SourcePath": str(path)} | ({"ReadWrite": True} if writable else {})
    return {"Source": {"Type": "local", "Params": params}, "Target": target, "Alias": text}


def _output(text: str) -> Document:
    name, separator, path = text.partition(":")
    if not (name and separator and path.startswith("/")):
        raise Rejected(
            f"--output {text}: not NAME:PATH with an absolute path.", hint="For example --output results:/outputs"
        )
    return {"Name": name, "Path": path}


def _constraints(text: str) -> list[Document]:
    from skrei_domain.constraints import parse

    try:
        found = parse(text)
    except ValueError as error:
        raise Rejected(f"--constraints: {error}") from error
    return [{"Key": one.key, "Operator": one.operator, "Values": list(one.values)} for one in found]


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        key, separator, value = text.partition("=")
        if not (key and separator):
            raise Rejected(f"{option} {text}: not KEY=VALUE.")
        pairs[key] = value
    return pairs


def _filled(**values: object) -> Document:
    """Return the values that say something: an absent key takes the API's default."""
    return {key: value for key, value in values.items() if value}
