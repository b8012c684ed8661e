"""Where executions live on this node's disk, and when what they left goes."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skrei_domain.subjects import token


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one start of an execution."""

    root: Path
    inputs: Path
    outputs: Path
    stdout: Path
    stderr: Path


class Folders:
    """One folder per execution, removed by a thread once it is dropped and nobody reads from it.

    The thread is its own, so that removing ten thousand result files never holds up the event loop.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._readers: Counter[str] = Counter()
        self._dropped: set[str] = set()
        self._starts: dict[str, int] = {}
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="sweeper")

    def open(self, keep: Iterable[str]) -> None:
        """Make the root; remove every execution's folder that the journal does not know any more."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {token(execution_id) for execution_id in keep}
        for path in self._root.iterdir():
            if path.name not in kept:
                self._sweeper.submit(shutil.rmtree, path, ignore_errors=True)

    def make(self, execution_id: str, start: int) -> Places:
        """Make the folders of a start; the one before it, if any, goes."""
        places = self._places(execution_id, start)
        if places.root.exists():
            shutil.rmtree(places.root)
        places.inputs.mkdir(parents=True, mode=0o700)
        places.outputs.mkdir()
        self._starts[execution_id] = start
        return places

    def latest(self, execution_id: str) -> Places | None:
        """Return the folders of the last start in this process or, after a restart, of the last that is on disk."""
        start = self._starts.get(execution_id)
        if start is None:
            folder = self._root / token(execution_id)
            found = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
            if not found:
                return None
            start = self._starts[execution_id] = max(found)
        return self._places(execution_id, start)

    def drop(self, execution_id: str) -> None:
        """Remove what an execution left, as soon as nobody reads from it."""
        if self._readers[execution_id]:
            self._dropped.add(execution_id)
            return
        self._starts.pop(execution_id, None)
        self._readers.pop(execution_id, None)
        self._sweeper.submit(shutil.rmtree, self._root / token(execution_id), ignore_errors=True)

    @contextmanager
    def reading(self, execution_id: str) -> Iterator[None]:
        """Keep an execution's folder while the caller reads from it."""
        self._readers[execution_id] += 1
        try:
            yield
        finally:
            self._readers[execution_id] -= 1
            if not self._readers[execution_id]:
                del self._readers[execution_id]
                if execution_id in self._dropped:
                    self._dropped.discard(execution_id)
                    self.drop(execution_id)

    def close(self) -> None:
        """Wait for removals that are under way."""
        self._sweeper.shutdown()

    def _places(self, execution_id: str, start: int) -> Places:
        root = self._root / token(execution_id) / str(start)
        return Places(root, root / "inputs", root / "outputs", root / "stdout", root / "stderr")
