"""Files carried inside a spec: data URLs, the same bytes every time for the same content."""

import base64
import gzip
import io
import mimetypes
import tarfile
from pathlib import Path

from skrei.errors import Rejected

MOST_INLINE_BYTES = 7 * 1024 * 1024
"""Bytes of one inline file: in base64 it and the rest of its spec stay below the API's 10 MB."""
MOST_FILES = 1000
"""Files of one inline directory: more belongs into a local directory or an object store."""


def data_url(path: Path) -> str:
    """Return `path` as a data URL: a file by its type, a directory as a deterministic tar.gz."""
    try:
        if path.is_dir():
            media, content = "application/gzip", _pack(path)
        else:
            media, content = media_type(path), _read(path)
    except OSError as error:
        raise Rejected(f"{path} cannot be read: {error.strerror}.", hint="Inline files are read here.") from error
    if len(content) > MOST_INLINE_BYTES:
        raise Rejected(
            f"{path} has {len(content)} bytes; an inline file has at most {MOST_INLINE_BYTES}.",
            hint="Use a local input, or put it where the nodes can fetch it.",
        )
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def media_type(path: Path) -> str:
    """Return the media type by the file's name; a name that tells nothing is plain bytes.

    An archive is told apart from `application/gzip`, which would be unpacked where it arrives.
    """
    if path.suffix == ".wasm":
        return "application/wasm"
    if path.name.endswith((".tar.gz", ".tgz")):
        return "application/gzip"
    guessed, encoding = mimetypes.guess_type(path.name)
    return guessed if guessed and not encoding else "application/octet-stream"


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MOST_INLINE_BYTES + 1)


def _pack(folder: Path) -> bytes:
    """Return the folder as tar.gz: sorted, directories first, without times or owners; links are refused."""
    found = sorted(folder.rglob("*"))
    if len(found) > MOST_FILES:
        raise Rejected(f"{folder} has {len(found)} files; an inline directory has at most {MOST_FILES}.")
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        total = 0
        for path in found:
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise Rejected(f"{path} is neither a file nor a directory.", hint="Links are not carried inline.")
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
                continue
            content = _read(path)
            total += len(content)
            if total > 4 * MOST_INLINE_BYTES:
                raise Rejected(f"{folder} is too large to be carried inline.", hint="Use a local input.")
            entry.size, entry.mode = len(content), 0o755 if path.stat().st_mode & 0o100 else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
