"""One upload on disk: parts into one file, noted as they come, hashed as they come without a gap, made durable.

```
<folder>/parcel.json   the size of a part, what was announced, and the node that did
<folder>/content       the bytes, with holes where parts are missing
<folder>/parts         the numbers that have come, a line each
```

Everything here blocks and is called from threads; one upload is touched by one thread at a time.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from skrei_domain.bounds import is_id
from skrei_domain.errors import Invalid
from skrei_domain.uploads import Parcel
from skrei_plugin_api.lane import Start, inline
from skrei_plugin_api.publisher import StoreFull, UploadUnknown
from skrei_plugin_api.running_digest import RunningDigest
from skrei_plugin_api.writing import write_all_at

PART_BYTES = 8 * 1024 * 1024
"""One part: what a cut link costs at most, and small enough that four at once keep a link busy to the end."""
FULL_HINT = "Drop results that nobody needs, give the store more room (SKREI_QUOTA_BYTES), or a larger disk."
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@dataclass(slots=True)
class Upload:
    """One upload that has begun."""

    parcel: Parcel
    folder: Path
    part_bytes: int
    node_id: str = ""
    came: set[int] = field(default_factory=set)
    touched: float = 0.0
    digesting: RunningDigest = field(default_factory=RunningDigest)

    @property
    def content(self) -> Path:
        """The bytes that have come."""
        return self.folder / "content"

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.parcel.size // self.part_bytes)

    @property
    def left_bytes(self) -> int:
        """How much is still to come."""
        return sum(self.span(number)[1] for number in self.missing())

    def span(self, number: int) -> tuple[int, int]:
        """Return where a part begins and how many bytes it has."""
        first = number * self.part_bytes
        return first, min(self.part_bytes, self.parcel.size - first)

    def missing(self) -> list[int]:
        """Return the numbers of the parts that have not come."""
        return [number for number in range(self.parts) if number not in self.came]

    @contextmanager
    def writing(self) -> Iterator[int]:
        """Open the content for `put`. Raises StoreFull, UploadUnknown."""
        try:
            with _room():
                file = os.open(self.content, os.O_WRONLY)
        except FileNotFoundError as error:
            raise UploadUnknown("The upload was dropped.", execution_id=self.parcel.execution_id) from error
        try:
            yield file
        finally:
            os.close(file)

    def put(self, file: int, position: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Put bytes where they belong. Raises StoreFull."""
        with _room():
            write_all_at(file, pieces, position)

    def note(self, number: int) -> None:
        """Remember that a part has come whole. Raises StoreFull."""
        if number not in self.came:
            with _room(), (self.folder / "parts").open("a", encoding="ascii") as file:
                file.write(f"{number}\n")
            self.came.add(number)

    def hash_on(self, start: Start = inline) -> None:
        """Take into the digest what has come without a gap since the last time."""
        self.digesting.read(self.content, self._gapless(), start)

    def join(self, number: int, position: int, start: Start) -> bool:
        """Return whether what comes next of a part, at `position`, may go into the digest as it comes.

        At a part's beginning what an earlier sender brought of it is taken back: of two the later one counts.
        """
        first = self.span(number)[0]
        if position == first < self.digesting.claimed:
            self.digesting.back(start)
            self.digesting.claimed = first
        self.digesting.read(self.content, min(first, self._gapless()), start)
        if self.digesting.claimed < first or not self.digesting.keeps_up:
            return False
        if number and number - 1 not in self.came:
            return False  # that is in the digest, but was not noted: it comes again, and is taken back then
        if self.digesting.claimed == first:
            self.digesting.mark(start)
        self.digesting.read(self.content, position, start)
        return True

    def _gapless(self) -> int:
        """Return up to where all parts have come, from what is claimed on."""
        end = self.digesting.claimed
        while end < self.parcel.size and end // self.part_bytes in self.came:
            end = min((end // self.part_bytes + 1) * self.part_bytes, self.parcel.size)
        return end

    def make_durable(self, place: Path) -> None:
        """Sync all of it, and move it to `place`. Raises StoreFull."""
        for path in (self.content, self.folder / "parcel.json", self.folder / "parts"):
            with path.open("rb") as file, _room():
                os.fsync(file.fileno())
        sync_folder(self.folder)
        shutil.rmtree(place, ignore_errors=True)
        self.folder.rename(place)
        place.touch()  # its age counts from here
        sync_folder(self.folder.parent)
        sync_folder(place.parent)
        self.folder = place


def begin_upload(folder: Path, parcel: Parcel, node_id: str) -> Upload:
    """Make the folder of an upload, without any bytes yet. Raises StoreFull, with nothing left behind."""
    upload = Upload(parcel, folder, PART_BYTES, node_id)
    try:
        with _room():
            folder.mkdir(mode=0o700)
            text = f"{PART_BYTES}\n{parcel.model_dump_json()}\n{node_id}\n"
            (folder / "parcel.json").write_text(text, "utf-8")
            with upload.content.open("wb") as file:
                file.truncate(parcel.size)
    except (OSError, StoreFull):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return upload


def read_upload(folder: Path) -> Upload | None:
    """Return what lies in an upload's folder; None when a crash left it without its beginning."""
    try:
        part_bytes, text, node_id = (folder / "parcel.json").read_text("utf-8").splitlines()
        upload = Upload(Parcel.model_validate_json(text), folder, int(part_bytes), node_id)
        if upload.content.stat().st_size != upload.parcel.size or folder.name != upload.parcel.execution_id:
            return None
        upload.touched = folder.stat().st_mtime
        notes = (folder / "parts").read_text("ascii").split("\n") if (folder / "parts").exists() else [""]
        upload.came.update(int(note) for note in notes[:-1])  # the last one ends with its line, or is torn
    except (OSError, ValueError, ValidationError):
        return None
    return upload if all(0 <= number < upload.parts for number in upload.came) else None


@contextmanager
def _room() -> Iterator[None]:
    """Turn what a full disk says into StoreFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull("The disk of the result store is full.", hint=FULL_HINT) from error
        raise


def check_id(execution_id: str) -> None:
    """Raise Invalid for what is no id of an execution, and might be a path."""
    if not is_id(execution_id):
        raise Invalid("That is not the id of an execution.")


def sync_folder(folder: Path) -> None:
    """Make what was named or renamed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
