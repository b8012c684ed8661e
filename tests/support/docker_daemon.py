"""A real dockerd of the tests' own: its data, socket and bridge in a private folder, images made without a registry."""

import contextlib
import functools
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.05
USER, PASSWORD = "skrei", "open-sesame"
HTPASSWD = "skrei:$2y$05$CsfjVAiSK8VqaPWZDSpcdeLeQGXO0ZSSWnFrEwcxhQNBt6YB31Ubu"
BUSYBOX = "skrei-test/busybox:1"
"""No entrypoint, no command."""
SPEAKING = "skrei-test/speaking:1"
"""ENTRYPOINT ["/bin/echo", "entry"], CMD ["cmd"], ENV FROM_IMAGE=yes, WORKDIR /srv."""
COMMAND = "skrei-test/command:1"
"""CMD ["/bin/echo", "cmd"] alone."""
AS_USER = "skrei-test/user:1"
"""USER 1234."""

_CHANGES = {
    BUSYBOX: ("ENV PATH=/bin",),
    SPEAKING: ('ENTRYPOINT ["/bin/echo","entry"]', 'CMD ["cmd"]', "ENV FROM_IMAGE=yes", "WORKDIR /srv"),
    COMMAND: ('CMD ["/bin/echo","cmd"]',),
    AS_USER: ("USER 1234", "ENV PATH=/bin"),
}


def why_no_docker() -> str:
    """Why no dockerd can be had here; empty when it can."""
    if os.geteuid() != 0:
        return "dockerd wants root"
    missing = [tool for tool in ("dockerd", "docker", "busybox", "ip") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: docker.io, busybox-static, iproute2)"
    return ""


