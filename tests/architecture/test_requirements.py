"""Whether `requirements/*.txt` pin what the pyproject files ask for: the answer to a forgotten `make lock`."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.environment import ROOT, members

PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[.*\])?==(?P<version>[^ ;\\]+)", re.MULTILINE)


def pins(file: Path) -> dict[str, set[Version]]:
    """What a requirements file pins; a package may have a version per Python."""
    found: dict[str, set[Version]] = {}
    for match in PIN.finditer(file.read_text()):
        found.setdefault(canonicalize_name(match["name"]), set()).add(Version(match["version"]))
    return found


def asked_for(profile: str) -> dict[str, Requirement]:
    """What the workspace declares for a profile, without its own packages."""
    projects = [tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in members(ROOT)]
    own = {canonicalize_name(project["name"]) for project in projects}
    lines = [line for project in projects for line in project.get("dependencies", [])]
    if profile == "dev":
        groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
        lines += [line for group in groups.values() for line in group]
    return {line: Requirement(line) for line in lines if canonicalize_name(Requirement(line).name) not in own}


@pytest.mark.parametrize("profile", ["runtime", "dev"])
def test_every_declared_dependency_is_pinned_at_a_version_it_allows(profile: str) -> None:
    pinned = pins(ROOT / f"requirements/{profile}.txt")
    unmet = {
        line
        for line, asked in asked_for(profile).items()
        if not any(asked.specifier.contains(version) for version in pinned.get(canonicalize_name(asked.name), ()))
    }
    assert unmet == set(), "run `make lock`"


@pytest.mark.parametrize("profile", ["runtime", "dev", "build"])
def test_every_pin_carries_a_digest(profile: str) -> None:
    text = (ROOT / f"requirements/{profile}.txt").read_text()
    bare = [line for line in text.splitlines() if PIN.match(line) and not line.endswith("\\")]
    assert pins(ROOT / f"requirements/{profile}.txt")
    assert bare == []


def test_the_tests_run_on_what_the_demo_runs_on() -> None:
    runtime, dev = pins(ROOT / "requirements/runtime.txt"), pins(ROOT / "requirements/dev.txt")
    assert {name: dev.get(name) for name in runtime} == runtime
