"""What a node's owner declares in a file beside its agent: names with a text each, as JSON."""

import json
from pathlib import Path

MAX_FILE_BYTES = 1024 * 1024
"""Of such a file: 64 names with the longest paths take a quarter of it."""


def read_declared(file: Path | None, what: str) -> tuple[dict[str, str], str]:
    """Return what a file declares, and what is wrong with it; a file that is not there declares nothing. Blocks."""
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
