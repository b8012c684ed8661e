"""Files that hold a secret, or what must never be read half written."""

import os
from pathlib import Path


def write_secret(path: Path, text: str) -> None:
    """Put a file there whole, readable by its owner alone from its first byte on."""
    half = path.with_name(f"{path.name}.new")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
