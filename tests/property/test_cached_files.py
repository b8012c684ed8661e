"""Files kept by name: whatever is used, given back and restarted, nothing in use goes, and the sums are right."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from skrei_compute_agent.cached_files import CachedFiles, name_of

LIMIT = 100
names = st.sampled_from([name_of(text) for text in "abcdef"])


class Keeping(RuleBasedStateMachine):
    """Beside a model that knows only who uses what."""

    def __init__(self) -> None:
        super().__init__()
        self._temp = tempfile.TemporaryDirectory()
        self.files = CachedFiles(Path(self._temp.name), LIMIT)
        self.files.open()
        self.used: list[str] = []

    @rule(name=names, size=st.integers(0, 60))
    def keep(self, name: str, size: int) -> None:
        if not self.files.has(name):
            self.files.path(name).write_bytes(b"x" * size)
            self.files.add(name, size)
            self.used.append(name)

    @rule(name=names)
    def use(self, name: str) -> None:
        if self.files.use(name) is not None:
            self.used.append(name)
        else:
            assert name not in self.used

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.used:
            name = data.draw(st.sampled_from(self.used))
            self.used.remove(name)
            self.files.release(name)

    @rule()
    def restart(self) -> None:
        self.files = CachedFiles(Path(self._temp.name), LIMIT)
        self.files.open()
        for name in self.used:
            assert self.files.use(name) is not None
        self.files.trim()

    @invariant()
    def nothing_in_use_is_gone_and_the_sums_are_those_of_the_disk(self) -> None:
        found = {path.name: path.stat().st_size for path in Path(self._temp.name).iterdir() if path.is_file()}
        assert set(self.used) <= set(found)
        assert self.files.size_bytes == sum(found.values())
        assert self.files.idle_bytes == sum(size for name, size in found.items() if name not in self.used)
        assert self.files.size_bytes <= LIMIT or self.files.idle_bytes == 0

    def teardown(self) -> None:
        self._temp.cleanup()


TestKeeping = Keeping.TestCase
TestKeeping.settings = settings(max_examples=30, stateful_step_count=30)
