# ruff: noqa: D102 - a test's name says what it claims
"""The contract suite of storages."""

import hashlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from skrei_plugin_api.aside import apart
from skrei_plugin_api.engine import (
    Mount,
)
from skrei_plugin_api.pieces import DATA, Bring, Listed, Piece, PieceStorage
from skrei_plugin_api.plugin import PLUGIN_API, Params
from skrei_plugin_api.storage import (
    BlobReader,
    SourceSpec,
    StageFailed,
    StageLimits,
    StageProblem,
    Storage,
    TaskResult,
)


class NoBlobs:
    """Has no blobs, keeps what is small in a folder, and lays fetched files out in one, each time anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def fetch(self, digest: str) -> Path:
        """Refuse."""
        raise StageFailed(StageProblem.MISSING, f"there is no {digest}")

    def keep(self, data: bytes) -> Path:
        """Write it, once."""
        path = self._folder / f"kept-{hashlib.sha256(data).hexdigest()}"
        path.write_bytes(data)
        return path

    async def results(self, task: str) -> AsyncIterator[TaskResult]:
        """Refuse."""
        nothing: tuple[TaskResult, ...] = ()
        for each in nothing:
            yield each
        raise StageFailed(StageProblem.MISSING, f"there is no task {task}")

    async def listed(self, storage: Storage, source: SourceSpec, limits: StageLimits) -> Listed | None:
        """Share nothing."""
        del storage, source, limits
        return None

    async def gather(self, pieces: Sequence[Piece] | Listed, bring: Bring) -> Path:
        """Bring each, one after another."""
        pieces = await pieces.load() if isinstance(pieces, Listed) else pieces
        root = self._folder / "gathered"
        for number, piece in enumerate(pieces):
            brought = self._folder / f"bring-{number}"
            brought.mkdir(exist_ok=True)
            await bring(piece, brought)
            if not piece.path:
                return brought / DATA
            (root / piece.path).parent.mkdir(parents=True, exist_ok=True)
            (brought / DATA).replace(root / piece.path)
        return root


class StorageContract:
    """What every storage does. Subclasses give a fixture `storage`."""

    invalid: ClassVar[Mapping[str, Params]] = {}
    """Params that are wrong, by the path of the field that is."""
    files: ClassVar[Mapping[str, bytes]] = {"a.txt": b"A", "deep/er/b": b"B" * 100_000, "deep/empty": b""}
    """What one input can be; a storage of single files says one."""

    @abstractmethod
    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        """Return an input that is a directory of these files; `folder` is what the storage may read from."""

    def blobs(self, folder: Path) -> BlobReader:
        """Return what brings what belongs to the job of `source`."""
        return NoBlobs(folder)

    @abstractmethod
    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        """Return an input that cannot be had, and why."""

    async def test_it_says_who_it_is(self, storage: Storage) -> None:
        assert storage.plugin_api == PLUGIN_API
        assert (await apart(storage.describe)).available

    async def test_what_was_named_is_staged(self, storage: Storage, tmp_path: Path) -> None:
        mount = await self.stage(storage, self.source(self.files, tmp_path), tmp_path)
        found = {str(path.relative_to(mount.source)): path for path in mount.source.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == self.files
        assert mount.target == "/in"
        assert not mount.read_write

    async def test_a_known_size_is_not_too_small(self, storage: Storage, tmp_path: Path) -> None:
        size = await storage.size(self.source({"a": b"A" * 1000}, tmp_path))
        assert size is None or size >= 0

    async def test_what_cannot_be_had_says_why(self, storage: Storage, tmp_path: Path) -> None:
        source, problem = self.unavailable(tmp_path)
        try:
            await self.stage(storage, source, tmp_path)
        except StageFailed as error:
            assert error.code is problem  # noqa: PT017 - suites do without pytest
            assert error.message  # noqa: PT017
        else:
            raise AssertionError("it was staged")

    async def test_what_is_listed_for_all_partitions_is_what_each_of_them_gets(
        self, storage: Storage, tmp_path: Path
    ) -> None:
        one = self.source(self.files, tmp_path)
        for partitions in (1, 3):
            parts = [replace(one, partition=number, partitions=partitions) for number in range(partitions)]
            entries = storage.resolve(parts[0], StageLimits())
            if entries is None or not isinstance(storage, PieceStorage):
                return
            found = [entry async for entry in entries]
            assert len({entry.partition is None for entry in found}) == 1, "all are dealt out, or none"
            for part in parts:
                mine = [entry.piece for entry in found if entry.partition in (None, part.partition)]
                assert mine == list(await storage.pieces(part, StageLimits()))

    async def test_wrong_params_are_named(self, storage: Storage) -> None:
        assert self.invalid, "name at least one"
        for path, params in self.invalid.items():
            assert [problem.path for problem in storage.validate(params)] == [path], params

    async def test_right_params_have_no_problems_in_any_case(self, storage: Storage, tmp_path: Path) -> None:
        params = self.source({"a": b"A"}, tmp_path).params
        for change in (str, str.lower, str.upper):
            assert storage.validate({change(key): value for key, value in params.items()}) == []

    async def test_closing_twice_is_closing_once(self, storage: Storage) -> None:
        await storage.close()
        await storage.close()

    async def stage(
        self, storage: Storage, source: SourceSpec, folder: Path, limits: StageLimits | None = None
    ) -> Mount:
        """Stage into a folder of its own."""
        return await storage.stage(source, folder / "staged", limits or StageLimits(), self.blobs(folder))
