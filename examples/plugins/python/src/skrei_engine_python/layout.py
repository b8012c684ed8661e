"""Where a script finds its inputs and leaves its outputs: below the folder that it runs in, `/in` as `in`."""

from pathlib import Path

from skrei_plugin_api.engine import Mount, Output


class DoNotFit(Exception):
    """Inputs and outputs that cannot lie side by side, or would lie outside."""


def inside(root: Path, target: str) -> Path:
    """Return the place of a target below `root`. Raises DoNotFit for one that leads out of it, or is it."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise DoNotFit(f"{target!r} is no place below the folder that a script runs in")
    return root.joinpath(*parts)


def lay_out(root: Path, mounts: tuple[Mount, ...], outputs: tuple[Output, ...], results: Path) -> None:
    """Make a folder with links to the inputs, and to the folders in `results` that outputs come from."""
    root.mkdir()
    wanted = [(mount.target, mount.source) for mount in mounts]
    for output in outputs:
        (results / output.name).mkdir(parents=True)
        wanted.append((output.path, results / output.name))
    for target, source in wanted:
        place = inside(root, target)
        above = [folder for folder in place.parents if folder.is_relative_to(root)]
        if any(folder.is_symlink() for folder in above):
            raise DoNotFit(f"{target!r} lies inside of another input or output")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
        except FileExistsError as error:
            raise DoNotFit(f"{target!r} lies where another input or output is") from error
