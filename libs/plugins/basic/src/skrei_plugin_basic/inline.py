"""The `inline` storage: bytes that came with the job, as one file, or unpacked where they are a tar.gz."""

import asyncio
from pathlib import Path

from skrei_domain.job_blobs import decode_data_url, parse_reference
from skrei_domain.job_reading import FieldProblem, show
from skrei_plugin_api.engine import Mount
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginInfo, param
from skrei_plugin_api.storage import BlobReader, SourceSpec, StageFailed, StageLimits, StageProblem, Storage
from skrei_plugin_basic.unpack import unpack_aside

ARCHIVE = "application/gzip"
"""This media type is unpacked; every other one stays a file."""
SMALL_BYTES = 64 * 1024
"""Up to here the same bytes are one file for all executions that bring them, written at once: handing it to a thread
would cost more."""
_ALLOWED = "a data URL such as `data:text/plain;base64,aGVsbG8=`"


class InlineStorage(Storage):
    """Stages data URLs (RFC 2397), and what was cut out of them by digest."""

    plugin_api = PLUGIN_API
    name = "inline"
    version = "0.5.0"

    async def describe(self) -> PluginInfo:
        """Say that it works everywhere."""
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name a `URL` that is none."""
        url = param(params, "URL")
        if not isinstance(url, str):
            return [FieldProblem("URL", show(url), _ALLOWED)]
        if parse_reference(url) is None:
            try:
                decode_data_url(url)
            except ValueError as error:
                return [FieldProblem("URL", show(url), str(error))]
        return []

    async def size(self, source: SourceSpec) -> int | None:
        """Return the payload's size; None for a blob, whose size the reference does not tell."""
        url = param(source.params, "URL")
        return None if parse_reference(url) is not None else len(_payload(url)[1])

    async def stage(self, source: SourceSpec, folder: Path, limits: StageLimits, blobs: BlobReader) -> Mount:
        """Write the file or unpack the archive. Raises StageFailed; SkreiError when a blob cannot be had."""
        url = param(source.params, "URL")
        if not isinstance(url, str):
            raise StageFailed(StageProblem.INVALID, f"the inline input at {source.target} has no URL")
        reference = parse_reference(url)
        if reference is not None:
            digest, media = reference
            path = await blobs.fetch(digest)
            if not _is_archive(media):
                return Mount(path, source.target)  # shared with others, read-only
        else:
            media, data = _payload(url)
            if len(data) > limits.max_bytes:
                raise StageFailed(
                    StageProblem.TOO_LARGE,
                    f"the inline input at {source.target} has {len(data)} bytes; this node takes {limits.max_bytes}",
                )
            if len(data) <= SMALL_BYTES:
                path = blobs.keep(data)
            else:
                path = await asyncio.to_thread(_write, folder, data)
            if not _is_archive(media):
                return Mount(path, source.target)
        unpacked = folder / "unpacked"
        await unpack_aside(path, unpacked, limits)
        return Mount(unpacked, source.target)


def _write(folder: Path, data: bytes) -> Path:
    folder.mkdir()
    path = folder / "data"
    path.write_bytes(data)
    return path


def _payload(url: str) -> tuple[str, bytes]:
    try:
        return decode_data_url(url)
    except ValueError as error:
        raise StageFailed(StageProblem.INVALID, f"the inline input's URL is not {error}") from error


def _is_archive(media: str) -> bool:
    return media.partition(";")[0].strip().lower() == ARCHIVE
