"""Publishers whose parts come to the publisher's own door: into a folder, verified and durable, then wherever they go.

What a plugin adds is the last step (`finalise`, `open`). One that only brings what has won to a destination of its own
is a `Forwarder`, and needs none of this.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from skrei_domain.uploads import Parcel, UploadPlan, UploadRequest
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.publisher import NOTHING, Publisher, StoreFull, UploadIncomplete
from skrei_plugin_api.upload_folder import Upload
from skrei_plugin_api.upload_staging import Staging, StagingLimits

P = ParamSpec("P")
T = TypeVar("T")

PARALLEL_PARTS = 4
"""Parts of one upload at once: enough to fill a link whose answers take their time."""
PLAN_PARTS = 512
"""Parts in one plan: 4 GiB, and half a megabyte of answer; then the next plan is asked for."""
WRITE_BYTES = 2 * 1024 * 1024
"""Gathered before it is written: a trip to a thread for each piece of a socket would cost more than the disk."""
WRITERS = 8
"""Threads that write, sync and rename: a disk gets no faster by more."""
HASHERS = 2
"""Threads that only compute: more than cores they would share."""
SILENCE_SECONDS = 60.0
"""How long a part may bring nothing before its connection counts as lost; its node sends it again."""
AGAIN_SECONDS = 1.0
"""After so long that count begins anew: it is that much less than it says."""

DEFAULTS = StagingLimits(quota_bytes=20 * 1024**3, uploads=256, open_seconds=86_400.0, staged_seconds=7 * 86_400.0)
"""Those of the settings, for whoever has none."""


class StagedPublisher(Publisher):
    """Takes parts at the publisher's own door, into its state folder."""

    def __init__(
        self, context: PluginContext, limits: StagingLimits = DEFAULTS, *, used_bytes: Callable[[], int] = lambda: 0
    ) -> None:
        super().__init__(context)
        self.staging = Staging(context.state_dir, limits, used_bytes=used_bytes)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._writing = ThreadPoolExecutor(WRITERS, thread_name_prefix=f"{self.name}-write")
        self._hashing = ThreadPoolExecutor(HASHERS, thread_name_prefix=f"{self.name}-hash")
        self._hashed: dict[int, asyncio.Task[None]] = {}
        self._turns: dict[tuple[str, int], object] = {}
        self.make_room: Callable[[int], bool] = lambda _: False
        """Frees so many bytes, or some at least, of what can be had elsewhere, and returns whether it did. Blocks."""

    async def start(self) -> None:
        """Find what uploads an earlier process had."""
        await self.do(self.staging.open)

    async def close(self) -> None:
        """End what still computes."""
        for task in list(self._hashed.values()):
            task.cancel()
        await asyncio.gather(*self._hashed.values(), return_exceptions=True)
        self._writing.shutdown()
        self._hashing.shutdown()

    # ------------------------------------------------------------ the contract

    async def plan(
        self, parcel: Parcel, headers: Mapping[str, str], *, node_id: str = "", params: Params = NOTHING
    ) -> UploadPlan:
        """Return the parts that have not come, to be put to the publisher's own door."""
        parcel = parcel.plain
        async with self.lock(parcel.execution_id):
            try:
                upload = await self.do(self.staging.begin, parcel, node_id)
            except StoreFull:
                if not await self.do(self.make_room, parcel.size):
                    raise
                upload = await self.do(self.staging.begin, parcel, node_id)
        if upload is None:
            return UploadPlan()
        missing = upload.missing()
        return UploadPlan(
            requests=tuple(_request(upload, number, headers) for number in missing[:PLAN_PARTS]),
            parallel=PARALLEL_PARTS,
            more=len(missing) > PLAN_PARTS,
        )

    async def receive(self, execution_id: str, number: int, size: int, content: AsyncIterator[bytes]) -> None:
        """Take one part. Of two senders of the same part the later one counts: the earlier has lost its link."""
        upload = self.staging.find(execution_id)
        if number >= upload.parts or upload.span(number)[1] != size:
            raise UploadIncomplete(f"Part {number} is not {size} bytes long.", execution_id=execution_id)
        turn = self._turns[execution_id, number] = object()
        try:
            await self._take(upload, number, content, lambda: self._turns.get((execution_id, number)) is turn)
        finally:
            if self._turns.get((execution_id, number)) is turn:
                del self._turns[execution_id, number]
        self._hash_soon(upload)

    async def stage(self, parcel: Parcel) -> str:
        """Verify and keep a parcel; its place is the publisher's own."""
        parcel = parcel.plain
        async with self.lock(parcel.execution_id):
            if (upload := self._under_way(parcel)) is not None:
                await self._hash(upload)
            await self.do(self.staging.stage, parcel)
        return self.name

    async def abort(self, execution_id: str) -> None:
        """Drop what is not final."""
        async with self.lock(execution_id):
            await self.do(self.staging.abort, execution_id)

    # ------------------------------------------------------------ for what is built upon it

    def lock(self, execution_id: str) -> asyncio.Lock:
        """One change of an execution's upload at a time; different ones go on side by side."""
        return self._locks.setdefault(execution_id, asyncio.Lock())

    async def do(self, function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Run what blocks in a thread, to its end."""
        return await asyncio.get_running_loop().run_in_executor(self._writing, partial(function, *given, **named))

    # ------------------------------------------------------------ helpers

    async def _take(
        self, upload: Upload, number: int, content: AsyncIterator[bytes], holds: Callable[[], bool]
    ) -> None:
        first, size = upload.span(number)
        position, end = first, first + size
        pieces: list[bytes] = []
        gathered = 0

        async def write() -> None:
            nonlocal position, gathered
            async with self.lock(upload.parcel.execution_id):
                if self.staging.find(upload.parcel.execution_id) is not upload or not holds():
                    raise UploadIncomplete("Another sender of this part has taken over.")
                if number not in upload.came:  # what has come, and is hashed, nobody changes any more
                    await self.do(upload.write, position, pieces)
                position += gathered
                if position == end:
                    await self.do(self.staging.note, upload, number)
            pieces.clear()
            gathered = 0

        now = asyncio.get_running_loop().time
        heard = now()
        try:
            async with asyncio.timeout(SILENCE_SECONDS) as patience:
                async for piece in content:
                    pieces.append(piece)
                    gathered += len(piece)
                    if position + gathered > end:
                        raise UploadIncomplete(f"Part {number} is longer than {size} bytes.")
                    if gathered >= WRITE_BYTES or position + gathered == end:
                        patience.reschedule(None)  # that the disk is slow is not the sender's silence
                        await write()
                    elif now() - heard < AGAIN_SECONDS:
                        continue  # a timer for each piece would cost as much as the piece
                    heard = now()
                    patience.reschedule(heard + SILENCE_SECONDS)
        except TimeoutError as error:
            raise UploadIncomplete(f"Nothing came for {SILENCE_SECONDS:g} s.") from error
        if position != end:
            raise UploadIncomplete(f"Part {number} was cut off after {position + gathered - first} of {size} bytes.")

    def _hash_soon(self, upload: Upload) -> None:
        """Take into the digest what has come, beside the parts that are still coming."""
        key = id(upload)
        if key not in self._hashed:
            self._hashed[key] = task = asyncio.create_task(self._hash_on(upload))
            task.add_done_callback(lambda _: self._hashed.pop(key, None))

    async def _hash(self, upload: Upload) -> None:
        """Wait until all that has come is in the digest."""
        if (task := self._hashed.get(id(upload))) is not None:
            await asyncio.wait({task})
        await self._hash_on(upload)

    async def _hash_on(self, upload: Upload) -> None:
        with contextlib.suppress(FileNotFoundError):  # aborted meanwhile
            await asyncio.get_running_loop().run_in_executor(self._hashing, upload.hash_on)

    def _under_way(self, parcel: Parcel) -> Upload | None:
        if self.staging.staged(parcel.execution_id) == parcel:
            return None
        upload = self.staging.find(parcel.execution_id)
        return upload if upload.parcel == parcel else None


def _request(upload: Upload, number: int, headers: Mapping[str, str]) -> UploadRequest:
    first, size = upload.span(number)
    return UploadRequest(
        url=f"uploads/{upload.parcel.execution_id}/parts/{number}", headers=dict(headers), first=first, size=size
    )
