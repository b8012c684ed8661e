"""The default publisher: Skrei's own result store, a directory with one writer. Parts come to the publisher's door."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import ClassVar, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from skrei_domain.job_reading import FieldProblem
from skrei_domain.uploads import Parcel, UploadPlan, UploadRequest
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo
from skrei_plugin_api.publisher import Opened, Publisher, UploadIncomplete
from skrei_publisher.staging import Staging, StagingLimits
from skrei_publisher.store import ResultStore
from skrei_publisher.upload_folder import Upload

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
SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while another waits for it. Digest and writes give it up for each piece,
and wait for it again: with the usual 5 ms they stand still while the loop takes in what comes, and a core idles."""
HASHERS = 2
"""Threads that only compute: more than cores they would share."""
SILENCE_SECONDS = 60.0
"""How long a part may bring nothing before its connection counts as lost; its node sends it again."""
AGAIN_SECONDS = 1.0
"""After so long that count begins anew: it is that much less than it says."""

DEFAULTS = StagingLimits(quota_bytes=20 * 1024**3, uploads=256, open_seconds=86_400.0, staged_seconds=7 * 86_400.0)
"""Those of the settings, for whoever has none."""


class StorePublisher(Publisher):
    """Results in a folder. `open_store` before, and `close` after everything else."""

    plugin_api = PLUGIN_API
    name = "store"
    version = version("skrei-publisher")
    keeps: ClassVar[bool] = True

    def __init__(self, context: PluginContext, limits: StagingLimits = DEFAULTS) -> None:
        super().__init__(context)
        self.store = ResultStore(context.state_dir)
        self.staging = Staging(self.store, limits)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._writing = ThreadPoolExecutor(WRITERS, thread_name_prefix="store")
        self._hashing = ThreadPoolExecutor(HASHERS, thread_name_prefix="hash")
        self._hashed: dict[int, asyncio.Task[None]] = {}
        self._turns: dict[tuple[str, int], object] = {}

    def open_store(self) -> None:
        """Take the folder, and find what uploads an earlier process had. Raises StoreBusy."""
        self.store.open()
        self.staging.open()

    async def describe(self) -> PluginInfo:
        """It always works."""
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """It takes no params."""
        return []

    async def close(self) -> None:
        """End what still computes, and give the folder back."""
        for task in list(self._hashed.values()):
            task.cancel()
        await asyncio.gather(*self._hashed.values(), return_exceptions=True)
        self._writing.shutdown()
        self._hashing.shutdown()
        self.store.close()

    # ------------------------------------------------------------ the contract

    async def plan(self, parcel: Parcel, headers: Mapping[str, str], *, node_id: str = "") -> UploadPlan:
        """Return the parts that have not come, to be put to the publisher's own door."""
        async with self._lock(parcel.execution_id):
            upload = await self._do(self.staging.begin, parcel, node_id)
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
        """Verify and keep a parcel; its place is the store's own."""
        async with self._lock(parcel.execution_id):
            if (upload := self._under_way(parcel)) is not None:
                await self._hash(upload)
            await self._do(self.staging.stage, parcel)
        return self.name

    async def finalise(self, parcel: Parcel, place: str) -> None:
        """Move what is staged to where it is served from."""
        async with self._lock(parcel.execution_id):
            await self._do(self.staging.finalise, parcel)

    async def abort(self, execution_id: str) -> None:
        """Drop what is not final."""
        async with self._lock(execution_id):
            await self._do(self.staging.abort, execution_id)

    async def open(self, execution_id: str) -> Opened | None:
        """Return the file, or what is too small to be one."""
        found = self.store.find(execution_id)
        if isinstance(found, bytes):
            return Opened(data=found)
        return None if found is None else Opened(found)

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
            async with self._lock(upload.parcel.execution_id):
                if self.staging.find(upload.parcel.execution_id) is not upload or not holds():
                    raise UploadIncomplete("Another sender of this part has taken over.")
                if number not in upload.came:  # what has come, and is hashed, nobody changes any more
                    await self._do(upload.write, position, pieces)
                position += gathered
                if position == end:
                    await self._do(self.staging.note, upload, number)
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

    def _lock(self, execution_id: str) -> asyncio.Lock:
        """One change of an execution's upload at a time; different ones go on side by side."""
        return self._locks.setdefault(execution_id, asyncio.Lock())

    async def _do(self, function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, partial(function, *given, **named))


def _request(upload: Upload, number: int, headers: Mapping[str, str]) -> UploadRequest:
    first, size = upload.span(number)
    return UploadRequest(
        url=f"uploads/{upload.parcel.execution_id}/parts/{number}", headers=dict(headers), first=first, size=size
    )
