"""Build what is released into `dist/`: a wheel of every package, the versions they were tested with, and `install.sh`.

`scripts.dist FOLDER` builds into another folder, which is emptied first when this program made it.

`skrei` is the package to name: alone it is the client, `skrei[serve]` brings all the others. Every wheel asks for
exactly this version of its siblings, so a set never mixes. Nothing in `dist/` needs this checkout any more.
"""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts import environment, fetch_uv, pip_settings
from scripts.environment import ROOT

FETCHER = ("pip_settings", "fetch_uv")
"""The modules that find and fetch uv, which `install.sh` carries along."""
PLACE = "# @fetcher@\n"
"""The line of `scripts/install.sh` that they take."""


def main(arguments: Sequence[str]) -> int:
    """Build everything anew; 1 and a sentence on stderr when that fails."""
    folder = Path(arguments[0] if arguments else ROOT / "dist").resolve()
    if folder.exists() and any(folder.iterdir()) and not (folder / "constraints.txt").is_file():
        sys.stderr.write(f"Building failed: {folder} holds something else; name an empty folder.\n")
        return 1
    settings = pip_settings.read()
    words = environment.uv_environment(settings, os.environ) | {"VIRTUAL_ENV": str(ROOT / ".venv")}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        uv = environment.find_uv(settings, words)
        build = [uv, "build", "--quiet", "--wheel", "--all-packages", "--no-build-isolation", "--no-create-gitignore"]
        environment.run([*build, "--out-dir", str(folder)], words)
    except (environment.SetUpError, fetch_uv.FetchError) as error:
        sys.stderr.write(f"Building failed: {error}\n")
        return 1
    (folder / "constraints.txt").write_text(constraints((ROOT / "requirements/runtime.txt").read_text()))
    installer = folder / "install.sh"
    installer.write_text(assemble((ROOT / "scripts/install.sh").read_text(), ROOT / "scripts"))
    installer.chmod(0o755)
    sys.stderr.write(f"{len(list(folder.glob('*.whl')))} wheels are in {folder}; install them with: sh {installer}\n")
    return 0


def constraints(pinned: str) -> str:
    """Return the versions of a file of pins, without its digests: a mirror may have built a wheel of its own."""
    pins = re.findall(r"^([A-Za-z0-9._-]+==[^\s;\\]+(?: ; [^\\\n]+?)?)\s*\\?$", pinned, re.MULTILINE)
    return "# The versions that this release was tested with.\n" + "".join(f"{pin}\n" for pin in pins)


def assemble(template: str, sources: Path) -> str:
    """Return the installer with the fetcher's sources in it, so that one file is all that has to be downloaded."""
    before, _, after = template.partition(PLACE)
    parts = [
        f"cat >\"$1/scripts/{name}.py\" <<'END_OF_{name}'\n{(sources / f'{name}.py').read_text()}END_OF_{name}\n"
        for name in FETCHER
    ]
    return "".join([before, *parts, after])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
