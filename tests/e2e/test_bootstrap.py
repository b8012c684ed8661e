"""The two commands of the README, on Debians that have git, make and python3 and nothing else."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bare_debian import SUITES
from scripts.environment import members
from tests.support import bare_debian
from tests.support.bare_debian import BareDebian

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = f"/home/{bare_debian.USER}/my skrei"  # people have spaces in their paths

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(600),  # a Debian and all dependencies may have to be downloaded first
    pytest.mark.skipif(bool(bare_debian.why_not()), reason=bare_debian.why_not() or "can run"),
]


def written(folders: pytest.TempPathFactory, text: str) -> Path:
    file = folders.mktemp("config") / "gitconfig"
    file.write_text(text)
    return file


@pytest.fixture(scope="module", params=SUITES)
def debian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareDebian]:
    """A bare Debian with a clone of what is committed here."""
    root = tmp_path_factory.mktemp("debian")
    machine = bare_debian.make(ROOT / ".cache", root, request.param)
    subprocess.run(
        ["git", "clone", "--quiet", "--bare", ROOT.as_uri(), str(root / "srv/skrei.git")],
        # This root user may be looking at somebody else's checkout.
        env=os.environ | {"GIT_CONFIG_GLOBAL": str(written(tmp_path_factory, "[safe]\n\tdirectory = *\n"))},
        check=True,
    )
    machine.give_to_user("srv/skrei.git")
    cloned = machine.run(f'git clone --quiet /srv/skrei.git "{CHECKOUT}"', cwd="/", timeout_seconds=60)
    assert cloned.returncode == 0, cloned.stdout
    yield machine
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)


def test_the_bare_debian_has_none_of_the_usual_helpers(debian: BareDebian) -> None:
    """The premise of this file: without it the others would prove nothing."""
    for command in ("python3 -m ensurepip", "python3 -m pip", "uv --version", "sudo true", "cc --version"):
        answer = debian.run(command, cwd="/", timeout_seconds=30)
        assert answer.returncode != 0, f"{command} works here:\n{answer.stdout}"


def test_make_demo_passes_for_an_ordinary_user_and_leaves_nothing_running(debian: BareDebian) -> None:
    script = "make demo; code=$?; echo; echo left: $(cat /proc/[0-9]*/comm 2>/dev/null); exit $code"
    answer = debian.run(script, cwd=CHECKOUT, timeout_seconds=400)
    assert answer.returncode == 0, answer.stdout[-8000:]
    left = answer.stdout.rsplit("left:", 1)[1].split()
    assert not {"postgres", "nats-server", "python", "python3", "skrei"} & set(left), left


IMPORTS = """
import importlib, pkgutil, warnings
warnings.filterwarnings("error", module="skrei")
ours = [found.name for found in pkgutil.iter_modules() if found.name.startswith("skrei")]
roots = {name: importlib.import_module(name).__path__ for name in ours}
parts = [part.name for name, path in roots.items() for part in pkgutil.walk_packages(path, f"{name}.")]
for name in parts:
    if not name.endswith((".__main__", ".migrations.env")):  # programs
        importlib.import_module(name)
print(len(ours), "packages", len(parts), "modules")
"""


def test_this_python_imports_every_module_and_warns_of_none(debian: BareDebian) -> None:
    answer = debian.run(f".venv/bin/python -c '{IMPORTS}'", cwd=CHECKOUT, timeout_seconds=120)
    assert answer.returncode == 0, answer.stdout
    packages, _, modules, _ = answer.stdout.split()
    assert (int(packages), int(modules) > 300) == (len(members(ROOT)), True), answer.stdout


def test_a_second_set_up_changes_nothing(debian: BareDebian) -> None:
    stamp = debian.root / CHECKOUT.lstrip("/") / ".venv/skrei-stamp.json"
    before = stamp.stat().st_mtime_ns
    answer = debian.run("make setup", cwd=CHECKOUT, timeout_seconds=60)
    assert (answer.returncode, answer.stdout) == (0, "")
    assert stamp.stat().st_mtime_ns == before
