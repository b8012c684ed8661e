"""Where the modules of a run lie: what a program sees at a path, as a file of this machine."""

from pathlib import Path

from skrei_plugin_wasm.endings import Failed
from skrei_plugin_wasm.layout import File, guest_path


def locate(files: list[File], target: str) -> Path | None:
    """Return where what a program sees at `target` would lie, in the deepest input above it; None below none."""
    wanted = guest_path(target)
    best: tuple[str, str] | None = None
    for file in files:
        at = guest_path(file.target)
        above = at == wanted or wanted.startswith(f"{at.rstrip('/')}/")
        if above and (best is None or len(at) > len(best[0])):
            best = (at, file.source)
    if best is None:
        return None
    rest = wanted[len(best[0].rstrip("/")) :].lstrip("/")
    return Path(best[1], rest) if rest else Path(best[1])


def read(files: list[File], target: str, what: str) -> bytes:
    """Return the module at `target`: a file, or a folder's only one. Raises Failed; `what` names who asks."""
    path = locate(files, target)
    if path is None:
        told = ", ".join(guest_path(file.target) for file in files) or "none"
        raise Failed("module-invalid", f"{what} '{target}' is at no input's target; inputs: {told}")
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if one.suffix == ".wasm" and one.is_file())
        if len(found) != 1:
            raise Failed(
                "module-invalid", f"{what} '{target}' is a folder with {len(found)} files `*.wasm`; name one of them"
            )
        path = found[0]
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Failed("module-invalid", f"{what} '{target}' is no file in its input") from error
