"""The file of variables beside a unit of systemd, which its owner writes too: what is his stays as he wrote it."""

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path


def keep(file: Path, told: Mapping[str, str]) -> None:
    """Have `file` set the variables of `told`, besides what it sets already, for its user's eyes alone.

    It is the old one or the new one, whatever happens meanwhile. Raises OSError where it cannot be written.
    """
    others = _without(file, told)
    if others and not others[-1].endswith(b"\n"):
        others[-1] += b"\n"
    _put(file, b"".join([*others, *(f"{name}={value}\n".encode() for name, value in told.items())]))


def forget(file: Path, names: Iterable[str]) -> bool:
    """Take the variables `names` out of `file`, and the file away where nothing else is in it.

    Returns whether it stays. Raises OSError where it cannot be changed. No file is fine.
    """
    if not file.exists():
        return False
    others = b"".join(_without(file, names))
    if not others.strip():
        file.unlink()
        return False
    if others != file.read_bytes():
        _put(file, others)
    return True


def _without(file: Path, names: Iterable[str]) -> list[bytes]:
    ours = {name.encode() for name in names}
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [line for line in lines if line.partition(b"=")[0].strip() not in ours]


def _put(file: Path, content: bytes) -> None:
    place = file.resolve()  # where a link of its owner leads
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
