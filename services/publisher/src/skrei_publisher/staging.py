"""Where uploads lie until they are results: parts into one file, verified, durable, then moved into the store.

```
<root>/uploads/<execution>/   parcel.json, content (holes where parts are missing), parts (numbers that have come)
<root>/staged/<execution>/    the same, once all of it is verified and on disk
```

A publisher that was killed finds both again. What a power cut took of a part that was noted as come is found by the
digest, and the upload begins anew. Everything here blocks and is called from threads; one upload is touched by one
thread at a time, which `StorePublisher` sees to.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from skrei_domain.uploads import Parcel
from skrei_plugin_api.publisher import (
    DigestDiffers,
    StagedGone,
    StoreFull,
    TooManyUploads,
    UploadIncomplete,
    UploadUnknown,
)
from skrei_publisher.store import ResultStore, sync_folder

PART_BYTES = 8 * 1024 * 1024
"""One part: what a cut link costs at most, and small enough that four at once keep a link busy to the end."""
READ_BYTES = 1024 * 1024
"""Read at once while hashing: enough that the thread rarely comes up for air, little memory."""
SPARE_BYTES = 64 * 1024 * 1024
"""What is left free on the disk: the store is not alone there, and a full disk stops more than uploads."""
FULL_HINT = "Drop results that nobody needs, give the store more room (SKREI_QUOTA_BYTES), or a larger disk."
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class StagingLimits:
    """What uploads may take: see the settings of the same names."""

    quota_bytes: int
    uploads: int
    open_seconds: float
    staged_seconds: float


@dataclass(slots=True)
class Upload:
    """One upload that has begun. `hashed` bytes from its start have gone into the digest."""

    parcel: Parcel
    folder: Path
    part_bytes: int
    came: set[int] = field(default_factory=set)
    touched: float = 0.0
    hashed: int = 0
    hasher: "hashlib._Hash" = field(default_factory=hashlib.sha256)

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


class Staging:
    """The uploads of one store."""

    def __init__(self, store: ResultStore, limits: StagingLimits, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._limits = limits
        self._now = now
        self._uploads = store.root / "uploads"
        self._staged = store.root / "staged"
        self._open: dict[str, Upload] = {}
        self._ready: dict[str, Parcel] = {}

    def open(self) -> None:
        """Find again what was there when the last process ended; what cannot be read goes."""
        for folder in (self._uploads, self._staged):
            folder.mkdir(mode=0o700, exist_ok=True)
        for folder in list(self._uploads.iterdir()):
            upload = _read_upload(folder)
            if upload is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._open[upload.parcel.execution_id] = upload
        for folder in list(self._staged.iterdir()):
            upload = _read_upload(folder)
            if upload is None or upload.missing():
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._ready[upload.parcel.execution_id] = upload.parcel

    @property
    def held_bytes(self) -> int:
        """What uploads take of the quota: all that was announced, whether it has come or not."""
        return sum(parcel.size for parcel in self._parcels())

    @property
    def open_uploads(self) -> int:
        """How many uploads are under way."""
        return len(self._open)

    # ------------------------------------------------------------ steps

    def begin(self, parcel: Parcel) -> Upload | None:
        """Return the upload of a parcel, begun now or before; None when it is staged already.

        Another parcel of the same execution is replaced. Raises StoreFull, TooManyUploads.
        """
        execution_id = parcel.execution_id
        self._store.path(execution_id)  # an id, not a path
        if self._ready.get(execution_id) == parcel:
            return None
        upload = self._open.get(execution_id)
        if upload is None or upload.parcel != parcel:
            self.abort(execution_id)
            self._check_room(parcel)
            upload = self._begin(parcel)
        upload.touched = self._now()
        return upload

    def find(self, execution_id: str) -> Upload:
        """Return an upload that is under way. Raises UploadUnknown."""
        upload = self._open.get(execution_id)
        if upload is None:
            raise UploadUnknown(f"No upload of execution {execution_id} is under way.", execution_id=execution_id)
        return upload

    def staged(self, execution_id: str) -> Parcel | None:
        """Return the parcel that is staged for an execution."""
        return self._ready.get(execution_id)

    def write(self, upload: Upload, position: int, pieces: Sequence[bytes]) -> None:
        """Put bytes where they belong. Raises StoreFull."""
        try:
            file = os.open(upload.content, os.O_WRONLY)
            try:
                for piece in pieces:
                    view = memoryview(piece)
                    while view:
                        done = os.pwrite(file, view, position)
                        view, position = view[done:], position + done
            finally:
                os.close(file)
        except FileNotFoundError as error:
            raise UploadUnknown("The upload was dropped.", execution_id=upload.parcel.execution_id) from error
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StoreFull("The disk of the result store is full.", hint=FULL_HINT) from error
            raise

    def note(self, upload: Upload, number: int) -> None:
        """Remember that a part has come whole."""
        if number not in upload.came:
            with (upload.folder / "parts").open("a", encoding="ascii") as file:
                file.write(f"{number}\n")
            upload.came.add(number)
        upload.touched = self._now()

    def hash_on(self, upload: Upload) -> None:
        """Take into the digest what has come without a gap since the last time."""
        end = upload.hashed
        while end < upload.parcel.size and end // upload.part_bytes in upload.came:
            end = min((end // upload.part_bytes + 1) * upload.part_bytes, upload.parcel.size)
        if end == upload.hashed:
            return
        buffer = memoryview(bytearray(READ_BYTES))
        with upload.content.open("rb", buffering=0) as file:
            file.seek(upload.hashed)
            while upload.hashed < end:
                got = file.readinto(buffer[: min(READ_BYTES, end - upload.hashed)])
                if not got:
                    break  # shorter than it was: the digest will say so
                upload.hasher.update(buffer[:got])
                upload.hashed += got

    def stage(self, parcel: Parcel) -> None:
        """Verify a parcel whose parts have come, and make it durable. Twice is once.

        Raises UploadUnknown, UploadIncomplete, DigestDiffers, StoreFull.
        """
        if self._ready.get(parcel.execution_id) == parcel:
            return
        upload = self.find(parcel.execution_id)
        if upload.parcel != parcel:
            raise UploadUnknown("Another result of that execution is being uploaded.", execution_id=parcel.execution_id)
        if missing := upload.missing():
            raise UploadIncomplete(f"{len(missing)} parts have not come yet.", execution_id=parcel.execution_id)
        self.hash_on(upload)
        if f"sha256:{upload.hasher.hexdigest()}" != parcel.digest or upload.hashed != parcel.size:
            self.abort(parcel.execution_id)
            raise DigestDiffers(
                f"What came for execution {parcel.execution_id} is not what was announced: sha256:"
                f"{upload.hasher.hexdigest()} instead of {parcel.digest}.",
                hint="The upload begins anew.",
            )
        self._make_durable(upload)
        self._ready[parcel.execution_id] = parcel
        del self._open[parcel.execution_id]

    def finalise(self, parcel: Parcel) -> None:
        """Move what is staged into the store. Twice is once. Raises StagedGone."""
        folder = self._staged / parcel.execution_id
        if self._ready.get(parcel.execution_id) == parcel:
            self._store.adopt(parcel.execution_id, parcel.digest, folder / "content")
            del self._ready[parcel.execution_id]
            shutil.rmtree(folder, ignore_errors=True)
        elif not self._store.holds(parcel.execution_id, parcel.digest):
            raise StagedGone(
                f"What execution {parcel.execution_id} had uploaded is not there any more.",
                execution_id=parcel.execution_id,
            )

    def abort(self, execution_id: str) -> None:
        """Drop what came for an execution and is not final."""
        self._open.pop(execution_id, None)
        self._ready.pop(execution_id, None)
        self._store.path(execution_id)
        for folder in (self._uploads / execution_id, self._staged / execution_id):
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> list[str]:
        """Drop uploads that nobody goes on with, and staged ones that nobody finalised; returns whose those were."""
        now = self._now()
        stale = [
            execution_id
            for execution_id, upload in list(self._open.items())
            if now - upload.touched > self._limits.open_seconds
        ]
        for execution_id in list(self._ready):
            with contextlib.suppress(FileNotFoundError):
                if now - (self._staged / execution_id).stat().st_mtime > self._limits.staged_seconds:
                    stale.append(execution_id)
        for execution_id in stale:
            self.abort(execution_id)
        return stale

    # ------------------------------------------------------------ helpers

    def _parcels(self) -> Iterable[Parcel]:
        yield from [upload.parcel for upload in list(self._open.values())]  # other threads add and remove
        yield from list(self._ready.values())

    def _check_room(self, parcel: Parcel) -> None:
        if len(self._open) >= self._limits.uploads:
            raise TooManyUploads(f"{len(self._open)} uploads are under way; more have to wait.")
        used = self._store.used_bytes + self.held_bytes
        if used + parcel.size > self._limits.quota_bytes:
            raise StoreFull(
                f"The result store is full: it holds {used} of {self._limits.quota_bytes} bytes, and this result has "
                f"{parcel.size}.",
                hint=FULL_HINT,
            )
        disk = os.statvfs(self._uploads)
        coming = sum(upload.left_bytes for upload in list(self._open.values()))
        free = disk.f_bavail * disk.f_frsize - coming - SPARE_BYTES
        if parcel.size > free:
            raise StoreFull(
                f"The disk of the result store is full: {max(free, 0)} bytes are free, and this result has "
                f"{parcel.size}.",
                hint=FULL_HINT,
            )

    def _begin(self, parcel: Parcel) -> Upload:
        folder = self._uploads / parcel.execution_id
        upload = Upload(parcel, folder, PART_BYTES)
        try:
            folder.mkdir(mode=0o700)
            (folder / "parcel.json").write_text(f"{PART_BYTES}\n{parcel.model_dump_json()}\n", "utf-8")
            with upload.content.open("wb") as file:
                file.truncate(parcel.size)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            if error.errno in _NO_ROOM:
                raise StoreFull("The disk of the result store is full.", hint=FULL_HINT) from error
            raise
        self._open[parcel.execution_id] = upload
        return upload

    def _make_durable(self, upload: Upload) -> None:
        for path in (upload.content, upload.folder / "parcel.json", upload.folder / "parts"):
            with path.open("rb") as file:
                try:
                    os.fsync(file.fileno())
                except OSError as error:
                    if error.errno in _NO_ROOM:
                        raise StoreFull("The disk of the result store is full.", hint=FULL_HINT) from error
                    raise
        sync_folder(upload.folder)
        place = self._staged / upload.parcel.execution_id
        shutil.rmtree(place, ignore_errors=True)
        upload.folder.rename(place)
        place.touch()  # its age counts from here
        sync_folder(self._uploads)
        sync_folder(self._staged)


def _read_upload(folder: Path) -> Upload | None:
    """Return what lies in an upload's folder; None when a crash left it without its beginning."""
    try:
        part_bytes, text = (folder / "parcel.json").read_text("utf-8").splitlines()
        upload = Upload(Parcel.model_validate_json(text), folder, int(part_bytes))
        if upload.content.stat().st_size != upload.parcel.size or folder.name != upload.parcel.execution_id:
            return None
        upload.touched = folder.stat().st_mtime
        notes = (folder / "parts").read_text("ascii").split("\n") if (folder / "parts").exists() else [""]
        upload.came.update(int(note) for note in notes[:-1])  # the last one ends with its line, or is torn
    except (OSError, ValueError, ValidationError):
        return None
    return upload if all(0 <= number < upload.parts for number in upload.came) else None
