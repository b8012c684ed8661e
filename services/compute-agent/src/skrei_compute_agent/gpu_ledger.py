"""Which execution holds which GPU: whole devices, never two executions to one. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from skrei_domain.node import Gpu


class GpuLedger:
    """The node's devices, by key, and their holders. A device that goes while it is held stays held."""

    def __init__(self, devices: Iterable[Gpu]) -> None:
        self._devices: dict[str, Gpu] = {}
        self._held: dict[str, tuple[Gpu, ...]] = {}
        self._holder: dict[str, str] = {}
        self.update(devices)

    @property
    def held(self) -> Mapping[str, tuple[Gpu, ...]]:
        """The devices of each execution that holds some."""
        return self._held

    @property
    def free(self) -> tuple[Gpu, ...]:
        """The devices that are here and nobody's, in the order of the node's list."""
        return tuple(gpu for key, gpu in self._devices.items() if key not in self._holder)

    def update(self, devices: Iterable[Gpu]) -> None:
        """Take in what devices there are now."""
        self._devices = {gpu.key: gpu for gpu in devices}

    def has(self, keys: Iterable[str]) -> bool:
        """Whether all these devices are here and nobody's."""
        return all(key in self._devices and key not in self._holder for key in keys)

    def take(self, execution_id: str, count: int, *, wanted: Sequence[str] = ()) -> tuple[Gpu, ...]:
        """Give `count` free devices to an execution, those `wanted` (by key) where they can be had, and return them.

        They are of one vendor where that is possible, of the one with the fewest to spare: a program rarely speaks
        to two. Raises ValueError for more than are free, and for an execution that holds some already.
        """
        free = self.free
        if count > len(free):
            raise ValueError(f"{count} GPUs are wanted, {len(free)} are free")
        if execution_id in self._held:
            raise ValueError(f"{execution_id} holds GPUs already")
        if count == 0:
            return ()
        if len(wanted) == count and self.has(wanted):
            chosen = tuple(self._devices[key] for key in wanted)
        else:
            chosen = _choose(free, count)
        self._held[execution_id] = chosen
        self._holder.update((gpu.key, execution_id) for gpu in chosen)
        return chosen

    def keep(self, execution_id: str, keys: Iterable[str]) -> None:
        """Let an execution go on with the devices (by key) that it held before this process, here now or not."""
        kept = tuple(self._devices.get(key) or Gpu(index=0, uuid=key) for key in keys if key not in self._holder)
        if kept:
            self._held[execution_id] = kept
            self._holder.update((gpu.key, execution_id) for gpu in kept)

    def give(self, execution_id: str) -> None:
        """Take an execution's devices back; nothing happens where it holds none."""
        for gpu in self._held.pop(execution_id, ()):
            del self._holder[gpu.key]

    def check(self) -> None:
        """Raise AssertionError where a device is held twice, or the two sides do not agree."""
        pairs = [(gpu.key, execution_id) for execution_id, gpus in self._held.items() for gpu in gpus]
        assert len(pairs) == len({key for key, _ in pairs}), f"a device is held twice: {pairs}"
        assert dict(pairs) == self._holder, f"{pairs} are held, {self._holder} is noted"


def _choose(free: Sequence[Gpu], count: int) -> tuple[Gpu, ...]:
    by_vendor: dict[str, list[Gpu]] = defaultdict(list)
    for gpu in free:
        by_vendor[gpu.vendor].append(gpu)
    enough = [gpus for gpus in by_vendor.values() if len(gpus) >= count]
    return tuple(min(enough, key=len, default=list(free))[:count])
