"""How far a result is that is being divided: its archives, and what of them has come to its place. Blocks.

```
<root>/<execution>/state.json   of which result, and for each portion digest, size, place, where it lies
<root>/<execution>/<n>.tar.gz   the portions
```
"""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skrei_domain.bounds import is_id
from skrei_domain.destinations import ON_NODES
from skrei_domain.portions import Portion
from skrei_domain.uploads import Parcel
from skrei_plugin_api.archives import NoArchive, divide
from skrei_plugin_api.publisher import PublishDenied, StoreFull
from skrei_plugin_api.upload_folder import FULL_HINT, sync_folder
from skrei_plugin_api.upload_staging import SPARE_BYTES

_STATE = "state.json"
_NO_ROOM = "there is no room to divide the result by its paths"


@dataclass(slots=True)
class Part:
    """One portion: its archive, the `place` at which its destination has it unseen, and where it lies once final."""

    digest: str
    size: int
    place: str | None = None
    final: dict[str, Any] | None = None


@dataclass(slots=True)
class Division:
    """A result that is being divided."""

    folder: Path
    parcel: Parcel
    parts: list[Part]

    def content(self, number: int) -> Path:
        """Return the archive of a portion."""
        return self.folder / f"{number}.tar.gz"

    def parcel_of(self, number: int) -> Parcel:
        """Return what names a portion to its publisher: an id of its own, so that each is gone on with by itself."""
        part = self.parts[number]
        return Parcel(execution_id=part_id(self.parcel.execution_id, number), digest=part.digest, size=part.size)

    def note(self) -> None:
        """Remember how far it is."""
        draft = self.folder / "state.new"
        told = {"digest": self.parcel.digest, "parts": [asdict(part) for part in self.parts]}
        with draft.open("w", encoding="utf-8") as file:
            json.dump(told, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / _STATE)
        sync_folder(self.folder)


def part_id(execution_id: str, number: int) -> str:
    """Return the id by which a publisher knows a portion of an execution's result."""
    return f"{execution_id}.{number}"


class Divisions:
    """Results that are being divided, in a folder of the store's file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, parcel: Parcel, content: Path, found: Sequence[Portion]) -> Division:
        """Return the division of a result, made now or before. Raises PublishDenied, StoreFull."""
        if (division := self.find(parcel)) is not None and len(division.parts) == len(found):
            return division
        self.drop(parcel.execution_id)
        folder = self._folder(parcel.execution_id)
        folder.mkdir(mode=0o700, parents=True)
        disk = os.statvfs(folder)
        room = disk.f_bavail * disk.f_frsize - SPARE_BYTES
        if parcel.size > room:
            raise StoreFull(_NO_ROOM, hint=FULL_HINT)
        owner = {path: number for number, portion in enumerate(found) for path in portion.paths}
        rest = next((number for number, portion in enumerate(found) if not portion.paths), 0)

        def whose(name: str) -> int:
            number = owner.get(name, rest)
            if found[number].publisher in ON_NODES:  # its node is too old to know: nobody keeps that here
                raise NoArchive(f"{name!r} was to stay on its node, which has sent it")
            return number

        into = [folder / f"{number}.tar.gz" for number in range(len(found))]
        try:
            packed = divide(content, whose, into, most=room)
        except NoArchive as error:
            self.drop(parcel.execution_id)
            raise PublishDenied(f"the result cannot be divided: {error}") from error
        except OSError as error:
            self.drop(parcel.execution_id)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreFull(_NO_ROOM, hint=FULL_HINT) from error
        division = Division(folder, parcel, [Part(each.digest, each.size) for each in packed])
        division.note()
        return division

    def find(self, parcel: Parcel) -> Division | None:
        """Return the division of a result that was begun before."""
        folder = self._folder(parcel.execution_id)
        try:
            told = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            parts = [Part(**each) for each in told["parts"]]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Division(folder, parcel, parts) if told.get("digest") == parcel.digest else None

    def drop(self, execution_id: str) -> None:
        """Remove what is here of one."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder(execution_id))

    def old(self, older_than_seconds: float, *, goes_on: Callable[[str], bool]) -> Iterator[str]:
        """Yield executions whose division nobody has gone on with for so long."""
        before = time.time() - older_than_seconds
        for folder in list(self._root.iterdir()) if self._root.is_dir() else []:
            if folder.stat().st_mtime < before and not goes_on(folder.name):
                yield folder.name

    def _folder(self, execution_id: str) -> Path:
        if not is_id(execution_id):
            raise ValueError("that is not the id of an execution")
        return self._root / execution_id
