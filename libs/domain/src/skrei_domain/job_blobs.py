"""Inline data of a spec: large pieces are cut out by digest, and put back for whoever reads the job.

`data:application/wasm;base64,…` becomes `blob:sha256:<hex>;mime=application/wasm` when the payload is over
`INLINE_BYTES`; the bytes are kept once, whoever sent them.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from skrei_domain.spec import InputSource, JobSpec

INLINE_BYTES = 4 * 1024
"""Up to here the bytes are cheaper carried with the run order than fetched by themselves."""

PREFIX = "blob:"
_MIME = ";mime="


class Blob(NamedTuple):
    """Bytes under their digest, `sha256:<hex>`."""

    digest: str
    data: bytes


def decode_data_url(url: str) -> tuple[str, bytes]:
    """Return media type and payload of a data URL (RFC 2397). Raises ValueError with what is allowed."""
    head, comma, body = url.partition(",")
    if head[:5].lower() != "data:" or not comma:
        raise ValueError("a data URL such as `data:text/plain;base64,aGVsbG8=`")
    media = head[5:]
    if not media.lower().endswith(";base64"):
        return media, unquote_to_bytes(body)
    if "%" in body:
        body = unquote_to_bytes(body).decode("latin-1")
    try:
        return media[:-7], base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("base64 with its padding after the comma of the data URL") from None


def cut_blobs(spec: JobSpec) -> tuple[JobSpec, tuple[Blob, ...]]:
    """Return `spec` with its large inline data replaced by digests, and the data. Small specs come back as they are."""
    blobs: dict[str, Blob] = {}

    def cut(url: str) -> str:
        if len(url) <= INLINE_BYTES:  # percent or base64 encoding only ever shrinks when decoded
            return url
        media, data = decode_data_url(url)
        if len(data) <= INLINE_BYTES:
            return url
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        blobs[digest] = Blob(digest, data)
        return f"{PREFIX}{digest}{_MIME}{media}"

    changed = _map_inline(spec, cut)
    return changed, tuple(blobs.values())


def restore_blobs(spec: JobSpec, blobs: Mapping[str, bytes]) -> JobSpec:
    """Return `spec` as it was sent; a blob that is not among `blobs` stays a reference."""

    def put_back(url: str) -> str:
        reference = parse_reference(url)
        if reference is None or reference[0] not in blobs:
            return url
        digest, media = reference
        return f"data:{media};base64," + base64.b64encode(blobs[digest]).decode()

    return _map_inline(spec, put_back)


def references(spec: JobSpec) -> Iterator[str]:
    """Yield the digest of every blob that `spec` refers to."""
    for task in spec.tasks:
        for item in task.input_sources:
            reference = parse_reference(item.source.param("URL"))
            if _is_inline(item) and reference is not None:
                yield reference[0]


def parse_reference(url: object) -> tuple[str, str] | None:
    """Return digest (`sha256:<hex>`) and media type of a blob reference, or None for any other text."""
    if not isinstance(url, str) or not url.startswith(PREFIX):
        return None
    digest, _, media = url[len(PREFIX) :].partition(_MIME)
    return digest, media


def _is_inline(item: InputSource) -> bool:
    return item.source.type.lower() == "inline"


def _map_inline(spec: JobSpec, change: Callable[[str], str]) -> JobSpec:
    """Return `spec` with `change` applied to the URL of every inline source; the same object when nothing moved."""
    moved = False
    tasks = []
    for task in spec.tasks:
        inputs = []
        for item in task.input_sources:
            fresh = item
            if _is_inline(item):
                params = {
                    key: change(value) if key.lower() == "url" and isinstance(value, str) else value
                    for key, value in item.source.params.items()
                }
                if params != item.source.params:
                    source = item.source.model_copy(update={"params": params})
                    fresh, moved = item.model_copy(update={"source": source}), True
            inputs.append(fresh)
        tasks.append(task.model_copy(update={"input_sources": tuple(inputs)}))
    return spec.model_copy(update={"tasks": tuple(tasks)}) if moved else spec
