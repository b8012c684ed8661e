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
    """The folders of one start of an execution: in each process that takes it up it gets new ones."""

    root: Path

    @property
    def inputs(self) -> Path:
        """What was staged, one folder an input."""
        return self.root / "inputs"

    @property
    def work(self) -> Path:
        """The engine's folder: the streams and the outputs."""
        return self.root / "work"

    @property
    def stdout(self) -> Path:
        """What the program says, as it says it."""
        return self.work / "stdout"

    @property
    def stderr(self) -> Path:
        """What the program complains about."""
        return self.work / "stderr"


class Folders:
    """One folder per execution, removed by a thread once it is dropped and nobody reads from it.

    The thread is its own, so that removing ten thousand result files never holds up the event loop.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._readers: Counter[str] = Counter()
        self._dropped: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="sweeper")

    def open(self, keep: Iterable[str]) -> None:
        """Make the root; remove every execution's folder that the journal does not know any more."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {token(execution_id) for execution_id in keep}
        for path in self._root.iterdir():
            if path.name not in kept:
                self._sweeper.submit(shutil.rmtree, path, ignore_errors=True)

    def make(self, execution_id: str) -> Places:
        """Make fresh folders for a start; those of earlier ones stay until the execution is dropped."""
        number = self._last(execution_id) + 1
        places = self._places(execution_id, number)
        places.inputs.mkdir(parents=True, mode=0o700)
        places.work.mkdir()
        self._numbers[execution_id] = number
        return places

    def latest(self, execution_id: str) -> Places | None:
        """Return the folders of the last start; None when there was none."""
        number = self._last(execution_id)
        return self._places(execution_id, number) if number else None

    def _last(self, execution_id: str) -> int:
        """The number of the last start's folders: remembered, or (after a restart) seen on disk; 0 for none."""
        number = self._numbers.get(execution_id)
        if number is None:
            folder = self._root / token(execution_id)
            found = [int(path.name) for path in folder.iterdir()] if folder.is_dir() else []
            number = max(found, default=0)
        return number

    def drop(self, execution_id: str) -> None:
        """Remove what an execution left, as soon as nobody reads from it."""
        if self._readers[execution_id]:
            self._dropped.add(execution_id)
            return
        self._numbers.pop(execution_id, None)
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

    def _places(self, execution_id: str, number: int) -> Places:
        return Places(self._root / token(execution_id) / str(number))
