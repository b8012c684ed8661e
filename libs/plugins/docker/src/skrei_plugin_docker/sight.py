"""Which of this node's files the daemon sees, and by which path: found out, never assumed.

An agent in a container shares with the daemon only what is mounted into it, at another path than the daemon knows.
A daemon in a virtual machine or on another host sees nothing of it. So the agent looks for its own container, maps
paths through that container's mounts, and then shows by a file of its own that the daemon really reads the same.
"""

import asyncio
import posixpath
import re
import secrets
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from skrei_plugin_docker.create import EXECUTION, NODE, ROLE, Place, Role, unstarted_body
from skrei_plugin_docker.daemon import Daemon
from skrei_plugin_docker.failures import Refusal

_OWN_ID = re.compile(r"(?:/containers/|/docker[-/])([0-9a-f]{64})")
_CANARY = "/skrei-canary"
MOST_PROBE_BYTES = 1024 * 1024
"""The answer about a file of 32 bytes is a few KiB."""

Mounts = Sequence[tuple[str, str]]
"""(path here, path of the daemon's machine)."""


def own_container(mountinfo: str, cgroup: str) -> str:
    """Return the id of the container that a process with these /proc files is in; empty without a sign of one."""
    found = _OWN_ID.search(mountinfo) or _OWN_ID.search(cgroup)
    return found[1] if found else ""


def translate(path: str, mounts: Mounts) -> str | None:
    """Return what the daemon calls `path`, through the deepest mount that it lies below; None below none."""
    best: tuple[str, str] | None = None
    for here, there in mounts:
        below = path == here or path.startswith(f"{here.rstrip('/')}/")
        if below and (best is None or len(here) > len(best[0])):
            best = (here, there)
    if best is None:
        return None
    rest = path[len(best[0].rstrip("/")) :].lstrip("/")
    return posixpath.join(best[1], rest) if rest else best[1]


class Sight:
    """Answers for one engine; looks once, when the first image is here to look with."""

    def __init__(self, daemon: Daemon, state_dir: Path, node: str) -> None:
        self._daemon = daemon
        self._state_dir = state_dir
        self._node = node
        self._mounts: Mounts | None = None
        self._looking = asyncio.Lock()
        self.probing = ""
        """What stands for an execution in the labels of the probe that is in use."""

    async def host_path(self, path: Path, image: str) -> str | None:
        """Return the path by which the daemon sees `path`, or None. `image` is any that is here."""
        async with self._looking:
            if self._mounts is None:
                self._mounts = await self._look(image)
        return await asyncio.to_thread(lambda: translate(str(path.resolve()), self._mounts or ()))

    async def _look(self, image: str) -> Mounts:
        mounts = await self._own_mounts()
        token = secrets.token_hex(16)
        canary = self._state_dir / "canary" / token
        await asyncio.to_thread(_write, canary, token)
        try:
            there = translate(str(canary.parent.resolve()), mounts)
            return mounts if there is not None and await self._reads(there, token, image) else ()
        finally:
            canary.unlink()

    async def _own_mounts(self) -> Mounts:
        container = own_container(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
        found = await self._daemon.inspect(container) if container else None
        if found is None:  # in no container, or in one of another daemon
            return (("/", "/"),)
        return tuple((str(mount["Destination"]), str(mount["Source"])) for mount in found.get("Mounts") or ())

    async def _reads(self, folder: str, token: str, image: str) -> bool:
        """Whether a container that has `folder` mounted finds our file in it."""
        self.probing = f"probe-{token}"
        marks = {NODE: self._node, EXECUTION: self.probing, ROLE: Role.PROBE.value}
        body = unstarted_body(image, [Place(_CANARY, folder, bind=True, writable=False)], marks)
        try:
            probe = await self._daemon.create(body, f"skrei-{self.probing}")
        except Refusal as refusal:
            if refusal.image_missing:
                raise
            return False
        try:
            packed = b"".join([chunk async for chunk in self._daemon.get_archive(probe, f"{_CANARY}/{token}")])
            return _first_file(packed[:MOST_PROBE_BYTES]) == token.encode()
        except Refusal:
            return False
        finally:
            await self._daemon.remove(probe)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:  # no such thing on this system
        return ""


def _first_file(packed: bytes) -> bytes:
    with tarfile.open(fileobj=BytesIO(packed)) as tar:
        for member in tar:
            file: Any = tar.extractfile(member)
            if file is not None:
                return bytes(file.read())
    return b""
