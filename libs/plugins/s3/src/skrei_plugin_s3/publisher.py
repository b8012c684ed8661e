"""The publishers `s3` and `s3managed`: results to the bucket that a job names, or to that of the control plane's owner.

An archive goes from its node to S3 directly, in parts of one upload that S3 does not show before it is completed: that
is done once its execution has won, so that of two attempts at one key the committed one is there, whatever comes late.
Each part's digest is signed into its address, S3 takes no other bytes. What is wanted as single files comes to the
publisher's process instead, which puts them below the key once they have won.
"""

import asyncio
import configparser
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakValueDictionary

from skrei_domain.job_reading import FieldProblem, show
from skrei_domain.uploads import Parcel, UploadPlan
from skrei_plugin_api.outbound import Outbound
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo
from skrei_plugin_api.publisher import (
    NOTHING,
    DestinationAway,
    NotReadable,
    Opened,
    PublishDenied,
    Published,
    Publisher,
    StagedGone,
    TooManyUploads,
    UploadIncomplete,
    UploadUnknown,
)
from skrei_plugin_api.storage import StageFailed
from skrei_plugin_s3.credentials import credentials
from skrei_plugin_s3.failures import KeysEnded, KeysRefused
from skrei_plugin_s3.late_clients import LateClients, rules_of
from skrei_plugin_s3.managed import Managed
from skrei_plugin_s3.own_parts import digests, put_missing
from skrei_plugin_s3.plain_put import put_all
from skrei_plugin_s3.settings import S3Settings
from skrei_plugin_s3.targets import SUFFIX, Encoding, Target, part_bytes, read
from skrei_plugin_s3.upload_notes import Note, Notes
from skrei_plugin_s3.upload_parts import came_of, place_in, place_of, placed, published, request_for

if TYPE_CHECKING:
    from skrei_plugin_s3.objects import Objects, Stored

PARALLEL_PARTS = 4
"""Parts of one result at once: enough to fill a link whose answers take their time."""
PLAN_PARTS = 128
"""Parts in one plan: a gigabyte at least, and a tenth of a second of signing; then the next plan is asked for."""
READ_SECONDS = 3_600
"""How long an address is good by which a result is read, unless `s3_presigned_seconds` says otherwise."""
MOST_UPLOADS = 4_096
"""Uploads that are begun or wait to be completed: each is a note of some kilobytes."""


