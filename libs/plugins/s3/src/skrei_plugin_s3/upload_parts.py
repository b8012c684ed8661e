"""The parts of one upload to S3: which have come, addresses for those that have not, and what of it a receipt keeps."""

import json
from typing import TYPE_CHECKING

from skrei_domain.uploads import Parcel, UploadRequest
from skrei_plugin_api.publisher import Published, StagedGone
from skrei_plugin_s3.targets import Target
from skrei_plugin_s3.upload_notes import Note

if TYPE_CHECKING:
    from skrei_plugin_s3.objects import Objects, Stored

ADDRESS_SECONDS = 3_600
"""How long an address is good for one part, which a slow link may need; an expired one is another in the next plan."""


async def came_of(objects: "Objects", note: Note) -> set[int] | None:
    """Return which parts have come as they were announced; None where the upload is gone."""
    from skrei_plugin_s3.objects import UploadGone

    try:
        parts = await objects.parts(note.target.key, note.upload)
    except UploadGone:
        return None
    return {
        part.number
        for part in parts
        if 1 <= part.number <= note.parts
        and part.size == note.span(part.number)[1]
        and part.checksum in ("", note.pieces[part.number - 1])
    }


async def request_for(objects: "Objects", note: Note, number: int) -> UploadRequest:
    """Return the request of one part, which takes no other bytes than those that were announced."""
    from skrei_plugin_s3.objects import checksum_header

    first, size = note.span(number)
    checksum = note.pieces[number - 1]
    url = await objects.part_address(note.target.key, note.upload, number, checksum, ADDRESS_SECONDS)
    return UploadRequest(url=url, headers=checksum_header(checksum), first=first, size=size)


def place_in(note: Note) -> str:
    """Return all that completing an upload needs."""
    target = note.target
    told = [target.bucket, target.key, target.region, target.endpoint, note.upload, note.part_bytes]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def placed(parcel: Parcel, place: str) -> Note:
    """Return the upload that a place names. Raises StagedGone for what is no place in S3."""
    try:
        bucket, key, region, endpoint, upload, size = json.loads(place)
    except ValueError as error:
        raise StagedGone(f"{place!r} is no place in S3", execution_id=parcel.execution_id) from error
    target = Target(bucket, key, region, endpoint)
    return Note(parcel.execution_id, parcel.digest, parcel.size, size, target, upload, ())


def published(target: Target, stored: "Stored") -> Published:
    """Return what clients are told of an object."""
    told = {"Bucket": target.bucket, "Key": target.key} | place_of(target)
    if stored.checksum:
        told["ChecksumSHA256"] = stored.checksum
    if stored.version:
        told["VersionID"] = stored.version
    return Published(told)


def place_of(target: Target) -> dict[str, str]:
    """Return where a bucket is."""
    return {"Region": target.region, "Endpoint": target.endpoint}
