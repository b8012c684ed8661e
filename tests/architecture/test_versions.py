"""One version for all packages: a set of wheels is installed together or not at all."""

import re
import tomllib
from pathlib import Path

import pytest

from scripts import release
from scripts.environment import ROOT, members

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("package", members(ROOT), ids=lambda folder: folder.name)
def test_a_package_has_the_one_version_and_asks_for_it_of_its_siblings(package: Path) -> None:
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    extras = project.get("optional-dependencies", {}).values()
    needed = [*project.get("dependencies", []), *(line for extra in extras for line in extra)]
    for line in needed:
        if line.startswith("skrei"):
            assert re.fullmatch(rf"skrei-[a-z0-9-]+(\[[a-z0-9,-]+\])?=={re.escape(VERSION)}", line), (
                f"{line}: write =={VERSION}, so that wheels of different releases never mix"
            )


PLUGINS = sorted(
    path
    for folder in ("libs/plugins", "examples/plugins")
    for path in (ROOT / folder).glob("*/src/**/*.py")
    if re.search(r"^    version = ", path.read_text(), re.MULTILINE)
)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_plugin_tells_the_version_that_it_is_released_with(plugin: Path) -> None:
    assert re.findall(r'^    version = "(.*)"$', plugin.read_text(), re.MULTILINE) == [VERSION]


def test_the_chart_and_the_changelog_have_it_too() -> None:
    chart = (ROOT / "helm/skrei/Chart.yaml").read_text()
    assert re.findall(r'^(?:version|appVersion): "?([^"\n]*)"?$', chart, re.MULTILINE) == [VERSION, VERSION]
    assert release.released((ROOT / "CHANGELOG.md").read_text())[0] == VERSION
