"""Which uploads there are, and whether there is room for another: begun, then staged, then taken where they belong.

```
<root>/uploads/<execution>/   an upload that is under way (see `upload_folder`)
<root>/staged/<execution>/    the same, once all of it is verified and on disk
```

A publisher that was killed finds both again. What a power cut took of a part that was noted as come is found by the
digest, and the upload begins anew. Everything here blocks and is called from threads; one upload is touched by one
thread at a time, which `StagedPublisher` sees to.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skrei_domain.uploads import Parcel
from skrei_plugin_api.publisher import (
    DigestDiffers,
    StoreFull,
    TooManyUploads,
    UploadIncomplete,
    UploadUnknown,
)
from skrei_plugin_api.shares import Share
from skrei_plugin_api.upload_folder import FULL_HINT, Upload, begin_upload, check_id, read_upload

SPARE_BYTES = 64 * 1024 * 1024
"""What is left free on the disk: the store is not alone there, and a full disk stops more than uploads."""
SHARE_HINT = (
    "It is tried again as soon as earlier results of that node are final. A cluster of few nodes may give each more: "
    "SKREI_NODE_SHARE_PERCENT, or SKREI_QUOTA_BYTES, of the publisher."
)


@dataclass(frozen=True, slots=True)
class StagingLimits:
    """What uploads may take: see the settings of the same names."""

    quota_bytes: int
    uploads: int
    open_seconds: float
    staged_seconds: float
    node_share_percent: int = 50


class Staging:
    """The uploads of one publisher. `used_bytes` is what its quota holds beside them."""

    def __init__(
        self,
        root: Path,
        limits: StagingLimits,
        *,
        used_bytes: Callable[[], int] = lambda: 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._used_bytes = used_bytes
        self._limits = limits
        self._now = now
        self._uploads = root / "uploads"
        self._staged = root / "staged"
        self._open: dict[str, Upload] = {}
        self._ready: dict[str, Upload] = {}

    def open(self) -> None:
        """Find again what was there when the last process ended; what cannot be read goes."""
        for folder in (self._uploads, self._staged):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in list(self._uploads.iterdir()):
            upload = read_upload(folder)
            if upload is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._open[upload.parcel.execution_id] = upload
        for folder in list(self._staged.iterdir()):
            upload = read_upload(folder)
            if upload is None or upload.missing():
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._ready[upload.parcel.execution_id] = upload

    @property
    def held_bytes(self) -> int:
        """What uploads take of the quota: all that was announced, whether it has come or not."""
        return sum(upload.parcel.size for upload in self._all())

    @property
    def open_uploads(self) -> int:
        """How many uploads are under way."""
        return len(self._open)

    # ------------------------------------------------------------ steps

    def begin(self, parcel: Parcel, node_id: str = "") -> Upload | None:
        """Return a node's upload of a parcel, begun now or before; None when it is staged already.

        Another parcel of the same execution is replaced. Raises StoreFull, TooManyUploads.
        """
        execution_id = parcel.execution_id
        check_id(execution_id)
        if self.staged(execution_id) == parcel:
            return None
        upload = self._open.get(execution_id)
        if upload is None or upload.parcel != parcel:
            self.abort(execution_id)
            self._check_turn(node_id)
            self._check_room(parcel, node_id)
            upload = self._open[execution_id] = begin_upload(self._uploads / execution_id, parcel, node_id)
        upload.touched = self._now()
        return upload

    def find(self, execution_id: str) -> Upload:
        """Return an upload that is under way. Raises UploadUnknown."""
        upload = self._open.get(execution_id)
        if upload is None:
            raise UploadUnknown(f"No upload of execution {execution_id} is under way.", execution_id=execution_id)
        return upload

    def takes(self, execution_id: str) -> bool:
        """Whether an upload is under way."""
        return execution_id in self._open

    def staged(self, execution_id: str) -> Parcel | None:
        """Return the parcel that is staged for an execution."""
        upload = self._ready.get(execution_id)
        return None if upload is None else upload.parcel

    def note(self, upload: Upload, number: int) -> None:
        """Remember that a part has come whole."""
        upload.note(number)
        upload.touched = self._now()

    def stage(self, parcel: Parcel) -> None:
        """Verify a parcel whose parts have come, and make it durable. Twice is once.

        Raises UploadUnknown, UploadIncomplete, DigestDiffers, StoreFull.
        """
        if self.staged(parcel.execution_id) == parcel:
            return
        upload = self.find(parcel.execution_id)
        if upload.parcel != parcel:
            raise UploadUnknown("Another result of that execution is being uploaded.", execution_id=parcel.execution_id)
        if missing := upload.missing():
            raise UploadIncomplete(f"{len(missing)} parts have not come yet.", execution_id=parcel.execution_id)
        upload.hash_on()
        came = upload.digesting
        if came.failed is not None:
            self.abort(parcel.execution_id)
            raise UploadIncomplete(
                f"What came for execution {parcel.execution_id} cannot be read back: {came.failed}.",
                hint="The upload begins anew.",
            ) from came.failed
        if came.text != parcel.digest or came.hashed != parcel.size:
            self.abort(parcel.execution_id)
            raise DigestDiffers(
                f"What came for execution {parcel.execution_id} is not what was announced: {came.text} instead of "
                f"{parcel.digest}.",
                hint="The upload begins anew.",
            )
        try:
            upload.make_durable(self._staged / parcel.execution_id)
        except (OSError, StoreFull):
            self.abort(parcel.execution_id)  # a sync that failed took bytes with it, and the next one is silent
            raise
        self._ready[parcel.execution_id] = upload
        del self._open[parcel.execution_id]

    def content(self, parcel: Parcel) -> Path | None:
        """Return the file of a parcel that is staged: verified, and on disk."""
        return self._staged / parcel.execution_id / "content" if self.staged(parcel.execution_id) == parcel else None

    def keep(self, execution_id: str) -> None:
        """What is staged of an execution is still wanted: its age counts from now."""
        if execution_id in self._ready:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._staged / execution_id, (self._now(), self._now()))

    def release(self, execution_id: str) -> None:
        """Let go of what was staged and has been taken where it belongs."""
        self._ready.pop(execution_id, None)
        shutil.rmtree(self._staged / execution_id, ignore_errors=True)

    def abort(self, execution_id: str) -> None:
        """Drop what came for an execution and is not final."""
        self._open.pop(execution_id, None)
        self._ready.pop(execution_id, None)
        check_id(execution_id)
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

    # ------------------------------------------------------------ room

    def _all(self) -> Iterator[Upload]:
        yield from list(self._open.values())  # other threads add and remove
        yield from list(self._ready.values())

    def _check_turn(self, node_id: str) -> None:
        """Raise TooManyUploads while all, or this node, have as many uploads under way as they may."""
        limits = self._limits
        uploads = list(self._open.values())
        if len(uploads) >= limits.uploads:
            raise TooManyUploads(f"{len(uploads)} uploads are under way; more have to wait.")
        own = sum(upload.node_id == node_id for upload in uploads)
        share = Share(limits.uploads, limits.node_share_percent)
        if own >= max(1, share.most(others=len(uploads) - own)):
            raise TooManyUploads(f"{own} uploads of node {node_id} are under way; more of it have to wait.")

    def _check_room(self, parcel: Parcel, node_id: str) -> None:
        """Raise StoreFull where the quota, this node's share of it, or the disk has no room for a parcel."""
        limits, own = self._limits, sum(upload.parcel.size for upload in self._all() if upload.node_id == node_id)
        used = self._used_bytes() + self.held_bytes
        if used + parcel.size > limits.quota_bytes:
            raise StoreFull(
                f"The result store is full: it holds {used} of {limits.quota_bytes} bytes, and this result has "
                f"{parcel.size}.",
                hint=FULL_HINT,
            )
        most = Share(limits.quota_bytes, limits.node_share_percent).most(others=used - own)
        if own + parcel.size > most:
            raise StoreFull(
                f"The result store keeps room for other nodes: of {most} bytes that node {node_id} may upload now, "
                f"{own} are announced, and this result has {parcel.size}.",
                hint=SHARE_HINT,
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
