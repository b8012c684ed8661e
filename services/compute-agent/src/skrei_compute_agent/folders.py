"""Where executions live on this node's disk, and when what they left goes."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skrei_domain.subjects import token

_INPUTS = ".inputs"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one start of an execution: in each process that takes it up it gets new ones.

    `work` is the engine's: the streams, live, and the outputs. `inputs` is made by who stages, if there are any.
    """

    work: Path

    @property
    def inputs(self) -> Path:
        """What was staged, one folder an input."""
        return self.work.with_name(self.work.name + _INPUTS)

    @property
    def stdout(self) -> Path:
        """What the program says, as it says it."""
        return self.work / "stdout"

    @property
    def stderr(self) -> Path:
        """What the program complains about."""
        return self.work / "stderr"


class Folders:
    """One folder per start (making one is most of what staging a small job costs), removed once the execution is
    dropped and nobody reads from it.

    Removing has a thread of its own, so that ten thousand result files never hold up the event loop.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._readers: Counter[str] = Counter()
        self._dropped: set[str] = set()
        self._starts: dict[str, int] = {}
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="sweeper")

    def open(self, keep: Iterable[str]) -> None:
        """Make the root; remove the folders of every execution that the journal does not know any more."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {token(execution_id): execution_id for execution_id in keep}
        for path in self._root.iterdir():
            head, _, number = path.name.removesuffix(_INPUTS).rpartition("~")
            if head in kept:
                self._starts[kept[head]] = max(self._starts.get(kept[head], 0), int(number))
            else:
                self._remove([path])

    def make(self, execution_id: str) -> Places:
        """Make a fresh work folder for a start; those of earlier ones stay until the execution is dropped."""
        start = self._starts[execution_id] = self._starts.get(execution_id, 0) + 1
        places = self._places(execution_id, start)
        places.work.mkdir()
        return places

    def latest(self, execution_id: str) -> Places | None:
        """Return the folders of the last start; None when there was none."""
        start = self._starts.get(execution_id)
        return self._places(execution_id, start) if start is not None else None

    def drop(self, execution_id: str) -> None:
        """Remove what an execution left, as soon as nobody reads from it."""
        if self._readers[execution_id]:
            self._dropped.add(execution_id)
            return
        del self._readers[execution_id]
        places = [self._places(execution_id, start) for start in range(1, self._starts.pop(execution_id, 0) + 1)]
        self._remove([path for place in places for path in (place.work, place.inputs)])

    @contextmanager
    def reading(self, execution_id: str) -> Iterator[None]:
        """Keep an execution's folders while the caller reads from them."""
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

    def _remove(self, paths: list[Path]) -> None:
        if paths:
            self._sweeper.submit(_remove_all, paths)

    def _places(self, execution_id: str, start: int) -> Places:
        return Places(self._root / f"{token(execution_id)}~{start}")


def _remove_all(paths: list[Path]) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
