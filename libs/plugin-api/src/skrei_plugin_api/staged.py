"""Publishers whose parts come to the publisher's own door: into a folder, verified and durable, then wherever they go.

What a plugin adds is the last step (`finalise`, `open`). One that only brings what has won to a destination of its own
is a `Forwarder`, and needs none of this.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from skrei_domain.uploads import Parcel, UploadPlan, UploadRequest
from skrei_plugin_api.aside import outcome, over
from skrei_plugin_api.inflow import Straight, Tap
from skrei_plugin_api.intake import Intake
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
SILENCE_SECONDS = 60.0
"""How long a part may bring nothing before its connection counts as lost; its node sends it again."""
AGAIN_SECONDS = 1.0
"""After so long that count begins anew: it is that much less than it says."""
LOOK_SECONDS = 5.0
"""How often a connection is looked at that brings less than what is waited for."""

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
        self._intake = Intake(self.name)
        self._turns: dict[tuple[str, int], object] = {}
        self.make_room: Callable[[int], bool] = lambda _: False
        """Frees so many bytes, or some at least, of what can be had elsewhere, and returns whether it did. Blocks."""

    async def start(self) -> None:
        """Find what uploads an earlier process had."""
        await self.do(self.staging.open)

    async def close(self) -> None:
        """End what still computes."""
        self._writing.shutdown()
        self._intake.close()

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
        coming = _Coming(upload, number, lambda: self._turns.get((execution_id, number)) is turn)
        try:
            if not isinstance(content, Straight):
                await self._gather(coming, content)
            else:
                async with content.straight() as tap:
                    await (self._gather(coming, content) if tap is None else self._draw(coming, tap))
        finally:
            if self._turns.get((execution_id, number)) is turn:
                del self._turns[execution_id, number]

    async def stage(self, parcel: Parcel) -> str:
        """Verify and keep a parcel; its place is the publisher's own."""
        parcel = parcel.plain
        async with self.lock(parcel.execution_id):
            if (upload := self._under_way(parcel)) is not None:
                await asyncio.wrap_future(self._intake.catch_up(upload))
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

    async def _gather(self, coming: "_Coming", content: AsyncIterator[bytes]) -> None:
        """Take a part that comes in pieces: some are gathered for each trip to a thread."""
        pieces: list[bytes] = []
        gathered = 0
        now = asyncio.get_running_loop().time
        heard = now()
        try:
            async with asyncio.timeout(SILENCE_SECONDS) as patience:
                async for piece in content:
                    pieces.append(piece)
                    gathered += len(piece)
                    if coming.position + gathered > coming.end:
                        raise UploadIncomplete(f"Part {coming.number} is longer than {coming.size} bytes.")
                    if gathered >= WRITE_BYTES or coming.position + gathered == coming.end:
                        patience.reschedule(None)  # that the disk is slow is not the sender's silence
                        await self._take(coming, pieces)
                        pieces, gathered = [], 0
                    elif now() - heard < AGAIN_SECONDS:
                        continue  # a timer for each piece would cost as much as the piece
                    heard = now()
                    patience.reschedule(heard + SILENCE_SECONDS)
        except TimeoutError as error:
            raise UploadIncomplete(f"Nothing came for {SILENCE_SECONDS:g} s.") from error
        if coming.left:
            came = coming.size - coming.left + gathered
            raise UploadIncomplete(f"Part {coming.number} was cut off after {came} of {coming.size} bytes.")

    async def _draw(self, coming: "_Coming", tap: Tap) -> None:
        """Take a part from its connection itself, by a thread that stays as long as more is there."""
        now = asyncio.get_running_loop().time
        early, heard = tap.early, now()
        while True:
            before = coming.left
            await self._take(coming, early, tap)
            early = []
            if not coming.left:
                return
            if coming.left < before:
                heard = now()
            elif now() - heard >= SILENCE_SECONDS:
                raise UploadIncomplete(f"Nothing came for {SILENCE_SECONDS:g} s.")
            await tap.wait(coming.left, LOOK_SECONDS)

    async def _take(self, coming: "_Coming", pieces: Sequence[bytes], tap: Tap | None = None) -> None:
        upload = coming.upload
        async with self.lock(upload.parcel.execution_id):
            if self.staging.find(upload.parcel.execution_id) is not upload or not coming.holds():
                raise UploadIncomplete("Another sender of this part has taken over.")
            working = asyncio.ensure_future(self.do(self._take_in, coming, pieces, tap))
            try:
                await outcome(working)
            except asyncio.CancelledError:
                await over(working)  # a thread is at it, and at the connection
                raise

    def _take_in(self, coming: "_Coming", pieces: Sequence[bytes], tap: Tap | None) -> None:
        upload, number = coming.upload, coming.number
        coming.position = self._intake.take(upload, number, coming.position, pieces, tap)
        if not coming.left:
            self.staging.note(upload, number)
            self._intake.catch_up(upload)

    def _under_way(self, parcel: Parcel) -> Upload | None:
        if self.staging.staged(parcel.execution_id) == parcel:
            return None
        upload = self.staging.find(parcel.execution_id)
        return upload if upload.parcel == parcel else None


class _Coming:
    """A part that is coming, and whether its sender is still the one that counts."""

    def __init__(self, upload: Upload, number: int, holds: Callable[[], bool]) -> None:
        self.upload = upload
        self.number = number
        self.holds = holds
        self.position, self.size = upload.span(number)
        self.end = self.position + self.size

    @property
    def left(self) -> int:
        """How many bytes have not been taken."""
        return self.end - self.position


def _request(upload: Upload, number: int, headers: Mapping[str, str]) -> UploadRequest:
    first, size = upload.span(number)
    return UploadRequest(
        url=f"uploads/{upload.parcel.execution_id}/parts/{number}", headers=dict(headers), first=first, size=size
    )
