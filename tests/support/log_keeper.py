"""The publisher's door with its log book alone, as others find it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp.test_utils import TestServer

from skrei_kit.tokens import TokenVerifier
from skrei_publisher.app import build
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.log_door import LogDoor
from skrei_publisher.logbook import LogBook
from skrei_publisher.store import ResultStore


class LateVerifier:
    """Knows the control plane's key once somebody has told it: a door may have to be there before."""

    def __init__(self) -> None:
        self.known: TokenVerifier | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self.known, name)


@dataclass
class LogKeeper:
    """The door's address, and what it keeps."""

    url: str
    book: LogBook
    verifier: LateVerifier

    def has(self, execution_id: str, stream: str = "stdout") -> bytes:
        found = self.book.find(execution_id, stream)
        return b"" if found is None else found.path.read_bytes()


@asynccontextmanager
async def a_log_keeper(folder: Path, *, stream_bytes: int = 10 * 1024 * 1024) -> AsyncIterator[LogKeeper]:
    """The door until the block ends."""
    verifier = LateVerifier()
    book = LogBook(folder / "logs", stream_bytes=stream_bytes, quota_bytes=10**9)
    book.open()
    keeper = SignedDoor(verifier)  # type: ignore[arg-type]
    store = ResultStore(folder / "results")
    app = build(store, None, keeper, logs=LogDoor(book, keeper))  # type: ignore[arg-type]
    async with TestServer(app) as server:
        yield LogKeeper(str(server.make_url("/")).rstrip("/"), book, verifier)
