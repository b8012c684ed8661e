"""Live output: answers log requests from the files that a running start writes, on a connection of its own.

A reader never makes this node hold output in memory: what it has not taken yet stays in the file, which is looked
at again when the connection has carried what was sent. So a flood of output delays nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from skrei_compute_agent.folders import Folders
from skrei_compute_agent.heard import heard
from skrei_compute_agent.link import CONNECT_SECONDS
from skrei_compute_agent.output_files import OutputFiles, OutputStream
from skrei_domain import subjects
from skrei_domain.envelope import wrap
from skrei_domain.messages import LeftShow, LeftShown, LeftWanted, LogChunk, LogRequest, Problem
from skrei_kit.bus import Bus, BusUnavailable, Message
from skrei_kit.observability import get_logger

log = get_logger()

CHUNK_BYTES = 32 * 1024
"""One message: far below the transport's limit, large enough that a long file needs few."""
WINDOW_BYTES = 256 * 1024
"""Sent without knowing that the server has it: bounds what all readers together can queue on the connection."""
POLL_SECONDS = 0.05
"""How often a followed file is looked at: below what a person notices, cheap beside anything that writes."""
READERS = 64
"""Readers of one node at once: each holds two files open."""
FOLLOW_SECONDS = 3600.0
"""How long one request is followed: a reader that died without cancelling must not be served for ever."""
CHUNK_TYPE = "skrei.log.chunk.v1"
LEFT_TYPE = b'"skrei.left.wanted.v1"'
SHOW_TYPE = b'"skrei.left.show.v1"'
HEAD_BYTES = 512
"""Of a request, in which its type stands: ids and subjects before it are short."""


