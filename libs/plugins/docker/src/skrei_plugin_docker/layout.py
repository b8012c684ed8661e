"""Where inputs and outputs of a run lie: bound where the daemon sees them, else copied into volumes and back."""

import asyncio
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skrei_plugin_api import tar_streams as archive
from skrei_plugin_api.engine import EngineFailure, FailureCode, Mount, Output, RunRequest
from skrei_plugin_api.removing import remove
from skrei_plugin_docker.create import Place, Role, container_name, guest_path, labels, unstarted_body, volume_name
from skrei_plugin_docker.daemon import Daemon
from skrei_plugin_docker.failures import Refusal
from skrei_plugin_docker.settings import Staging
from skrei_plugin_docker.sight import Sight


class LayoutFailed(Exception):
    """Inputs or outputs that cannot be laid out; carries the failure."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.failure = EngineFailure(FailureCode.INPUT_INVALID, message)


@dataclass(frozen=True, slots=True)
class Layout:
    """What is mounted, and what is copied: folders into `volumes`, files into the container, `outputs` back."""

    places: tuple[Place, ...] = ()
    folders: tuple[tuple[Place, Path], ...] = ()
    files: tuple[tuple[str, Path], ...] = ()
    outputs: tuple[Place, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing has to be copied before the start."""
        return not (self.folders or self.files or self.outputs)


async def lay_out(request: RunRequest, image: str, sight: Sight, staging: Staging) -> Layout:
    """Return where everything lies. Raises LayoutFailed, and Refusal while the image is not here."""
    _make_outputs(request)
    places: list[Place] = []
    folders: list[tuple[Place, Path]] = []
    files: list[tuple[str, Path]] = []
    copied: list[Place] = []
    for one in request.mounts:
        target = guest_path(one.target)
        bound = None if staging is Staging.VOLUME else await sight.host_path(one.source, image)
        if bound is not None:
            places.append(Place(target, bound, bind=True, writable=one.read_write))
        elif one.read_write:
            raise LayoutFailed(_not_in_place(one))
        elif one.source.is_dir():
            place = Place(target, volume_name(request, len(places)), bind=False, writable=False)
            places.append(place)
            folders.append((place, one.source))
        else:
            files.append((target, one.source))
    for output in request.outputs:
        path = _output(request, output)
        ours = os.geteuid() == 0 or staging is Staging.BIND  # else root's files would be left that we cannot remove
        bound = await sight.host_path(path, image) if ours and staging is not Staging.VOLUME else None
        source = bound or volume_name(request, len(places))
        place = Place(guest_path(output.path), source, bind=bound is not None, writable=True)
        places.append(place)
        if bound is None:
            copied.append(place)
    return Layout(tuple(places), tuple(folders), tuple(files), tuple(copied))


async def make_volumes(daemon: Daemon, request: RunRequest, image: str, layout: Layout, node: str) -> None:
    """Make the volumes of a run, and copy the input folders into theirs."""
    volumes = [place for place in layout.places if not place.bind]
    for place in volumes:
        await daemon.make_volume(place.source, labels(node, request))
    if not layout.folders:
        return
    # A door of its own: in the run's container these volumes are read-only, for us as well.
    doors = [Place(place.target, place.source, bind=False, writable=True) for place, _ in layout.folders]
    body = unstarted_body(image, doors, labels(node, request, Role.STAGE))
    door = await daemon.create(body, container_name(request, Role.STAGE))
    try:
        for place, source in layout.folders:
            await daemon.put_archive(door, place.target, archive.packed(archive.folder(source)))
    finally:
        await daemon.remove(door)


async def fill(daemon: Daemon, container: str, layout: Layout) -> None:
    """Copy the input files into the container, and let every user of the image write into the output volumes."""
    for target, source in layout.files:
        await daemon.put_archive(container, "/", archive.packed(archive.file(source, target.lstrip("/"))))
    for place in layout.outputs:
        above, name = posixpath.split(place.target)
        await daemon.put_archive(container, above, archive.packed(archive.open_folder(name)))


async def collect(daemon: Daemon, container: str, request: RunRequest, mounted: Sequence[str]) -> None:
    """Copy those outputs back that lie in volumes (`mounted` are their places in the container).

    Raises OutputTooLarge.
    """
    for output in request.outputs:
        target = guest_path(output.path)
        if target in mounted:
            into = _output(request, output)
            await asyncio.to_thread(_empty, into)  # of what an agent had copied before it was killed
            try:
                await archive.unpack(daemon.get_archive(container, f"{target}/."), into, request.max_output_bytes)
            except Refusal as refusal:
                if refusal.status != 404:
                    raise


def _make_outputs(request: RunRequest) -> None:
    for output in request.outputs:
        folder = _output(request, output)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # whoever the image's user is; above it only this node's user passes


def _output(request: RunRequest, output: Output) -> Path:
    return request.workdir / "outputs" / output.name


def _empty(folder: Path) -> None:
    remove(folder)
    folder.mkdir(parents=True)


def _not_in_place(one: Mount) -> str:
    return (
        f"the input {one.target} is to be written in place, but the Docker daemon does not see this node's files: "
        "mount the folder into the agent's container, or take the result from a ResultPath"
    )
