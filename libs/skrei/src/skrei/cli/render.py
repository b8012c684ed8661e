"""What a person or a program reads: the modules `render*` are the only ones that print.

`skrei version` comes through here too, so what only other commands need is imported where they need it.
"""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING, Any

from skrei.cli.shape import PLAIN_TABLE, Shape
from skrei.cli.texts import capital, clean, columns, escaped, harmless, separated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from skrei.results import NoMeter
    from skrei.views import Document

API_VERSION = "skrei/v1"
"""Stands in all machine-readable output; it changes when a key changes its meaning."""
GREY, PLAIN = "\x1b[90m", "\x1b[0m"


def line(text: str = "") -> None:
    """Print one line."""
    _whole_line(sys.stdout, clean(text))


def note(text: str) -> None:
    """Print one line beside the output: a hint, not the answer."""
    _whole_line(sys.stderr, clean(text))


def _whole_line(stream: IO[str] | None, text: str) -> None:
    # With its end in one text: `print` writes that by itself, and the line of another thread comes between.
    print(f"{text}\n", end="", file=stream)


def problem(what: str, todo: str) -> None:
    """Print what went wrong and, when it is known, what to do."""
    note(f"Error: {what}")
    if todo:
        note(todo if todo.startswith("skrei ") else capital(todo))


def grey(text: str) -> None:
    """Print one line beside the output that nobody has to read, in grey where that can be seen."""
    shown = clean(text)
    _whole_line(sys.stderr, f"{GREY}{shown}{PLAIN}" if colours(sys.stderr) else shown)


def next_step(command: str, meaning: str) -> None:
    """Print the next useful command, for a person who looks at a terminal; nothing where output is piped."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        sys.stdout.flush()
        grey(f"Next: {command}  ({meaning})")


def unread() -> None:
    """Whoever read our output has gone (`| head`): what is left of it goes nowhere, also at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def colours(stream: IO[Any]) -> bool:
    """Return whether a stream shows colours: a terminal that can, of somebody who wants them (NO_COLOR)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def document(found: Document, shape: Shape) -> None:
    """Print a document of the API for a program, with the version of its shape."""
    shaped = {"apiVersion": API_VERSION} | found
    if shape.output == "yaml":
        _print_yaml(shaped)
    else:
        _print_json(shaped, pretty=shape.pretty)


def job_file(job: Document, output: str) -> None:
    """Print a job as a file that can be submitted."""
    if output == "json":
        _print_json(job)
    else:
        _print_yaml(job)


def _print_yaml(found: Document) -> None:
    text = file_text(found)
    if sys.stdout.isatty() and escaped(text) != text:
        text = file_text(found, plain=True)
    print(text, end="")


def _print_json(found: Document, *, pretty: bool = True) -> None:
    import json

    text = json.dumps(found, indent=2 if pretty else None, ensure_ascii=False)
    print(escaped(text) if sys.stdout.isatty() else text)


def file_text(found: Document, *, plain: bool = False) -> str:
    """Return a document as YAML; `plain`: in ASCII alone, what is not of it escaped."""
    import yaml

    text: str = yaml.safe_dump(found, sort_keys=False, allow_unicode=not plain)
    return text


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], shape: Shape = PLAIN_TABLE) -> None:
    """Print columns under a header: aligned for people, or as CSV with every column."""
    lines = separated(headers, rows) if shape.output == "csv" else columns(headers, rows)
    for number, text in enumerate(lines):
        if number or shape.header:
            print(text)


def version(client: str, server: str, url: str, problem: str, shape: Shape) -> None:
    """Print both versions; no endpoint means that none was asked."""
    if not shape.is_rows:
        told = {"Server": server or None, "Endpoint": url} if url else {}
        document({"Client": client, **told}, shape)
        return
    if shape.output == "csv":
        table(("CLIENT", "SERVER", "ENDPOINT"), [(client, server, url)], shape)
        return
    line(f"client  v{client.removeprefix('v')}")
    if not url:
        return
    if server:
        line(f"server  {server}  ({url})")
    else:
        line(f"server  {problem}")


def output_text(text: str, stream: int = 1) -> None:
    """Print a program's own output on the stream it came from: exactly to a file or a pipe, harmless to a terminal."""
    out = sys.stderr if stream == 2 else sys.stdout
    out.write(harmless(text) if out.isatty() else text)
    out.flush()


def download_view() -> NoMeter:
    """Return a bar on a terminal, silence elsewhere."""
    if sys.stderr.isatty():
        from skrei.cli.downloads import DownloadBar

        return DownloadBar()
    from skrei.results import NoMeter

    return NoMeter()


def hints(commands: Iterable[tuple[str, str]]) -> None:
    """Print what to type next and what it does."""
    rows = list(commands)
    width = max((len(command) for command, _ in rows), default=0)
    for command, meaning in rows:
        line(f"  {command:<{width}}  {meaning}")
