"""Folders within folders, as a program may leave them."""

import os
from pathlib import Path


def nest(top: Path, depth: int, name: str = "d" * 8) -> None:
    """Make folders within folders, and a file in the last of them. Hundreds are to be removed again (`remove`): what
    tidies up after tests cannot."""
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
