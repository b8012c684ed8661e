"""Where a node stands with the control plane, in a small file for whoever started the agent: greeted, or why not."""

import contextlib
import json
import os
from pathlib import Path

FILE = "standing.json"
GREETED = "greeted"
WAITING = "waiting"


class Standing:
    """Writes `FILE` in the agent's data folder when something of it changes; it never raises for a full disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._told: tuple[str, str, str] | None = None

    @property
    def reason(self) -> str:
        """For what the node waits; empty where a leader has greeted it, and before anything is known."""
        return self._told[1] if self._told is not None else ""

    def greeted(self) -> None:
        """A leader has taken this node's hello."""
        self._tell(GREETED, "", "")

    def waiting(self, reason: str, hint: str = "") -> None:
        """Nobody has yet (or not any more): for what the node waits, and what to do about it."""
        self._tell(WAITING, reason, hint)

    def forget(self) -> None:
        """The agent ends as it was told to; one that fails leaves its last word."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _tell(self, state: str, reason: str, hint: str) -> None:
        if self._told == (state, reason, hint):
            return
        self._told = (state, reason, hint)
        document = {"pid": os.getpid(), "state": state, "reason": reason, "hint": hint}
        fresh = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # it informs; nothing rests on it
            fresh.write_text(json.dumps(document), "utf-8")
            fresh.replace(self._path)
