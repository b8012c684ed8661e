"""`skrei wasm run`: one module with its arguments as a job, without a file."""

from pathlib import Path

from skrei.cli.exit_codes import NOT_RUN
from skrei.cli.flags import flag, text, texts
from skrei.cli.grammar import Argument, Command, Values
from skrei.cli.run_options import OPTIONS, job_of
from skrei.errors import Rejected
from skrei.views import Document
from skrei_domain.errors import SkreiError

MODULE_TARGET = "/main.wasm"
"""Where the module lies for its node; no job sees it as an input."""
IMPORTS_TARGET = "/imports"

RUN = Command(
    "wasm run",
    "Run a WebAssembly module: its output is this program's output, its exit code this program's exit code.",
    "skrei.cli.wasm:run",
    (
        text("--entry-point", "NAME", "The exported function to call.", default="_start"),
        texts("--import-modules", "FILE", "A module that it imports, called by its file's name; repeat.", "-I"),
        *OPTIONS,
        flag("--follow", "Accepted and meaningless: the output is shown while it comes.", "-f", hidden=True),
    ),
    (
        Argument("MODULE", "a .wasm file of this machine, which travels with the job"),
        Argument("ARG", "the program's arguments", rest=True),
    ),
    misuse_code=NOT_RUN,
    more=(
        "Exit code: the program's (of several partitions the highest); 1 the job failed otherwise, 124 timeout,\n"
        "125 could not be run, 130 Ctrl+C, which leaves the job running; a second Ctrl+C stops it."
    ),
)


def run(values: Values) -> int:
    """Run a module."""
    from skrei.cli.run import not_run
    from skrei.cli.run import run as run_job

    try:
        job = wasm_job(values)
    except SkreiError as error:
        raise not_run(error, "wasm run") from error
    return run_job(values, job, "wasm run")


def wasm_job(values: Values) -> Document:
    """Return the job. Raises Rejected."""
    imported = [(Path(name), f"{IMPORTS_TARGET}/{Path(name).name}") for name in values.texts("import-modules")]
    params: Document = {
        "EntryModule": MODULE_TARGET,
        "Entrypoint": values.text("entry-point"),
        "Parameters": list(values.texts("ARG")),
    }
    if imported:
        params["ImportModules"] = [target for _, target in imported]
    carried = [_module(Path(values.text("MODULE")), MODULE_TARGET, "module")]
    carried += [_module(path, target, f"import {path.name}") for path, target in imported]
    return job_of(values, {"Type": "wasm", "Params": params}, tuple(carried))


def _module(module: Path, target: str, alias: str) -> Document:
    from skrei.inline import data_url

    if not module.is_file():
        raise Rejected(f"{module} is not a file.", hint="Name a .wasm file of this machine.")
    return {"Source": {"Type": "inline", "Params": {"URL": data_url(module)}}, "Target": target, "Alias": alias}
