"""Where executions live on this node's disk, and when what they left goes."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skrei_compute_agent.spares import Spares
from skrei_domain.subjects import token
from skrei_kit.observability import get_logger
from skrei_plugin_api.removing import remove

log = get_logger()

SWEEP_SECONDS = 0.2
"""How long what may go stays: what confirms a small execution is acted on as the next one begins, which would wait for
the thread that removes; so that wakes for many at once."""
KEPT_STARTS = 2
"""Starts of one execution whose folders are kept: the one that works, and the one before, for who reads from it."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one start of an execution: in each process that takes it up it gets new ones.

    `work` is the engine's: the streams, live, and the outputs. Each input has a folder of its own.
    """

    work: Path
    inputs: tuple[Path, ...] = ()

    @property
    def stdout(self) -> Path:
        """What the program says, as it says it."""
        return self.work / "stdout"

    @property
    def stderr(self) -> Path:
        """What the program complains about."""
        return self.work / "stderr"


class Folders:
    """Flat below one root, since making folders is most of what staging a small job costs: `<id>~<start>` and
    `<id>~<start>.<input>`. They are removed once the execution is dropped and nobody reads from it.

    Removing has a thread of its own and comes a moment later, so that ten thousand result files never hold up the
    event loop, nor a few the next execution. Some folders are emptied and used again (see `spares`).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._readers: Counter[str] = Counter()
        self._dropped: set[str] = set()
        self._starts: dict[str, int] = {}
        self._paths: dict[str, list[Path]] = {}
        self._spares = Spares(root)
        self._going: deque[Path] = deque()
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="sweeper")

    def open(self, keep: Iterable[str]) -> None:
        """Make the root; remove the folders of every execution that the journal does not know any more."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {token(execution_id): execution_id for execution_id in keep}
        for path in self._root.iterdir():
            head = path.name.rpartition("~")[0]
            if head in kept:
                known = kept[head]
                self._paths.setdefault(known, []).append(path)
                self._starts[known] = max(self._starts.get(known, 0), _start_of(path))
            else:
                self._remove([path])

    @property
    def executions(self) -> frozenset[str]:
        """Who has folders here."""
        return frozenset(self._paths)

    def make(self, execution_id: str, inputs: int = 0) -> Places:
        """Make a fresh work folder for a start, and name those of its inputs, which their storages make where they need
        them; those of the start before stay, for who still reads from it, and earlier ones go."""
        start = self._starts[execution_id] = self._starts.get(execution_id, 0) + 1
        if start > KEPT_STARTS and not self._readers[execution_id]:
            self._drop_before(execution_id, start - KEPT_STARTS + 1)
        work = self._work(execution_id, start)
        places = Places(work, tuple(work.with_name(f"{work.name}.{number}") for number in range(inputs)))
        if not self._spares.become(work):
            work.mkdir()
        self._paths.setdefault(execution_id, []).extend((work, *places.inputs))
        return places

    def latest(self, execution_id: str) -> Places | None:
        """Return where the last start works; None when there was none."""
        start = self._starts.get(execution_id)
        return Places(self._work(execution_id, start)) if start is not None else None

    def drop(self, execution_id: str) -> None:
        """Remove what an execution left, as soon as nobody reads from it."""
        if self._readers[execution_id]:
            self._dropped.add(execution_id)
            return
        del self._readers[execution_id]
        self._starts.pop(execution_id, None)
        self._remove(self._paths.pop(execution_id, []))

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

    def _drop_before(self, execution_id: str, first: int) -> None:
        """Remove the folders of starts before `first`: a service may start again for years."""
        old = [path for path in self._paths[execution_id] if _start_of(path) < first]
        self._paths[execution_id] = [path for path in self._paths[execution_id] if _start_of(path) >= first]
        self._remove(old)

    def _remove(self, paths: list[Path]) -> None:
        self._going.extend(paths)
        if 0 < len(self._going) <= len(paths):  # of more, the sweep that is to come for those finds these too
            self._sweeper.submit(self._sweep)

    def _work(self, execution_id: str, start: int) -> Path:
        return self._root / f"{token(execution_id)}~{start}"

    def _sweep(self) -> None:
        """Remove what is going, and what comes meanwhile. What cannot be removed holds up nothing else."""
        time.sleep(SWEEP_SECONDS)
        while self._going:  # nobody else takes from it
            path = self._going.popleft()
            try:
                if not self._spares.keep(path):
                    remove(path)
            except Exception as error:  # noqa: BLE001 - whatever it is, the rest goes
                log.warning("folder_not_removed", path=str(path), problem=str(error))


def _start_of(path: Path) -> int:
    return int(path.name.rpartition("~")[2].partition(".")[0])
