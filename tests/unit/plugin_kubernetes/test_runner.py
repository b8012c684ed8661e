"""The runner that pods are given: tried as a program, in folders of its own where this user may make them."""

import contextlib
import os
import platform
import shlex
import shutil
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import skrei_plugin_kubernetes
from skrei_plugin_kubernetes import staging
from skrei_plugin_kubernetes.pod import OURS

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


BUSYBOX = shutil.which("busybox")
USER = 10001
CALLS = ("nc", "-w", "3", "127.0.0.1", "9")


@contextlib.contextmanager
def container(folder: Path, network: str) -> Iterator[list[str]]:
    """Something like a pod's container whose first process is our runner; yields what runs a command in it."""
    for name in ("bin", "proc", ".skrei"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    os.chown(folder / ".skrei", USER, USER)
    (folder / ".skrei/run").write_bytes(RUNNER.read_bytes())
    os.chown(folder / ".skrei/run", USER, USER)
    (folder / ".skrei/run").chmod(0o111)  # as it is brought into a pod
    shutil.copy(str(BUSYBOX), folder / "bin/busybox")
    for name in ("sh", "nc", "cat", "sleep", "env"):
        (folder / "bin" / name).symlink_to("busybox")
    for name in ("stdout", "stderr"):
        (folder / ".skrei" / name).touch()
        os.chown(folder / ".skrei" / name, USER, USER)
    first = ["/.skrei/run", "exec", network, "1000", "sh", "-c", "echo up; exec sleep 100"]
    chroot = f"exec chroot --userspec={USER}:{USER} {folder} env PATH=/bin {shlex.join(first)}"
    mounted = f"mount -t proc proc {folder}/proc && {chroot}"
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounted]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as outer:
        try:
            until = time.monotonic() + 20
            while (folder / ".skrei/stdout").read_text() != "up\n":
                assert outer.poll() is None and time.monotonic() < until  # noqa: PT018
                time.sleep(0.01)  # another process: there is nothing here to wait for
            (inner,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            yield f"nsenter -t {inner} -m -p -r -w -S {USER} -G {USER} env -i PATH=/bin".split()
        finally:
            outer.kill()


@needs_it
@pytest.mark.skipif(os.geteuid() != 0 or BUSYBOX is None, reason="needs root, and busybox (Debian: busybox-static)")
@pytest.mark.parametrize("network", ["closed", "open"])
def test_a_command_beside_a_program_without_network_has_none(tmp_path: Path, network: str) -> None:
    read, write = os.pipe()  # who asks, and goes on listening
    try:
        with container(tmp_path, network) as inside:
            command = [*inside, "/.skrei/run", "within", "9000", *CALLS]
            done = subprocess.run(command, stdin=read, capture_output=True, check=False, timeout=20)
            assert done.returncode == 1
            assert (b"unreachable" in done.stderr) == (network == "closed"), done.stderr
            runner = [*inside, "cat", "/proc/1/environ"]  # through whose memory its user could get out
            looked = subprocess.run(runner, capture_output=True, check=False, timeout=20)
            assert looked.returncode != 0, "of one that cannot be read, not even before it has closed its network"
    finally:
        os.close(read)
        os.close(write)


@needs_it
def test_what_is_brought_into_a_pod_is_run_by_all_and_read_by_nobody() -> None:
    data = RUNNER.read_bytes()
    user = USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        script = staging._WELCOME.replace(OURS, name)
        for size, code in ((len(data), 0), (len(data) + 1, 1)):
            sent = b"%d\n%s" % (size, data)
            done = subprocess.run(["sh", "-c", script], input=sent, capture_output=True, check=False, timeout=20,
                                  user=user, group=user)  # fmt: skip
            assert (done.returncode, done.stdout.decode().strip()) == (code, platform.machine()), done.stderr
            if code == 0:
                assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o111
                subprocess.run([folder / "run", "whole"], input=bytes(4), check=True, timeout=20)
                (folder / "run").unlink()
