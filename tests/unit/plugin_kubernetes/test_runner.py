"""The runner that pods are given: tried as a program, in folders of its own where this user may make them."""

import os
import platform
import struct
import subprocess
from pathlib import Path

import pytest

import skrei_plugin_kubernetes

FOLDER = Path(skrei_plugin_kubernetes.__file__).parent
RUNNER = FOLDER / f"runner-{platform.machine()}"
needs_it = pytest.mark.skipif(not RUNNER.exists(), reason=f"no runner for {platform.machine()}")


@pytest.fixture
def runner(tmp_path: Path) -> str:
    program = tmp_path / "runner"
    program.write_bytes(RUNNER.read_bytes())
    program.chmod(0o755)
    return str(program)


def test_there_is_one_for_each_kind_of_machine_and_both_are_static() -> None:
    for machine, number in (("x86_64", 62), ("aarch64", 183)):
        data = (FOLDER / f"runner-{machine}").read_bytes()
        assert data[:4] == b"\x7fELF"
        assert struct.unpack_from("<H", data, 18) == (number,)
        assert b"/lib/ld-" not in data


@needs_it
def test_pieces_are_passed_on_and_what_breaks_off_is_an_error(runner: str) -> None:
    whole = struct.pack(">I", 3) + b"abc" + struct.pack(">I", 2) + b"de" + struct.pack(">I", 0)
    done = subprocess.run([runner, "whole"], input=whole, capture_output=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (0, b"abcde")
    cut = subprocess.run([runner, "whole"], input=whole[:-4], capture_output=True, check=False, timeout=20)
    assert cut.returncode == 1


@needs_it
def test_a_command_beside_a_program_ends_by_itself_or_with_its_time_or_with_who_asked(runner: str) -> None:
    read, write = os.pipe()
    try:
        fine = subprocess.run([runner, "within", "20000", "sh", "-c", "echo hi; exit 7"], stdin=read, timeout=20,
                              capture_output=True, check=False)  # fmt: skip
        assert (fine.returncode, fine.stdout) == (7, b"hi\n")
        late = subprocess.run([runner, "within", "50", "sleep", "60"], stdin=read, timeout=20, check=False)
        assert late.returncode == 137
        none = subprocess.run([runner, "within", "20000", "nope"], stdin=read, timeout=20, capture_output=True,
                              check=False)  # fmt: skip
        assert (none.returncode, none.stderr) == (127, b"exec nope: No such file or directory\n")
    finally:
        os.close(read)
        os.close(write)
    gone = subprocess.run([runner, "within", "20000", "sleep", "60"], stdin=subprocess.DEVNULL, timeout=20, check=False)
    assert gone.returncode == 137