@dataclass
class DockerDaemon:
    """A dockerd that runs, and its command line."""

    folder: Path
    bridge: str
    process: subprocess.Popen[bytes] | None = None
    flags: tuple[str, ...] = ()
    made: list[str] = field(default_factory=list)
    data: Path | None = None
    """Where images are kept for the next run; none: below `folder`, gone with it."""

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [
            "dockerd",
            *("--data-root", str(self.data or self.folder / "data"), "--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "pid"), "--host", self.url, "--group", "root"),
            *("--bridge", self.bridge or "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
            *("--log-level", "warn", *self.flags),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"dockerd does not come up: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(LOOK_SECONDS)  # another process: there is nothing here to wait for

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.settimeout(5)
                probe.connect(str(self.socket))
                probe.sendall(b"GET /_ping HTTP/1.0\r\nHost: d\r\n\r\n")
                return b"200 OK" in probe.recv(64)
            except OSError:
                return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon; containers end with it when it is asked politely."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(STOP_SECONDS)
            self.process = None

    @property
    def environment(self) -> dict[str, str]:
        """What a command line needs to speak with this daemon, and with no other."""
        config = self.folder / "config"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DOCKER_CONFIG": str(config),
            "DOCKER_HOST": self.url,
        }

    def cli(self, *words: str, data: bytes | None = None, seconds: float = 60) -> str:
        """Run the docker command line, and return what it says."""
        return self.cli_bytes(*words, data=data, seconds=seconds).decode()

    def cli_bytes(self, *words: str, data: bytes | None = None, seconds: float = 60) -> bytes:
        """Run the docker command line, and return what it writes."""
        done = subprocess.run(
            ["docker", *words], input=data, capture_output=True, check=False, timeout=seconds, env=self.environment
        )
        assert done.returncode == 0, (words, done.stderr.decode())
        return done.stdout

    def import_tree(self, root: Path, tag: str, *, without: Sequence[str] = ()) -> None:
        """Make an image of a folder."""
        flags = [flag for each in without for flag in ("--exclude", f"./{each}/*")]
        packing = subprocess.Popen(["tar", "-C", str(root), "-c", *flags, "."], stdout=subprocess.PIPE)
        done = subprocess.run(
            ["docker", "import", "-", tag],
            stdin=packing.stdout, capture_output=True, check=False, timeout=300, env=self.environment,
        )  # fmt: skip
        assert packing.wait() == 0 and done.returncode == 0, done.stderr.decode()  # noqa: PT018

    def plug_in(self, folder: Path, *names: str) -> None:
        """Give the command line plugins that lie in a folder."""
        plugins = self.folder / "config/cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        for name in names:
            (plugins / name).symlink_to(folder / name)

    def make_images(self) -> None:
        """Import the images of this module."""
        root = busybox_root()
        for name, changes in _CHANGES.items():
            flags = [flag for change in changes for flag in ("--change", change)]
            self.cli("import", *flags, "-", name, data=root)

    def named(self, label: str = "skrei.node") -> list[dict[str, Any]]:
        """The containers that carry a label, whoever made them."""
        lines = self.cli("ps", "--all", "--no-trunc", "--filter", f"label={label}", "--format", "{{json .}}")
        return [json.loads(line) for line in lines.splitlines()]

    def volumes(self) -> list[str]:
        return self.cli("volume", "ls", "--quiet", "--filter", "label=skrei.node").split()

    def left(self) -> list[str]:
        """All that Skrei left here."""
        return [one["Names"] for one in self.named()] + self.volumes()


@functools.cache
def busybox_root() -> bytes:
    """A root folder with a static busybox under all its names, as tar."""
    buffer = io.BytesIO()
    busybox = Path(str(shutil.which("busybox")))
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700), ("srv", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        tar.add(busybox.resolve(), "bin/busybox")
        for name in names:
            if name != "busybox":
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        for path, text, mode in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644),
            ("srv/plain.txt", "no program\n", 0o644),
            ("srv/broken", "no program either\n", 0o755),
        ):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text), mode
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@contextlib.contextmanager
def running_docker(*flags: str, data: Path | None = None) -> Iterator[DockerDaemon]:
    """Run a dockerd with the images of this module; nothing of it is left afterwards, but what it keeps in `data`."""
    folder = Path(tempfile.mkdtemp(prefix="skd-", dir="/tmp"))  # a socket's path is short
    bridge = _make_bridge()
    daemon = DockerDaemon(folder, bridge, flags=flags, data=data)
    try:
        daemon.start()
        daemon.make_images()
        yield daemon
        for one in daemon.cli("ps", "--all", "--quiet").split():
            daemon.cli("rm", "--force", "--volumes", one)
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.stop()
        if daemon.process is not None:
            daemon.process.kill()
        _end_left_overs(folder)
        _unmount(folder)
        if bridge:
            subprocess.run(["ip", "link", "delete", bridge], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _end_left_overs(folder: Path) -> None:
    """End the containerd of a dockerd that was killed: it is found by its pid file in our folder."""
    for path in folder.glob("exec/containerd/containerd.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.read_text())
            if Path(f"/proc/{pid}/comm").read_text() == "containerd\n":  # it is not somebody else's today
                os.kill(pid, signal.SIGKILL)


def _make_bridge() -> str:
    """A bridge of our own, so that nothing of the machine's network changes; empty where none can be made."""
    name = f"skd{uuid.uuid4().hex[:8]}"  # a worker may run several daemons at once
    taken = subprocess.run(["ip", "-4", "address"], capture_output=True, text=True, check=False).stdout
    number = random.choice([each for each in range(20, 220) if f"10.213.{each}.1/" not in taken])
    commands = (
        ["ip", "link", "add", name, "type", "bridge"],
        ["ip", "address", "add", f"10.213.{number}.1/24", "dev", name],
        ["ip", "link", "set", name, "up"],
    )
    for command in commands:
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)
            sys.stderr.write("no bridge can be made here: containers get no network of their own\n")
            return ""
    return name


def _unmount(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)


# ---------------------------------------------------------------- a registry


@contextlib.contextmanager
def running_registry(folder: Path, port: int, *, login: bool) -> Iterator[str]:
    """Run Debian's docker-registry on loopback; yields `127.0.0.1:port`. With `login` it wants USER and PASSWORD."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of-no-use"},
        "log": {"level": "error"},
    }
    if login:
        (folder / "htpasswd").write_text(HTPASSWD + "\n")
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))  # YAML can be written as JSON
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()  # noqa: PT018
            time.sleep(LOOK_SECONDS)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


@contextlib.contextmanager
def docker_with_ubuntu() -> Iterator[DockerDaemon]:
    """Run a daemon with an image called ubuntu: no registry is asked for what is there. Skips where there is none."""
    if why := why_no_docker():
        pytest.skip(why)
    with running_docker() as daemon:
        daemon.cli("import", "--change", "ENV PATH=/bin", "-", "ubuntu:latest", data=busybox_root())
        yield daemon


def why_no_registry() -> str:
    """Why no registry can be had here; empty when it can."""
    return "" if shutil.which("docker-registry") else "not installed: docker-registry (a Debian package of that name)"
