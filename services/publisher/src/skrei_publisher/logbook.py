"""What running executions have said so far, appended piece by piece: it outlives the node that heard it.

One folder for each execution: one file for each stream of the latest start that said anything, and its node's id. A
piece names its offset, so that a repeat changes nothing and a gap is refused with how much is here. Nothing is synced:
a power cut here while the node lives costs nothing, since the node goes on from what is here.
"""

import contextlib
import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from skrei_domain.errors import SkreiError
from skrei_plugin_api.shares import Share
from skrei_plugin_api.upload_folder import check_id

STREAMS = ("stdout", "stderr")
_END = "end"
_NODE = "0.node"  # starts count from 1


class LogGap(SkreiError):
    """A piece that does not go on where the log ends; `have` says where it does."""

    code: ClassVar[str] = "log-gap"

    def __init__(self, have: int) -> None:
        super().__init__(f"The log has {have} bytes so far: go on there.")
        self.have = have


class LogOver(SkreiError):
    """A piece of a start that a later one has followed."""

    code: ClassVar[str] = "log-over"


class LogsFull(SkreiError):
    """There is no room for more logs until some expire."""

    code: ClassVar[str] = "logs-full"
    retryable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Appended:
    """How many bytes of a stream are here, and whether no more of it is taken (`cut`)."""

    have: int
    cut: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """One stream as it is kept: `complete` once its node has said that there is no more."""

    path: Path
    start: int
    cut: bool
    complete: bool


class LogBook:
    """A folder of logs with one writer, the process that holds the result store's lock."""

    def __init__(self, root: Path, *, stream_bytes: int, quota_bytes: int, node_share_percent: int = 100) -> None:
        self.root = root
        self.used_bytes = 0
        self._stream_bytes = stream_bytes
        self._share = Share(quota_bytes, node_share_percent)
        self._of_node: Counter[str] = Counter()

    def open(self) -> None:
        """Make the folder, and count what is there."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for execution_id, size, _ in self.entries():
            self._count(_node_of(self._folder(execution_id)), size)

    def append(
        self,
        execution_id: str,
        start: int,
        stream: str,
        offset: int,
        data: bytes,
        *,
        end: bool = False,
        node_id: str = "",
    ) -> Appended:
        """Append what goes beyond what is here; `end` says that the stream ends with it.

        Of a stream `stream_bytes` and one byte more are kept, which tells a stream that was cut from one that was just
        so long. Raises LogGap, LogOver and LogsFull.
        """
        folder = self._folder(execution_id)
        latest = _latest(folder)
        if start < latest:
            raise LogOver(f"Start {latest} of {execution_id} has begun to speak.")
        path = folder / f"{start}.{stream}"
        have = path.stat().st_size if path.exists() else 0
        if offset > have:
            raise LogGap(have)
        fresh = data[have - offset :][: self._stream_bytes + 1 - have]
        self._check_room(len(fresh), node_id)
        if fresh or end:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if start > latest:
                self._clear(folder)
                (folder / _NODE).write_text(node_id, "utf-8")
            with path.open("ab") as file:
                file.write(fresh)
            self._count(node_id, len(fresh))
        if end and offset + len(data) == have + len(fresh):
            (folder / f"{start}.{stream}.{_END}").touch()
        return Appended(have + len(fresh), have + len(fresh) > self._stream_bytes)

    def find(self, execution_id: str, stream: str) -> Kept | None:
        """Return a stream of the latest start that said anything; None when nothing of it was ever sent."""
        folder = self._folder(execution_id)
        start = _latest(folder)
        path = folder / f"{start}.{stream}"
        if not path.is_file():
            return None
        complete = (folder / f"{start}.{stream}.{_END}").exists()
        return Kept(path, start, path.stat().st_size > self._stream_bytes, complete)

    def drop(self, execution_ids: Iterable[str]) -> None:
        """Delete logs; those that are not there are gone already."""
        for execution_id in execution_ids:
            folder = self._folder(execution_id)
            self._clear(folder)
            shutil.rmtree(folder, ignore_errors=True)

    def entries(self) -> Iterator[tuple[str, int, float]]:
        """Yield execution id, bytes and when something was last appended (seconds since the epoch), in no order."""
        for shard in self.root.iterdir():
            for folder in shard.iterdir():
                facts = []
                with contextlib.suppress(FileNotFoundError):  # a later start has cleared it meanwhile
                    facts = [path.stat() for path in folder.iterdir() if path.name != _NODE]
                if facts:
                    yield folder.name, sum(one.st_size for one in facts), max(one.st_mtime for one in facts)

    def expired(self, keep_seconds: float, *, now: float | None = None) -> list[str]:
        """Return the executions that have said nothing for so long."""
        before = (time.time() if now is None else now) - keep_seconds
        return [execution_id for execution_id, _, changed in self.entries() if changed < before]

    def _check_room(self, size: int, node_id: str) -> None:
        if self.used_bytes + size > self._share.total:
            raise LogsFull("The publisher keeps no more logs until some expire.")
        own = self._of_node[node_id]
        if own + size > self._share.most(others=self.used_bytes - own):
            raise LogsFull(f"The publisher keeps no more logs of node {node_id} until some of them expire.")

    def _count(self, node_id: str, size: int) -> None:
        self.used_bytes += size
        self._of_node[node_id] += size
        if not self._of_node[node_id]:
            del self._of_node[node_id]

    def _clear(self, folder: Path) -> None:
        node_id = _node_of(folder)
        for path in folder.glob("*"):
            if path.name != _NODE:
                self._count(node_id, -path.stat().st_size)
            path.unlink()

    def _folder(self, execution_id: str) -> Path:
        check_id(execution_id)
        return self.root / hashlib.sha256(execution_id.encode()).hexdigest()[:2] / execution_id


def _node_of(folder: Path) -> str:
    """Return whose log a folder holds; nobody's, where a crash left it without its beginning."""
    path = folder / _NODE
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""


def _latest(folder: Path) -> int:
    """Return the highest start that has said anything; 0 when none has."""
    if not folder.is_dir():
        return 0
    return max((int(path.name.partition(".")[0]) for path in folder.iterdir()), default=0)
