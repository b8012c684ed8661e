"""What was brought on to its destination: told again when the leader asks again, and its copies here go first.

What lay in the staging is not there any more by then, so that without this note a leader that did not hear would be
told that the result is lost. A small file for each: dropped in time, once there is no copy here that it tells of.
"""

import json
import threading
import time
from itertools import islice
from pathlib import Path

from skrei_domain.bounds import is_id
from skrei_domain.uploads import Parcel
from skrei_plugin_api.publisher import Published
from skrei_plugin_api.upload_folder import sync_folder
from skrei_publisher.needed import ASKED, Keep
from skrei_publisher.store import ResultStore


class Done:
    """Notes in a folder; blocks, and is called from threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.freeing = threading.Lock()
        """Held while copies or notes are dropped: whoever needs room at the same time takes the next ones."""

    def note(self, parcel: Parcel, published: Published) -> None:
        """Remember; once this returns, what lay in the staging may go."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(parcel)
        draft = path.with_suffix(".new")
        text = json.dumps({"digest": parcel.digest, "params": dict(published.params)})
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
        sync_folder(self._folder)

    def find(self, parcel: Parcel) -> Published | None:
        """Return where a parcel was brought; None where it was not, or another one was."""
        try:
            told = json.loads(self._path(parcel).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Published(told["params"]) if told.get("digest") == parcel.digest else None

    def oldest(self) -> list[str]:
        """Return whose results were brought on, the oldest first: what lies here of them is a copy."""
        if not self._folder.is_dir():
            return []
        found = [(path.stat().st_mtime, path.stem) for path in self._folder.glob("*.json")]
        return [execution_id for _, execution_id in sorted(found)]

    def tidy(self, older_than_seconds: float, store: ResultStore) -> None:
        """Drop what is that old; what tells of a copy in `store` stays: nothing else says that it may make room."""
        if not self._folder.is_dir():
            return
        before = time.time() - older_than_seconds
        with self.freeing:
            for path in self._folder.iterdir():
                kept = is_id(path.stem) and store.path(path.stem).is_file()
                if path.stat().st_mtime < before and not kept:
                    path.unlink(missing_ok=True)

    def _path(self, parcel: Parcel) -> Path:
        if not is_id(parcel.execution_id):
            raise ValueError("that is not the id of an execution")
        return self._folder / f"{parcel.execution_id}.json"


def free_copies(store: ResultStore, done: Done, size_bytes: int, *, needed: Keep = lambda _: ()) -> bool:
    """Drop copies of what lies at its destination until so many bytes are free; return whether any were. Blocks.

    What is `needed` stays: not every destination gives back what a later task reads.
    """
    with done.freeing:
        before = store.used_bytes
        copies = (each for each in done.oldest() if store.path(each).is_file())
        while before - store.used_bytes < size_bytes and (some := list(islice(copies, ASKED))):
            stay = needed(some)
            for execution_id in some:
                if execution_id not in stay and before - store.used_bytes < size_bytes:
                    store.drop([execution_id])
        return store.used_bytes < before
