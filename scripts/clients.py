"""`.cache/clients`: other people's clients of the API, as they are published, in an environment of their own.

They ask for libraries that Skrei would not live with, and nothing of Skrei may help them. `make setup-dev` makes it,
the conformance tests run programs in it; once it holds what `requirements/clients.txt` pins, nothing is done.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from scripts import environment, pip_settings

PINS = "requirements/clients.txt"
FOLDER = environment.ROOT / ".cache/clients"


def python() -> Path:
    """The interpreter whose environment holds the clients."""
    return FOLDER / "bin/python"


def set_up() -> None:
    """Bring the environment to what is pinned. Raises SetUpError; one that was interrupted is made anew."""
    stamp = FOLDER / "skrei-stamp.json"
    wanted = {
        "place": environment.place(FOLDER),
        "digest": hashlib.sha256((environment.ROOT / PINS).read_bytes()).hexdigest(),
    }
    if environment.read_stamp(stamp) == wanted and python().exists():
        return
    settings = pip_settings.read()
    words = environment.uv_environment(settings, os.environ)
    uv = environment.find_uv(settings, words)
    shutil.rmtree(FOLDER, ignore_errors=True)
    environment.run([uv, "venv", "--quiet", "--python", environment.base_python(), str(FOLDER)], words)
    words["VIRTUAL_ENV"] = str(FOLDER)
    flags = ["--no-index"] if settings.no_index else []
    environment.run([uv, "pip", "install", "--quiet", *flags, "--require-hashes", "--no-deps", "-r", PINS], words)
    stamp.write_text(json.dumps(wanted))
