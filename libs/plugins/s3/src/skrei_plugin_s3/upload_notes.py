"""Which uploads in parts an earlier process began, and for what: a small file for each, so that none is forgotten."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from skrei_domain.bounds import is_id
from skrei_plugin_s3.targets import Encoding, Target


@dataclass(frozen=True, slots=True)
class Note:
    """An upload: of which execution and digest, where to, by which id; `pieces` are the digests of its parts."""

    execution_id: str
    digest: str
    size: int
    part_bytes: int
    target: Target
    upload: str
    pieces: tuple[str, ...]

    @property
    def parts(self) -> int:
        """How many parts it has."""
        return -(-self.size // self.part_bytes)

    def span(self, number: int) -> tuple[int, int]:
        """Return where a part (numbered from 1) begins, and how many bytes it has."""
        first = (number - 1) * self.part_bytes
        return first, min(self.part_bytes, self.size - first)


class Notes:
    """Notes in a folder. Everything here blocks, for as long as a small file takes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, execution_id: str) -> Note | None:
        """Return the upload of an execution; None where there is none, or a crash left half a note."""
        path = self._path(execution_id)
        try:
            told = json.loads(path.read_text("utf-8"))
            target = Target(**told.pop("target"))
            target = replace(target, encoding=Encoding(target.encoding))
            return Note(**{**told, "target": target, "pieces": tuple(told["pieces"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, note: Note) -> None:
        """Remember an upload, in place of another of its execution."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(note.execution_id)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(note)), "utf-8")
        draft.replace(path)

    def drop(self, execution_id: str) -> None:
        """Forget one."""
        self._path(execution_id).unlink(missing_ok=True)

    def count(self) -> int:
        """Return how many there are."""
        return sum(1 for _ in self._folder.glob("*.json")) if self._folder.is_dir() else 0

    def old(self, older_than_seconds: float) -> Iterator[str]:
        """Yield whose uploads nobody has gone on with for so long."""
        before = time.time() - older_than_seconds
        for path in list(self._folder.glob("*.json")) if self._folder.is_dir() else []:
            if path.stat().st_mtime < before:
                yield path.stem

    def _path(self, execution_id: str) -> Path:
        if not is_id(execution_id):
            raise ValueError("that is not the id of an execution")
        return self._folder / f"{execution_id}.json"