class S3Publisher(Publisher):
    """Results to the bucket that a job names."""

    plugin_api = PLUGIN_API
    name = "s3"
    version = "0.5.0"
    takes_portions: ClassVar[bool] = True

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._clients = LateClients(context, self.rules)
        self._notes = Notes(context.state_dir / "uploads")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def describe(self) -> PluginInfo:
        """Say whether there are credentials; whether they are good for a bucket is each job's to find out."""
        try:
            found = credentials(S3Settings.from_options(self.context.options))
        except (ValueError, OSError, configparser.Error) as error:
            return PluginInfo(available=False, reason=f"its settings cannot be read: {type(error).__name__}: {error}")
        if not found or found.startswith("none"):
            reason = "the publisher's process has no credentials for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            return PluginInfo(available=False, reason=f"{reason}, or a profile (docs/RESULTS.md)")
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name every parameter that is wrong, or unknown."""
        target, problems = read(params)
        try:
            managed = Managed.from_options(self.context.options)
        except ValueError:
            managed = None  # `s3managed` says what is wrong
        if not problems and managed is not None and managed.holds(target):
            return [FieldProblem("Key", show(target.key), "a key elsewhere: there lie the results of `s3managed`")]
        return problems

    def target(self, params: Params) -> Target:
        """Return where a result goes."""
        return read(params)[0]

    def at(self, params: Params) -> str:
        """Name the bucket and its server."""
        target = self.target(params)
        return f"s3://{target.bucket}" + (f" at {target.endpoint}" if target.endpoint else "")

    def told(self, note: Note, stored: "Stored") -> Published:
        """Return what clients are told of an object."""
        return published(note.target, stored)

    def forwards(self, params: Params) -> bool:
        """Single files are put by the publisher's process."""
        return self.target(params).encoding is Encoding.PLAIN

    async def reach(self, params: Params) -> None:
        """Look whether the bucket is there."""
        async with self._objects(self.target(params)) as objects:
            await objects.check_bucket()

    # ------------------------------------------------------------ one archive, in parts that its node puts

    async def plan(
        self, parcel: Parcel, headers: Mapping[str, str], *, node_id: str = "", params: Params = NOTHING
    ) -> UploadPlan:
        """Return addresses for the parts that have not come; first of all ask for the digests of all parts."""
        target, size = self.target(params), part_bytes(parcel.size)
        if parcel.piece_bytes != size or len(parcel.pieces) != -(-parcel.size // size):
            return UploadPlan(piece_bytes=size)
        async with self._objects(target) as objects:
            async with self._lock(parcel.execution_id):  # who asks again has not waited for the first answer
                note, came = await self._begun(objects, parcel, target)
            missing = [number for number in range(1, note.parts + 1) if number not in came]
            return UploadPlan(
                requests=tuple([await request_for(objects, note, number) for number in missing[:PLAN_PARTS]]),
                parallel=PARALLEL_PARTS,
                more=len(missing) > PLAN_PARTS,
                trusted=objects.trusted,
            )

    async def stage(self, parcel: Parcel) -> str:
        """Look whether S3 has every part as it was announced; the place is all that completing them needs."""
        note = await asyncio.to_thread(self._notes.find, parcel.execution_id)
        if note is None or (note.digest, note.size) != (parcel.digest, parcel.size):
            raise UploadUnknown(f"No upload of execution {parcel.execution_id} is under way.")
        async with self._objects(note.target) as objects:
            came = await came_of(objects, note)
        if came is None:
            await asyncio.to_thread(self._notes.drop, parcel.execution_id)
            raise UploadUnknown(f"The upload of execution {parcel.execution_id} is not there any more.")
        if missing := note.parts - len(came):
            raise UploadIncomplete(f"{missing} parts have not come yet.", execution_id=parcel.execution_id)
        return place_in(note)

    async def finalise(self, parcel: Parcel, place: str) -> Published | None:
        """Complete the upload. Where an earlier try did, the object says whose it is."""
        note = placed(parcel, place)
        with _patiently():
            async with self._objects(note.target) as objects:
                stored = await self._complete(objects, note)
        await asyncio.to_thread(self._notes.drop, parcel.execution_id)
        return self.told(note, stored)

    async def abort(self, execution_id: str) -> None:
        """Have S3 drop the parts that have come."""
        async with self._lock(execution_id):
            await self._abort(execution_id)

    async def _abort(self, execution_id: str) -> None:
        note = await asyncio.to_thread(self._notes.find, execution_id)
        if note is None:
            return
        async with self._objects(note.target) as objects:
            await objects.abort(note.target.key, note.upload)
        await asyncio.to_thread(self._notes.drop, execution_id)

    async def tidy(self, *, older_than_seconds: float) -> None:
        """Abort uploads that nobody has gone on with, nor completed."""
        given_up = set(await asyncio.to_thread(lambda: list(self._notes.old(2 * older_than_seconds))))
        for execution_id in await asyncio.to_thread(lambda: list(self._notes.old(older_than_seconds))):
            try:
                await self.abort(execution_id)
            except PublishDenied:  # its bucket, or our right to it, is gone: nothing is left that could be asked
                await asyncio.to_thread(self._notes.drop, execution_id)
            except DestinationAway:  # the others are not held up; a server that stays away is forgotten
                if execution_id in given_up:
                    await asyncio.to_thread(self._notes.drop, execution_id)

    async def take(self, parcel: Parcel, content: Path, params: Params) -> str:
        """Put the parts of an archive that this process has; the upload that they belong to shows nothing yet."""
        size = part_bytes(parcel.size)
        pieces = await asyncio.to_thread(digests, content, size)
        target = self.target(params)
        with _patiently():
            async with self._objects(target) as objects:
                async with self._lock(parcel.execution_id):
                    announced = parcel.model_copy(update={"piece_bytes": size, "pieces": pieces})
                    note, came = await self._begun(objects, announced, target)
                await put_missing(objects, note, came, content)
        return place_in(note)

    # ------------------------------------------------------------ single files, which this process puts

    async def forward(self, parcel: Parcel, content: Path, params: Params) -> Published:
        """Put each file of a result below the key."""
        target = self.target(params)
        with _patiently():
            async with self._objects(target) as objects:
                await put_all(objects, target, content, parcel.execution_id.partition(".")[0])
        return Published({"Bucket": target.bucket, "Key": target.key} | place_of(target))

    # ------------------------------------------------------------ reading

    async def open(self, execution_id: str, params: Params = NOTHING) -> Opened | None:
        """Return an address that S3 answers; None for single files."""
        found = self.found(params)
        if found is None:
            return None
        target, version = found
        async with self._objects(target) as objects:
            settings = S3Settings.from_options(self.context.options)
            if not settings.presigned:
                return None
            seconds = settings.presigned_seconds or READ_SECONDS
            return Opened(url=await objects.address(target.key, seconds, version))

    @asynccontextmanager
    async def read(self, execution_id: str, params: Params, *, first: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read an archive for whoever may not reach S3."""
        from skrei_plugin_s3.objects import UploadGone

        found = self.found(params)
        if found is None:
            async with self._below(execution_id, params, "") as pieces:
                yield after(pieces, first)
            return
        target, version = found
        try:
            async with self._objects(target) as objects, objects.read(target.key, version, first) as pieces:
                yield pieces
        except UploadGone as error:
            raise NotReadable(f"{target.at} is not there any more", execution_id=execution_id) from error

    def repacks(self, params: Params) -> bool:
        """Single files are packed again."""
        return self.found(params) is None

    def read_part(
        self, execution_id: str, params: Params, path: str
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]] | None:
        """Open what of single files lies at or below a path."""
        return None if self.found(params) is not None else self._below(execution_id, params, path)

    @asynccontextmanager
    async def _below(self, execution_id: str, params: Params, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        from skrei_plugin_s3.plain_read import packed

        region, endpoint = str(params.get("Region") or ""), str(params.get("Endpoint") or "")
        key = str(params.get("Key") or "")
        if not key.endswith("/"):
            raise NotReadable("it names no place in S3", execution_id=execution_id)
        target = Target(str(params.get("Bucket") or ""), key, region, endpoint, Encoding.PLAIN)
        async with self._objects(target) as objects:
            yield packed(objects, key, execution_id, path=path)

    def found(self, params: Params) -> tuple[Target, str] | None:
        """Return which object a `Published` names, and its version; None where it names none."""
        key = str(params.get("Key") or "")
        if not key.endswith(SUFFIX):
            return None
        region, endpoint = str(params.get("Region") or ""), str(params.get("Endpoint") or "")
        return Target(str(params.get("Bucket") or ""), key, region, endpoint), str(params.get("VersionID") or "")

    async def close(self) -> None:
        """Close every connection."""
        await self._clients.close()

    # ------------------------------------------------------------ helpers

    def _lock(self, execution_id: str) -> asyncio.Lock:
        """One change of an execution's upload at a time: two that begin it would leave one that nobody aborts."""
        return self._locks.setdefault(execution_id, asyncio.Lock())

    async def _begun(self, objects: "Objects", parcel: Parcel, target: Target) -> tuple[Note, set[int]]:
        """Return the upload of a parcel, begun now or before, and which parts have come."""
        note = await asyncio.to_thread(self._notes.find, parcel.execution_id)
        if note is not None:
            same = (note.digest, note.size, note.part_bytes, note.pieces) == (
                parcel.digest,
                parcel.size,
                parcel.piece_bytes,
                parcel.pieces,
            )
            came = await came_of(objects, note) if same and note.target == target else None
            if came is not None:
                return note, came
            await self._abort(parcel.execution_id)
        if await asyncio.to_thread(self._notes.count) >= MOST_UPLOADS:
            raise TooManyUploads(f"{MOST_UPLOADS} uploads to S3 are under way; more have to wait.")
        meta = {"execution": parcel.execution_id, "digest": parcel.digest}
        upload = await objects.begin(target.key, meta)
        note = Note(
            parcel.execution_id, parcel.digest, parcel.size, parcel.piece_bytes, target, upload, tuple(parcel.pieces)
        )
        await asyncio.to_thread(self._notes.keep, note)
        return note, set()

    async def _complete(self, objects: "Objects", note: Note) -> "Stored":
        from skrei_plugin_s3.objects import UploadGone

        try:
            parts = await objects.parts(note.target.key, note.upload)
            stored = await objects.complete(note.target.key, note.upload, parts)
        except UploadGone as error:
            there = await objects.head(note.target.key)
            if there is None or (there.execution, there.digest) != (note.execution_id, note.digest):
                raise StagedGone(
                    f"The upload of execution {note.execution_id} to {note.target.at} is not there any more.",
                    execution_id=note.execution_id,
                ) from error
            return there
        return stored

    @asynccontextmanager
    async def _objects(self, target: Target) -> AsyncIterator["Objects"]:
        """Yield what writes to a bucket. Raises PublishDenied where the server may not be asked."""
        from skrei_plugin_s3.objects import Objects

        clients = await self._clients.get()
        try:
            async with clients.open(target.server) as client:
                if client.anonymous:
                    raise PublishDenied("the publisher's process has no credentials for S3")
                yield Objects(client, target)
        except StageFailed as error:
            raise PublishDenied(error.message, hint=error.hint) from error
        except (KeysRefused, KeysEnded):
            await clients.forget(target.server)  # whoever asks next reads what its owner has set by then
            raise

    def rules(self) -> Outbound | None:
        """Return which servers a job may name; None: it names none."""
        return rules_of(self.context)


async def after(pieces: AsyncIterator[bytes], first: int) -> AsyncIterator[bytes]:
    """Yield what comes from byte `first` on."""
    async for piece in pieces:
        if first < len(piece):
            yield piece[first:]
        first = max(first - len(piece), 0)


@contextmanager
def _patiently() -> Iterator[None]:
    """Let what was taken in wait for other credentials: their owner has something to mend, and nothing is lost."""
    try:
        yield
    except KeysRefused as error:
        raise DestinationAway(error.message, hint=error.hint) from error
