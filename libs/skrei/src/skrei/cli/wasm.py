"""`skrei wasm run`: one module with its arguments as a job, without a file."""

from pathlib import Path

from skrei.cli import inputs
from skrei.cli.flags import text, texts
from skrei.cli.grammar import Argument, Values
from skrei.cli.run_options import job_of, run_command, run_engine
from skrei.errors import Rejected
from skrei.views import Document

MODULE_TARGET = "/main.wasm"
"""Where the module lies for its node; no job sees it as an input."""
IMPORTS_TARGET = "/imports"
MAGIC = b"\0asm"
"""How every module begins."""

RUN = run_command(
    "wasm run",
    "Run a WebAssembly module: its output is this program's output, its exit code this program's exit code.",
    (
        text("--entry-point", "NAME", "The exported function to call.", default="_start"),
        texts(
            "--import-modules", "FILE", "A module that it imports, called by its file's name; repeat.", "-I",
            completes="file",
        ),
    ),
    Argument("MODULE", "a .wasm file of this machine (FILE[:TARGET]), s3://…, https://…, or a place in an input",
             completes="file"),
    Argument("ARG", "the program's arguments", rest=True),
)  # fmt: skip


def run(values: Values) -> int:
    """Run a module."""
    return run_engine(values, "wasm run", wasm_job)


def wasm_job(values: Values) -> Document:
    """Return the job. Raises Rejected."""
    entry, carried = module_of(values.text("MODULE"), MODULE_TARGET, "module", values)
    imported = [
        module_of(name, f"{IMPORTS_TARGET}/{Path(name.partition(':')[0]).name}", f"import {Path(name).name}", values)
        for name in values.texts("import-modules")
    ]
    params: Document = {
        "EntryModule": entry,
        "Entrypoint": values.text("entry-point"),
        "Parameters": list(values.texts("ARG")),
    }
    if imported:
        params["ImportModules"] = [target for target, _ in imported]
    sources = (*carried, *(source for _, sources in imported for source in sources))
    return job_of(values, {"Type": "wasm", "Params": params}, sources)


def module_of(text: str, target: str, alias: str, values: Values) -> tuple[str, tuple[Document, ...]]:
    """Return where a module lies for its node, and the input that brings it, if none of the others does.

    Raises Rejected for a module that is nowhere.
    """
    if "://" in text and not text.startswith("file://"):
        source = inputs.input_source(text if ":/" in text.partition("://")[2] else f"{text}:{target}", Path.cwd())
        return str(source["Target"]), (source | {"Alias": alias},)
    name, _, wanted = text.removeprefix("file://").partition(":")
    if Path(name).is_file():
        return wanted or target, (_carried(Path(name), wanted or target, alias),)
    targets = [str(inputs.input_source(one, Path.cwd())["Target"]).rstrip("/") for one in values.texts("input")]
    if any(text == one or text.startswith(f"{one}/") for one in targets):
        return text, ()
    raise Rejected(f"{name} is not a file.", hint="Name a .wasm file of this machine.")


def _carried(module: Path, target: str, alias: str) -> Document:
    from skrei.inline import data_url

    carried = data_url(module)
    with module.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise Rejected(
                f"{module} is no WebAssembly module.",
                hint="Compile the program for WASI (wasm32-wasi), and name that file.",
            )
    return {"Source": {"Type": "inline", "Params": {"URL": carried}}, "Target": target, "Alias": alias}