class LogServer:
    """Serves the output of the executions that lie in `folders`; `live` says whether one still runs."""

    def __init__(
        self,
        node_id: str,
        folders: Folders,
        live: Callable[[str], bool],
        known: Callable[[str], bool],
        *,
        left: Callable[[LeftWanted], None] | None = None,
        show: Callable[[LeftShow], Awaitable[LeftShown]] | None = None,
        poll_seconds: float = POLL_SECONDS,
        follow_seconds: float = FOLLOW_SECONDS,
    ) -> None:
        self._node_id = node_id
        self._folders = folders
        self._live = live
        self._known = known
        self._left = left
        self._show = show
        self._shows: set[asyncio.Task[None]] = set()
        self._poll_seconds = poll_seconds
        self._follow_seconds = follow_seconds
        self._bus: Bus | None = None
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._unflushed = 0

    async def connect(self, url: str, creds: Path | None, *, ca: Path | None = None) -> None:
        """Connect and listen, and no longer over the connection of before. Raises BusUnavailable."""
        if self._bus is not None:  # the node's own line has ended, this one need not have
            await self._bus.close()
        bus = self._bus = await Bus.connect(
            url,
            name=f"logs {self._node_id}",
            creds=creds,
            ca=ca,
            inbox_prefix=subjects.inbox(self._node_id),
            wait_seconds=CONNECT_SECONDS,
        )
        await bus.subscribe(subjects.rpc(self._node_id), self._asked)

    async def ended(self) -> None:
        """Wait until the connection is over for good."""
        if self._bus is not None:
            await self._bus.ended()

    async def renew(self) -> None:
        """Connect with the credentials as they are now."""
        if self._bus is not None:
            await self._bus.renew()

    async def close(self) -> None:
        """End every reader and close."""
        readers = [*self._readers.values(), *self._shows]
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        if self._bus is not None:
            await self._bus.close()

    async def _asked(self, message: Message) -> None:
        if LEFT_TYPE in message.data[:HEAD_BYTES]:
            self._asked_for_left(message)
            return
        if SHOW_TYPE in message.data[:HEAD_BYTES]:
            self._asked_to_show(message)
            return
        if (request := heard(LogRequest, message.data)) is None:
            return
        if request.cancel:
            if (task := self._readers.get(request.request_id)) is not None:
                task.cancel()
            return
        if request.request_id in self._readers:
            return  # a repeat
        task = asyncio.get_running_loop().create_task(self._serve(request), name=f"logs {request.request_id}")
        self._readers[request.request_id] = task
        task.add_done_callback(lambda done: self._done(request, done))

    def _asked_for_left(self, message: Message) -> None:
        """Somebody wants what stays on this node."""
        if self._left is not None and (wanted := heard(LeftWanted, message.data)) is not None:
            self._left(wanted)

    def _asked_to_show(self, message: Message) -> None:
        """What stays on this node has won."""
        if self._show is not None and (wanted := heard(LeftShow, message.data)) is not None:
            task = asyncio.get_running_loop().create_task(self._answer(self._show(wanted)), name=f"show {wanted.left}")
            self._shows.add(task)
            task.add_done_callback(self._shows.discard)

    async def _answer(self, showing: Awaitable[LeftShown]) -> None:
        """Say what became of it; an answer that is not heard is asked for again."""
        shown = await showing
        payload = wrap(shown, type_=shown.type, source=self._node_id, id_=shown.request_id)
        try:
            await self._line.publish(subjects.answer(self._node_id, shown.request_id), payload)
        except BusUnavailable as error:
            log.debug("left_shown_unheard", request_id=shown.request_id, reason=error.message)

    def _done(self, request: LogRequest, task: "asyncio.Task[None]") -> None:
        self._readers.pop(request.request_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("log_reader_failed", execution_id=request.execution_id, problem=str(error))

    async def _serve(self, request: LogRequest) -> None:
        writer = _Writer(self, request.request_id)
        if len(self._readers) > READERS:
            await writer.end(Problem(code="exhausted", message=f"{READERS} readers are served here already; try later"))
            return
        if not self._known(request.execution_id):
            await writer.end(
                Problem(code="not-found", message=f"{request.execution_id} is not on this node (any more)")
            )
            return
        try:
            with self._folders.reading(request.execution_id):
                await writer.begin()
                async with asyncio.timeout(self._follow_seconds):
                    await self._stream(request, writer)
        except TimeoutError:
            await writer.end(
                Problem(code="log-expired", message=f"followed for {self._follow_seconds:g} s; ask again to go on")
            )
        else:
            await writer.end()

    async def _stream(self, request: LogRequest, writer: "_Writer") -> None:
        with ExitStack() as stack:
            output = OutputFiles(request, stack)
            while True:
                # Looked at before the files are: what was written before the end is not missed.
                last = not request.follow or not self._live(request.execution_id)
                output.look(self._folders.latest(request.execution_id))
                read = [(stream, data) for stream in output.streams.values() if (data := stream.file.read(CHUNK_BYTES))]
                for stream, data in read:
                    await writer.say(stream, data)
                if read:
                    continue
                if last:
                    return
                await asyncio.sleep(self._poll_seconds)

    @property
    def _line(self) -> Bus:
        if self._bus is None:
            raise BusUnavailable("there was no connection yet")
        return self._bus

    async def send(self, chunk: LogChunk) -> None:
        """Send a chunk; wait for the server when a window of them is under way."""
        payload = wrap(chunk, type_=CHUNK_TYPE, source=self._node_id, id_=f"{chunk.request_id}-{chunk.sequence}")
        try:
            await self._line.publish(subjects.log(self._node_id, chunk.request_id), payload)
            self._unflushed += len(payload)
            if self._unflushed >= WINDOW_BYTES:
                self._unflushed = 0
                await self._line.flush()
        except BusUnavailable as error:
            log.debug("log_chunk_dropped", request_id=chunk.request_id, reason=error.message)


class _Writer:
    """Numbers the chunks of one request."""

    def __init__(self, server: LogServer, request_id: str) -> None:
        self._server = server
        self._request_id = request_id
        self._sequence = 0

    async def begin(self) -> None:
        """Say that the output is here, however quiet it may stay for now."""
        await self._chunk()

    async def say(self, stream: OutputStream, data: bytes) -> None:
        """Send output as text; a character cut at the chunk's end waits for its rest."""
        text = stream.decoder.decode(data)
        await self._chunk(stream=stream.number, data=text)

    async def end(self, problem: Problem | None = None) -> None:
        """Say that there is no more."""
        await self._chunk(end=True, problem=problem)

    async def _chunk(
        self, *, stream: int = 0, data: str = "", end: bool = False, problem: Problem | None = None
    ) -> None:
        self._sequence += 1
        await self._server.send(
            LogChunk(
                request_id=self._request_id,
                sequence=self._sequence,
                stream=stream,
                data=data,
                end=end,
                problem=problem,
            )
        )
