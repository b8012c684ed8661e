"""How a program is asked to end: WASI has no signals, so it is a file that appears in a folder of its own.

Only a task that gives its program a grace (`StopGrace`) has the folder, at `/skrei`, and the variable that names the
file. What does not look for it is ended after the grace, like any other program.
"""

from pathlib import Path

from skrei_plugin_api.engine import RunRequest
from skrei_plugin_wasm.layout import STOP_AT, STOP_FOLDER

VARIABLE = "SKREI_STOP_FILE"
FILE = "stop"


def stop_variables(request: RunRequest) -> list[tuple[str, str]]:
    """Return what a program finds in its environment about being stopped."""
    return [(VARIABLE, f"{STOP_AT}/{FILE}")] if request.stop_grace_seconds else []


def ask_to_stop(workdir: Path) -> None:
    """Let the file appear; a run that has no folder for it yet ends before it begins. Raises OSError."""
    folder = workdir / STOP_FOLDER
    if folder.exists():
        (folder / FILE).touch()
