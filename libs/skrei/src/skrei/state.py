"""What this user's command line remembers between calls: the last job of each API, and where own stacks lie.

Small JSON files in $XDG_STATE_HOME/skrei (else ~/.local/state/skrei), replaced whole. Forgetting is harmless, so a
folder that cannot be read or written only costs the convenience.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

MOST_REMEMBERED = 50
"""APIs and folders in one file: the latest; more than a person uses, little enough to be read in no time."""


def folder() -> Path:
    """Return the folder; it need not be there."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return Path(base if base.startswith("/") else "~/.local/state").expanduser() / "skrei"


def last_job(endpoint: str) -> str:
    """Return the id of the job that was submitted last at `endpoint` from here; empty when there is none."""
    return _read("last-jobs.json").get(endpoint, "")


def remember_job(endpoint: str, job_id: str) -> None:
    """Keep the id of the job that was submitted last."""
    _keep("last-jobs.json", endpoint, job_id)


def usual_folder() -> Path:
    """Return where a stack of this user lies unless it is told otherwise; `skrei serve` says the same."""
    named = os.environ.get("SKREI_DATA_DIR", "")
    return Path(named).expanduser().absolute() if named else default_folder()


def default_folder() -> Path:
    """Return where a stack of this user lies when nobody names a folder."""
    return Path("/var/lib/skrei") if os.geteuid() == 0 else Path("~/.skrei").expanduser()


def data_folders() -> tuple[Path, ...]:
    """Return where stacks of this user may lie: the usual place first, then others that were started."""
    others = (Path(path) for path in reversed(_read("data-folders.json")))
    return tuple(dict.fromkeys((usual_folder(), *others)))


def stack_state(folder: Path) -> dict[str, Any] | None:
    """Return what the supervisor of a data folder tells of itself; None where none runs (or none that we may read)."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "stack.json").read_text("utf-8"))
        if isinstance(found, dict) and _runs(found.get("pid")):
            return found
    return None


def _runs(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remember_folder(path: Path) -> None:
    """Keep the data folder of a stack that this user has started."""
    _keep("data-folders.json", str(path), "")


def _read(name: str) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder() / name).read_text("utf-8"))
        if isinstance(found, dict):
            return {str(key): str(value) for key, value in found.items()}
    return {}


def _keep(name: str, key: str, value: str) -> None:
    known = _read(name)
    known.pop(key, None)
    known[key] = value
    kept = dict(list(known.items())[-MOST_REMEMBERED:])
    place = folder() / name
    half = place.with_name(f"{name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half.write_text(json.dumps(kept, indent=1), "utf-8")
        half.replace(place)
