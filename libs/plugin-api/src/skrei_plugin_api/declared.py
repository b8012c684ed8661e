"""What a node's owner declares in its settings, and in a file beside its agent: names with a text each, as JSON.

The file is looked at again each time: what is added to it is known with the node's next look at itself.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

MAX_FILE_BYTES = 1024 * 1024
"""Of such a file: 64 names with the longest paths take a quarter of it."""

Each = TypeVar("Each")


def all_declared(
    told: Mapping[str, str],
    file: Path | None,
    parse: Callable[[str, str], Each],
    *,
    most: int,
    what: str,
    example: str,
) -> tuple[dict[str, Each], str]:
    """Return what is declared now, by name, and what is wrong with some of it; empty when nothing is. Blocks.

    What the settings have `told` counts more than what `file` says. `parse` makes of a name and its text what is meant,
    or raises ValueError; of more than `most` the first are taken. `what` they are called, and an `example` of a file.
    """
    said, wrong = _read(file, f"{what}: {example}")
    found: dict[str, Each] = {}
    for name, text in {**said, **told}.items():
        try:
            found[name] = parse(name, text)
        except ValueError as error:
            wrong = str(error)
    if len(found) > most:
        wrong = f"{len(found)} {what} are declared, of {most} at most"
        found = dict(list(found.items())[:most])
    return found, wrong


def _read(file: Path | None, what: str) -> tuple[dict[str, str], str]:
    """Return what a file declares, and what is wrong with it; a file that is not there declares nothing."""
    if file is None:
        return {}, ""
    try:
        with file.open("rb") as opened:
            found = json.loads(opened.read(MAX_FILE_BYTES))
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError) as error:
        return {}, f"{file} cannot be read: {error}"
    if not (isinstance(found, dict) and all(isinstance(value, str) for value in found.values())):
        return {}, f"{file} does not hold {what}"
    return found, ""
