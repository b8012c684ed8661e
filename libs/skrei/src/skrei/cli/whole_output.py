"""What an ended execution said, to its last byte: from what its last fact carried, else from its stored result."""

import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from http.client import HTTPException

from skrei import calls
from skrei.cli.ask import Ask
from skrei.cli.doors import opened
from skrei.cli.screen import REPLACED, Told
from skrei.errors import Conflict, DownloadFailed
from skrei.views import Execution

MEMBERS = {"stdout": 1, "stderr": 2}
CHUNK_BYTES = 256 * 1024
IN_MEMORY_BYTES = 8 * 1024 * 1024
"""Of an archive; a larger one lies in a temporary file while it is read."""
VERIFIED_BYTES = 8 * 1024 * 1024
"""An archive of at most so many bytes is read again even where everything came live; a larger one is not."""
SILENCE_SECONDS = 30.0
"""Between two pieces of a download."""


def needs_result(execution: Execution) -> bool:
    """Return whether only the result has all of the output, as it was."""
    return execution.truncated or REPLACED in execution.stdout + execution.stderr


def show_rest(ask: Ask, execution: Execution, told: Told, addresses: Mapping[str, str]) -> None:
    """Show what was not shown yet. `addresses` are those of the results, by execution. Raises DownloadFailed."""
    if needs_result(execution) and execution.id in addresses:
        limit = VERIFIED_BYTES if told.complete else None
        for stream, start, data in _stored(ask.endpoint, addresses[execution.id], limit):
            told.rest(stream, start, data)
    else:
        for stream, text in ((1, execution.stdout), (2, execution.stderr)):
            if not needs_result(execution) or not told.shown[stream]:
                told.rest(stream, 0, text.encode())
    told.end()


def addresses(ask: Ask, job_id: str) -> dict[str, str]:
    """Return where the stored result of each execution is, as far as the API has one to give."""
    try:
        found = ask.send(calls.results(job_id)).items
    except Conflict:
        return {}  # a service has none
    # Of one whose paths went to several places the streams are in the part that no path has.
    return {result.execution_id: result.url for result in found if result.url and not result.paths}


def _stored(endpoint: str, address: str, limit_bytes: int | None) -> Iterator[tuple[int, int, bytes]]:
    """Yield (stream, start, bytes) of the output in the archive at `address`; nothing of one over the limit."""
    try:
        with (
            opened(endpoint, address, silence_seconds=SILENCE_SECONDS) as response,
            tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as kept,
        ):
            if limit_bytes is not None and (response.length or 0) > limit_bytes:
                return
            while data := response.read(CHUNK_BYTES):
                kept.write(data)
            kept.seek(0)
            with tarfile.open(fileobj=kept, mode="r|gz") as archive:
                yield from _members(archive)
    except (OSError, HTTPException, tarfile.TarError, EOFError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise DownloadFailed(
            f"The rest of the output could not be fetched: {error}.", hint="`skrei logs` and `skrei get` try again."
        ) from error


def _members(archive: tarfile.TarFile) -> Iterator[tuple[int, int, bytes]]:
    left = set(MEMBERS)
    for member in archive:
        name = member.name.removeprefix("./")
        file = archive.extractfile(member) if name in left and member.isfile() else None
        if file is None:
            continue
        start = 0
        while data := file.read(CHUNK_BYTES):
            yield MEMBERS[name], start, data
            start += len(data)
        left.discard(name)
        if not left:
            return
