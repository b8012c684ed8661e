"""A plugin of the examples as an installer leaves it: for a stack that finds plugins by what is installed."""

import shutil
import tomllib
from pathlib import Path

from scripts.environment import ROOT


def install_plugin(name: str, folder: Path) -> Path:
    """Put `examples/plugins/<name>` into `folder`, which is to be on PYTHONPATH then; return it.

    No package index is asked, as it would be for what builds wheels.
    """
    source = ROOT / "examples/plugins" / name
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    for package in (source / "src").iterdir():
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    told = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in found.items()) for group, found in groups]
    (told / "entry_points.txt").write_text("\n".join(lines))
    return folder
