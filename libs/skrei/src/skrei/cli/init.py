"""`skrei job init`, `skrei job schema`: a first job file, and what editors complete it from."""

import os
import re
from pathlib import Path

from skrei.cli import render
from skrei.cli.flags import PRETTY, flag, text
from skrei.cli.grammar import Argument, Command, Misuse, Values
from skrei.errors import NoPlace

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
INIT = Command(
    "job init",
    "Write a job file that runs as it stands, each line explained.",
    "skrei.cli.init:init",
    (
        flag("--docker", "A container, once; so it is unless another is asked for."),
        flag("--wasm", "A WebAssembly module, once."),
        flag("--service", "A container that is kept alive."),
        flag("--ops", "A container on every node that matches."),
        text("--name", "NAME", "The job's name; else the file's."),
        flag("--force", "Replace a file that is there."),
    ),
    (Argument("FILE", "the file to write; `-` prints it", default="job.yaml", completes="file"),),
)
SCHEMA = Command(
    "job schema",
    "Print the JSON schema of a job: editors complete from it, and underline what is wrong.",
    "skrei.cli.init:schema",
    (PRETTY,),
)


def init(values: Values) -> None:
    """Write a job file."""
    from skrei.cli.init_texts import KINDS, init_text
    from skrei.endpoint import resolve

    kinds = [kind for kind in KINDS if values.flag(kind)]
    if len(kinds) > 1:
        raise Misuse(f"skrei job init: --{kinds[0]} and --{kinds[1]} do not go together.", hint="Name one kind of job.")
    file = values.text("FILE")
    name = values.text("name") or (Path(file).stem if NAME.fullmatch(Path(file).stem) else "job")
    if not NAME.fullmatch(name):
        raise Misuse(
            f"skrei job init: --name {name}: not a name.", hint="Letters, digits, `.`, `_` and `-`, at most 64."
        )
    url = f"{resolve(values.text('api'), os.environ)}/schemas/job.json"
    kind = kinds[0] if kinds else "docker"
    written = init_text(kind, name=name, file="FILE" if file == "-" else file, schema_url=url)
    if file == "-":
        render.output_text(written)
        return
    try:
        with Path(file).open("w" if values.flag("force") else "x", encoding="utf-8") as opened:
            opened.write(written)
    except FileExistsError as error:
        raise NoPlace(f"{file} is there already.", hint="Name another file, or replace it with --force.") from error
    except OSError as error:
        raise NoPlace(f"{file} cannot be written: {error.strerror}.", hint="Name another file.") from error
    render.line(f"Wrote {file}.")
    render.next_step(f"skrei run {file}", "run it")


def schema(values: Values) -> None:
    """Print the schema."""
    import json

    from skrei_domain.job_schema import job_schema

    render.output_text(json.dumps(job_schema(), indent=2 if values.flag("pretty") else None) + "\n")
