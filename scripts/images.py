"""Which of our packages an image holds, and what is installed into it: `python -m scripts.images STEP TARGET FOLDER`.

It runs while `deploy/Dockerfile` is built. The step `locked` installs what `requirements/images/TARGET.txt` pins,
checked by its digests, into a virtual environment in FOLDER; `own`, which alone is done again after a change of ours,
adds our packages, takes out what built them, and lists all parts (`scripts.sbom`): nothing in an image can compile, or
was chosen on the day that it was built.
"""

import os
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import environment, fetch_uv, pip_settings, sbom
from scripts.environment import ROOT

SBOM = "sbom.cdx.json"


@dataclass(frozen=True, slots=True)
class Image:
    """The packages of an image: their folders, and the extras of the first."""

    folders: tuple[str, ...]
    extras: tuple[str, ...] = ()


IMAGES = {
    "orchestrator-api": Image(("services/orchestrator-api",)),
    "scheduler": Image(("services/scheduler",)),
    "compute-agent": Image(("services/compute-agent",), ("docker", "ipfs", "kubernetes", "s3", "wasm")),
    "publisher": Image(("services/publisher",), ("ipfs", "s3")),
    "tools": Image(("libs/skrei", "libs/store", "libs/cluster-init")),
}
"""`tools` is for operators: the command line, the record's migrations, and what makes a new cluster's keys."""


def lock_of(target: str) -> str:
    """Return the file that pins what an image holds."""
    return f"requirements/images/{target}.txt"


def main(arguments: Sequence[str]) -> int:
    """Do one step for one image's environment; 1 and a sentence on stderr when that fails."""
    step, target, folder = arguments[0], arguments[1], Path(arguments[2])
    settings = pip_settings.read()
    words = environment.uv_environment(settings, os.environ)
    words["UV_LINK_MODE"] = "copy"  # a link would lead into the cache, which stays behind
    try:
        uv = environment.find_uv(settings, words)
        install = [uv, "pip", "install", "--quiet", *(["--no-index"] if settings.no_index else [])]
        if step == "locked":
            environment.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], words)
            _locked(install, words | {"VIRTUAL_ENV": str(folder)}, target)
        else:
            _ours(install, words | {"VIRTUAL_ENV": str(folder)}, target)
            listing = [str(folder / "bin/python"), "-m", "scripts.sbom", target, lock_of(target), str(folder / SBOM)]
            environment.run(listing, words)
    except (environment.SetUpError, fetch_uv.FetchError) as error:
        sys.stderr.write(f"The image of {target} cannot be made: {error}\n")
        return 1
    return 0


def _locked(install: list[str], words: dict[str, str], target: str) -> None:
    hashed = ["--require-hashes", "--no-build-isolation"]
    environment.run([*install, *hashed, "-r", environment.BUILD], words)
    environment.run([*install, *hashed, "--compile-bytecode", "-r", lock_of(target)], words)


def _ours(install: list[str], words: dict[str, str], target: str) -> None:
    own = [f"./{each.relative_to(ROOT)}" for each in _own(IMAGES[target])]
    environment.run([*install, "--no-deps", "--no-build-isolation", *own], words)
    kept = sbom.pins((ROOT / lock_of(target)).read_text())
    builders = [name for name in sbom.pins((ROOT / environment.BUILD).read_text()) if name not in kept]
    environment.run([install[0], "pip", "uninstall", "--quiet", *builders], words)
    compiled = Path(words["VIRTUAL_ENV"])  # what is compiled already stays
    environment.run([str(compiled / "bin/python"), "-m", "compileall", "-q", str(compiled / "lib")], words)


def _own(image: Image) -> list[Path]:
    """Return the folders of our packages that an image holds: those that it names, and those that they need."""
    folders = {environment.project_name(folder): folder for folder in environment.members(ROOT)}
    found: dict[str, Path] = {}
    waiting = [(ROOT / folder, image.extras if first == 0 else ()) for first, folder in enumerate(image.folders)]
    while waiting:
        folder, extras = waiting.pop()
        name = environment.project_name(folder)
        if name in found:
            continue
        found[name] = folder
        waiting += [(folders[need], ()) for need in _needs(folder, extras) if need in folders]
    return sorted(found.values())


def _needs(folder: Path, extras: Sequence[str]) -> list[str]:
    """Return the names of the packages that one asks for."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    optional = project.get("optional-dependencies", {})
    lines = [*project.get("dependencies", []), *(line for extra in extras for line in optional[extra])]
    return [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
