"""A stack put aside, and brought back: its record and its keys in one folder, from which another machine goes on.

```
<folder>/record.tar   the record as of one moment (see `skrei_store.backup`)
<folder>/keys.tar     <data-dir>/keys: who signs users, tokens and receipts
```

Results are not among it: they may be many, and lie in a store of their own (<data-dir>/publisher, or a bucket). What
the record says of them is. The record is saved and loaded by a process of its own, for we know nothing of it.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from skrei_domain.errors import Conflict, Invalid, Unavailable
from skrei_embedded.place import AlreadyRunning, Place
from skrei_embedded.postgres import DATABASE, USER, Postgres
from skrei_embedded.processes import Spawner

RECORD, KEYS = "record.tar", "keys.tar"
SECONDS = 3_600.0
"""How long saving or loading may take: a record of 100 GB on a slow disk."""
_SOCKET_LINE, _PORT_LINE = 4, 3  # of postmaster.pid


def backup(folder: Path, data_dir: Path, database_url: str = "") -> dict[str, Any]:
    """Put record and keys of the stack in `data_dir` into `folder`, which must not be there; running or not.

    Return what the record's manifest says. Raises SkreiError; then nothing is left.
    """
    folder, half = folder.absolute(), folder.absolute().with_name(f"{folder.name}.new")
    if folder.exists():
        raise Conflict(f"{folder} is there already", hint="name a folder that is not: one for each backup")
    keys = data_dir / "keys"
    if not database_url and not (data_dir / "postgres").is_dir():
        raise Invalid(
            f"{data_dir} holds no record of its own", hint="name its folder with --data-dir, or SKREI_DATABASE_URL"
        )
    try:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True, mode=0o700)
        if keys.is_dir():
            with tarfile.open(half / KEYS, "w") as tar:
                tar.add(keys, "keys")
            (half / KEYS).chmod(0o600)
        with _record(data_dir, database_url) as url:
            told = _ask(url, "save", str(half / RECORD))
        half.rename(folder)
    except OSError as error:
        raise Invalid(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return told


def restore(folder: Path, data_dir: Path, database_url: str = "") -> dict[str, Any]:
    """Make a stack in `data_dir`, where none is, of what `backup` put aside; it is started as any other then.

    Return what the record's manifest says. Raises SkreiError; a record that was made here meanwhile is gone then.
    """
    if not (folder / RECORD).is_file():
        raise Invalid(f"{folder} is no backup: it holds no {RECORD}", hint="`skrei admin backup FOLDER` makes one")
    ours = not database_url
    for name in ("keys", *(("postgres",) if ours else ())):
        if (data_dir / name).exists():
            raise Conflict(
                f"{data_dir} holds a stack already ({name})", hint="restore into another folder with --data-dir"
            )
    place = Place(data_dir)
    place.open()
    try:
        if not place.try_hold():
            raise AlreadyRunning(f"Skrei runs in {data_dir}", hint="restore into another folder with --data-dir")
        try:
            with _record(data_dir, database_url, held=True) as url:
                told = _ask(url, "load", str((folder / RECORD).absolute()))
        except BaseException:
            if ours:
                shutil.rmtree(data_dir / "postgres", ignore_errors=True)
            raise
        if (folder / KEYS).is_file():
            _unpack(folder / KEYS, data_dir)
            (data_dir / "keys").chmod(0o700)
    finally:
        place.let_go()
    return told


def _unpack(path: Path, data_dir: Path) -> None:
    """Write the keys that were packed, and nothing elsewhere; by hand, since the Python of Debian 12 (3.11.2) has no
    filters.
    """
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            to, file = data_dir / member.name, tar.extractfile(member) if member.isreg() else None
            parts = Path(member.name).parts
            if parts[:1] != ("keys",) or ".." in parts or not (file or member.isdir()):
                raise Invalid(f"{path} holds {member.name!r}, which is no key")
            if file is None:
                to.mkdir(mode=0o700)
                continue
            with file, os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode & 0o755), "wb") as out:
                shutil.copyfileobj(file, out)


def reopen(data_dir: Path, database_url: str = "") -> int:
    """Open a new timeline of a record that was brought back by other means; return its number. Raises SkreiError."""
    with _record(data_dir, database_url) as url:
        return int(_ask(url, "reopen")["timeline"])


@contextmanager
def _record(data_dir: Path, database_url: str, *, held: bool = False) -> Iterator[str]:
    """Yield where the record is: as was said, else the one of the stack that runs, else one started for as long."""
    if database_url:
        yield database_url
        return
    place = Place(data_dir)
    if not held:
        place.open()
        if not place.try_hold():
            place.let_go()
            yield _running(data_dir)
            return
    spawner = Spawner()
    postgres = Postgres(data_dir, spawner)
    try:
        postgres.start()
        yield postgres.url
    finally:
        postgres.stop()
        spawner.close()
        place.let_go()


def _running(data_dir: Path) -> str:
    """Return where the Postgres of a running stack is, as its own file tells."""
    try:
        lines = (data_dir / "postgres" / "postmaster.pid").read_text("utf-8").splitlines()
        socket, port = lines[_SOCKET_LINE], lines[_PORT_LINE]
    except (OSError, IndexError) as error:
        raise Unavailable(f"the Postgres in {data_dir} does not run", hint="wait until its stack is ready") from error
    return f"postgresql://{USER}@/{DATABASE}?host={quote(socket)}&port={port}"


def _ask(url: str, *words: str) -> dict[str, Any]:
    """Have the record's own program do something, and return what it tells. Raises Unavailable with its words."""
    command = [sys.executable, "-P", "-m", "skrei_store.backup", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SKREI_")}
    try:
        done = subprocess.run(
            command,
            env=environment | {"SKREI_DATABASE_URL": url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"it was not done within {SECONDS:g} s") from error
    if done.returncode != 0:
        raise Unavailable(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed without a word")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
