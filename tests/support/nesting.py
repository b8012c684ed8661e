"""Folders within folders, as a program may leave them."""

import os
from pathlib import Path


def nest(top: Path, depth: int) -> None:
    """Make folders within folders, and a file in the last of them."""
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 8, dir_fd=folder)
        inner = os.open("d" * 8, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
