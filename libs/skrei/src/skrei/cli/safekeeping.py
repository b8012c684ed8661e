"""`skrei admin backup|restore|restored`: a stack of this machine put aside, and brought back."""

from __future__ import annotations

import os
from pathlib import Path

from skrei import state
from skrei.cli import render
from skrei.cli.flags import text
from skrei.cli.grammar import Argument, Command, Values

WHERE = (text("--data-dir", "FOLDER", "The stack in this folder, instead of this user's usual one.", completes="file"),)
DATABASE = "SKREI_DATABASE_URL"
_OTHER = f"{DATABASE} names a record that is not in the data folder."
BACKUP = Command(
    "admin backup",
    "Put the record and the keys of this machine's stack aside, as of one moment; it may run meanwhile.",
    "skrei.cli.safekeeping:backup",
    WHERE,
    (Argument("FOLDER", "where to; it must not be there yet", completes="file"),),
    more="Whoever has the folder can act as this cluster: keep it as you keep keys. Results are not among it: they "
    f"lie in the result store, <data folder>/publisher or a bucket. {_OTHER}",
)
RESTORE = Command(
    "admin restore",
    "Make a stack of what `admin backup` put aside, in a data folder that holds none.",
    "skrei.cli.safekeeping:restore",
    WHERE,
    (Argument("FOLDER", "what `admin backup` made", completes="file"),),
    more="Start it with `skrei serve` then. Nodes that hold newer work say so, and what the record does not know of it "
    f"is stopped, its results kept. {_OTHER}",
)
RESTORED = Command(
    "admin restored",
    "Tell a stack that its record was brought back by other means: pg_restore, or an older snapshot.",
    "skrei.cli.safekeeping:restored",
    WHERE,
    more=f"`admin restore` does so itself. Saying it once too often does no harm. {_OTHER}",
)


def backup(values: Values) -> None:
    """Put a stack aside."""
    from skrei_embedded import safekeeping

    folder, data_dir, url = Path(values.text("FOLDER")), _data_dir(values), os.environ.get(DATABASE, "")
    told = safekeeping.backup(folder, data_dir, url)
    rows = told["tables"]
    render.line(f"Put aside in {folder}: {rows['jobs']} jobs, {rows['executions']} executions, {rows['nodes']} nodes.")
    if not (folder / safekeeping.KEYS).is_file():
        render.note(f"There are no keys in {data_dir}: put those of this cluster aside yourself.")
    render.next_step(f"skrei admin restore {folder} --data-dir NEW", "bring it back elsewhere")


def restore(values: Values) -> None:
    """Bring a stack back."""
    from skrei_embedded import safekeeping

    folder, data_dir, url = Path(values.text("FOLDER")), _data_dir(values), os.environ.get(DATABASE, "")
    told = safekeeping.restore(folder, data_dir, url)
    render.line(f"Brought back into {data_dir}: the record of {told['made_at'][:19]}Z, in timeline {told['timeline']}.")
    render.next_step(f"skrei serve --data-dir {data_dir}", "start it")


def restored(values: Values) -> None:
    """Open a new timeline."""
    from skrei_embedded import safekeeping

    timeline = safekeeping.reopen(_data_dir(values), os.environ.get(DATABASE, ""))
    render.line(f"The record is in timeline {timeline} now; nodes are asked what they hold.")


def _data_dir(values: Values) -> Path:
    named = values.text("data-dir") or os.environ.get("SKREI_DATA_DIR", "")
    return Path(named).expanduser().absolute() if named else state.usual_folder()
