"""What `make dist` writes beside the wheels."""

import subprocess
from pathlib import Path

from scripts import dist
from scripts.environment import ROOT

PINS = """\
# Written by a tool.
aiohttp==3.14.5 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
cffi==2.1.1 ; platform_python_implementation != 'PyPy' \\
    --hash=sha256:cc
plain==1.0
"""


def test_constraints_are_the_pins_without_their_digests() -> None:
    assert dist.constraints(PINS).splitlines()[1:] == [
        "aiohttp==3.14.5",
        "cffi==2.1.1 ; platform_python_implementation != 'PyPy'",
        "plain==1.0",
    ]


def test_every_pin_of_the_runtime_is_a_constraint() -> None:
    pinned = (ROOT / "requirements/runtime.txt").read_text()
    expected = sum("==" in line and not line.startswith(("#", " ")) for line in pinned.splitlines())
    assert len(dist.constraints(pinned).splitlines()) - 1 == expected > 40


def test_the_installer_is_one_file_of_shell_that_carries_the_fetcher(tmp_path: Path) -> None:
    installer = tmp_path / "install.sh"
    installer.write_text(dist.assemble((ROOT / "scripts/install.sh").read_text(), ROOT / "scripts"))
    assert dist.PLACE not in installer.read_text()
    assert subprocess.run(["sh", "-n", str(installer)], check=False).returncode == 0
    script = (
        f'sed -e \'$d\' "{installer}" > "{tmp_path}/functions"; . "{tmp_path}/functions"; write_fetcher "{tmp_path}"'
    )
    assert subprocess.run(["sh", "-ec", script], check=False).returncode == 0
    for name in dist.FETCHER:
        assert (tmp_path / f"scripts/{name}.py").read_text() == (ROOT / f"scripts/{name}.py").read_text()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    assert dist.main([str(tmp_path)]) == 1
    assert (tmp_path / "mine").read_text() == "precious"
