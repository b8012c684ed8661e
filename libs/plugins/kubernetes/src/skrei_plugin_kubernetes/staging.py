"""Files into a pod and out of it: through commands in its helpers, as tar streams, never a whole one in memory."""

import asyncio
import tarfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from skrei_plugin_api import tar_streams
from skrei_plugin_api.aside import over
from skrei_plugin_api.engine import RunRequest
from skrei_plugin_api.removing import remove
from skrei_plugin_kubernetes.cluster import Cluster
from skrei_plugin_kubernetes.command import Command
from skrei_plugin_kubernetes.pod import FILES_IN, FILES_OUT, KEEP, OURS, RUNNER, STAGE, STAGED

HERE = Path(__file__).parent
MACHINES = ("x86_64", "aarch64")
"""What the runner is built for; a cluster may have both kinds of nodes."""

# Nobody may read our runner: a process of such a file cannot be traced, also before it has closed its network.
_WELCOME = (
    f"umask 0; cd {OURS} && uname -m && read -r size && head -c $size > run "
    f'&& : > stdout && : > stderr && [ "$(wc -c < run)" -eq "$size" ] && chmod 111 run'
)
_TAKE = f"umask 0; {RUNNER} whole | tar -x -f - -C / && : > {STAGED}.new"
_DONE = f"mv {STAGED}.new {STAGED}"


class StagingFailed(Exception):
    """What was to come into a pod did not, in the pod's words."""


async def stage(cluster: Cluster, pod: str, request: RunRequest, sent: Sequence[tuple[str, Path]]) -> None:
    """Bring our runner and the inputs into a pod whose first container waits for them, and let the program begin.

    Raises StagingFailed, ClusterAway, Refused.
    """
    async with cluster.command(pod, STAGE, ("sh", "-c", _WELCOME), speaks=True) as command:
        machine = (await command.first()).decode("ascii", "replace").strip()
        if machine not in MACHINES:
            raise StagingFailed(f"its pod is on a machine of the kind {machine!r}; known are {', '.join(MACHINES)}")
        runner = await asyncio.to_thread((HERE / f"runner-{machine}").read_bytes)
        await command.tell(b"%d\n" % len(runner))
        await command.tell(runner)
        await _succeeds(command)
    async with cluster.command(pod, STAGE, ("sh", "-c", _TAKE), speaks=True) as command:
        await _send(command, tar_streams.packed(files(sent, [str(n) for n in range(len(request.outputs))])))
    async with cluster.command(pod, STAGE, ("sh", "-c", _DONE)) as command:
        await _succeeds(command)


def files(sent: Sequence[tuple[str, Path]], outputs: Sequence[str]) -> Callable[[tarfile.TarFile], None]:
    """Write the inputs under their numbers, readable by every user, and a folder that all may write in per output."""

    def readable(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
            return None
        entry.mode |= 0o555 if entry.isdir() else 0o444
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    def write(tar: tarfile.TarFile) -> None:
        for name in outputs:
            entry = tarfile.TarInfo(f"{FILES_OUT.lstrip('/')}/{name}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
        for name, source in sent:
            tar.add(source.resolve(), arcname=f"{FILES_IN.lstrip('/')}/{name}", filter=readable)

    return write


async def collect(cluster: Cluster, pod: str, request: RunRequest) -> None:
    """Copy the outputs out of a pod into the run's folder.

    Raises OutputTooLarge, ArchiveBroken, ClusterAway, Refused.
    """
    for number, output in enumerate(request.outputs):
        into = request.workdir / "outputs" / output.name
        await asyncio.to_thread(_empty, into)  # of what an agent had copied before it was killed
        words = ("tar", "-c", "-f", "-", "-C", f"{FILES_OUT}/{number}", ".")
        async with cluster.command(pod, KEEP, words) as command:
            told = bytearray()
            await tar_streams.unpack(_archive(command, told), into, request.max_output_bytes)
            if command.code:
                said = told.decode("utf-8", "replace").strip() or command.problem
                raise tar_streams.ArchiveBroken(f"the result path {output.path} cannot be read whole: {said}")


async def _archive(command: Command, told: bytearray) -> AsyncIterator[bytes]:
    async for stream, data in command.frames():
        if stream == 1:
            yield data
        else:
            told += data[: 2048 - len(told)]


async def _send(command: Command, pieces: AsyncIterator[bytes]) -> None:
    """Send an archive, and hear meanwhile what becomes of it: who takes no more is not sent more."""
    hearing = asyncio.ensure_future(_succeeds(command))
    sending = asyncio.ensure_future(command.tell_whole(pieces))
    try:
        await asyncio.wait({hearing, sending}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        await hearing
    finally:
        for task in (sending, hearing):
            task.cancel()
            await over(task)


async def _succeeds(command: Command) -> None:
    """Return when it has ended well. Raises StagingFailed with its words, and Broken."""
    out, err = await command.said(2048)
    if command.code:
        said = " ".join((err or out).decode("utf-8", "replace").split()) or command.problem
        raise StagingFailed(f"its files cannot be brought into its pod: {said}")


def _empty(folder: Path) -> None:
    remove(folder)
    folder.mkdir(parents=True)
