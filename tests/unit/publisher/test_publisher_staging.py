"""Uploads survive their publisher, keep within their limits, and leave nothing behind."""

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_plugin_api import upload_staging as module
from skrei_plugin_api.lane import inline
from skrei_plugin_api.publisher import DigestDiffers, StoreFull, TooManyUploads, UploadIncomplete
from skrei_plugin_api.running_digest import RunningDigest
from skrei_plugin_api.shares import Share
from skrei_plugin_api.testing import parcel
from skrei_plugin_api.upload_folder import PART_BYTES, begin_upload
from skrei_plugin_api.upload_staging import Staging, StagingLimits
from skrei_plugin_api.writing import PIECES_AT_ONCE
from skrei_publisher.store import ResultStore

LIMITS = StagingLimits(100 * PART_BYTES, 2, open_seconds=100.0, staged_seconds=1000.0, node_share_percent=100)
CONTENT = bytes(range(256)) * (PART_BYTES // 256) + b"and a short last part"


class Place:
    """A store that may be opened again, as after a kill."""

    def __init__(self, root: Path) -> None:
        self.now = 0.0
        self.root = root
        self.limits = LIMITS
        self.store = ResultStore(root)
        self.store.open()
        self.again()

    def again(self) -> None:
        self.staging = Staging(self.root, self.limits, used_bytes=lambda: self.store.used_bytes, now=lambda: self.now)
        self.staging.open()

    def send(self, content: bytes, *numbers: int, name: str = "e-1", node: str = "n-1") -> None:
        upload = self.staging.begin(parcel(content, name), node)
        assert upload is not None
        for number in numbers or range(upload.parts):
            first, size = upload.span(number)
            with upload.writing() as file:
                upload.put(file, first, [content[first : first + size]])
            self.staging.note(upload, number)
            upload.hash_on()

    def finalise(self, name: str = "e-1") -> None:
        content = self.staging.content(parcel(CONTENT, name))
        assert content is not None
        self.store.adopt(name, parcel(CONTENT).digest, content)
        self.staging.release(name)

    def files(self) -> set[str]:
        names = {str(each.relative_to(self.root)) for each in self.root.rglob("*") if each.is_file()}
        return {name for name in names if name != "lock" and not name.startswith("small.db")}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


def test_a_killed_publisher_knows_which_parts_had_come(place: Place) -> None:
    place.send(CONTENT, 1)
    place.again()
    assert place.staging.begin(parcel(CONTENT)).missing() == [0]  # type: ignore[union-attr]
    place.send(CONTENT, 0)
    place.staging.stage(parcel(CONTENT))
    place.again()
    assert place.staging.begin(parcel(CONTENT)) is None
    place.finalise()
    assert place.store.path("e-1").read_bytes() == CONTENT
    assert place.files() == {str(place.store.path("e-1").relative_to(place.root))}
    assert place.store.used_bytes == len(CONTENT)


def test_a_note_that_was_torn_is_a_part_that_has_not_come(place: Place) -> None:
    place.send(CONTENT)
    notes = place.root / "uploads" / "e-1" / "parts"
    notes.write_bytes(notes.read_bytes()[:-1])
    place.again()
    assert place.staging.begin(parcel(CONTENT)).missing() == [1]  # type: ignore[union-attr]


def test_what_a_power_cut_took_of_a_part_is_found_by_its_digest_and_everything_begins_anew(place: Place) -> None:
    place.send(CONTENT)
    with (place.root / "uploads" / "e-1" / "content").open("r+b") as file:
        file.write(bytes(4096))
    place.again()
    with pytest.raises(DigestDiffers, match="not what was announced"):
        place.staging.stage(parcel(CONTENT))
    assert place.files() == set()


def test_what_cannot_be_read_back_begins_anew(place: Place) -> None:
    place.send(CONTENT)
    upload = place.staging.find("e-1")
    upload.digesting = RunningDigest()
    upload.digesting.read(place.root, 1, inline)
    with pytest.raises(UploadIncomplete, match=r"cannot be read back: .*directory"):
        place.staging.stage(parcel(CONTENT))
    assert place.staging.begin(parcel(CONTENT)).missing() == [0, 1]  # type: ignore[union-attr]


def test_what_could_not_be_synced_begins_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    place.send(CONTENT)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            place.staging.stage(parcel(CONTENT))
    assert place.staging.begin(parcel(CONTENT)).missing() == [0, 1]  # type: ignore[union-attr]


def test_what_cannot_be_read_after_a_crash_goes(place: Place) -> None:
    place.send(CONTENT, 0)
    (place.root / "uploads" / "e-1" / "parcel.json").write_text("{")
    (place.root / "staged" / "e-2").mkdir()
    place.again()
    assert place.files() == set()
    assert list((place.root / "staged").iterdir()) == []


def test_what_uploads_announce_counts_against_the_quota_at_once(place: Place) -> None:
    place.limits = replace(LIMITS, quota_bytes=len(CONTENT) * 2 - 1)
    place.again()
    place.send(CONTENT, 0)
    with pytest.raises(StoreFull, match="full") as error:
        place.staging.begin(parcel(CONTENT, "e-2"))
    assert "SKREI_QUOTA_BYTES" in error.value.hint
    assert not (place.root / "uploads" / "e-2").exists()
    place.staging.abort("e-1")
    assert place.staging.begin(parcel(CONTENT, "e-2")) is not None


def test_a_disk_without_room_refuses_before_the_first_byte(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE_BYTES", 1 << 60)
    with pytest.raises(StoreFull, match="disk"):
        place.staging.begin(parcel(CONTENT))
    assert place.files() == set()


def test_only_so_many_uploads_are_open(place: Place) -> None:
    for name in ("e-1", "e-2"):
        place.send(CONTENT, 0, name=name)
    with pytest.raises(TooManyUploads, match="2 uploads"):
        place.staging.begin(parcel(CONTENT, "e-3"))
    assert place.staging.begin(parcel(CONTENT, "e-1")) is not None


def test_a_node_that_announces_all_that_it_can_leaves_the_next_one_half(place: Place) -> None:
    place.limits = replace(LIMITS, quota_bytes=8 * len(CONTENT), uploads=100, node_share_percent=50)
    place.again()
    for number in range(4):
        place.send(CONTENT, 0, name=f"e-{number}")
    with pytest.raises(StoreFull, match=r"keeps room for other nodes.* node n-1") as error:
        place.staging.begin(parcel(CONTENT, "e-4"), "n-1")
    assert "SKREI_NODE_SHARE_PERCENT" in error.value.hint
    place.again()
    with pytest.raises(StoreFull, match="node n-1"):
        place.staging.begin(parcel(CONTENT, "e-4"), "n-1")
    place.send(CONTENT, name="e-5", node="n-2")
    place.send(CONTENT, name="e-6", node="n-2")
    place.staging.stage(parcel(CONTENT, "e-6"))
    with pytest.raises(StoreFull, match="node n-2"):
        place.staging.begin(parcel(CONTENT, "e-7"), "n-2")
    place.finalise("e-6")
    place.staging.abort("e-0")
    assert place.staging.begin(parcel(CONTENT, "e-7"), "n-2") is not None, "what is final is nobody's any more"


def test_a_node_has_half_of_the_uploads_that_the_others_leave_and_one_at_least(place: Place) -> None:
    place.limits = replace(LIMITS, uploads=4, node_share_percent=50)
    place.again()
    for number in range(2):
        place.send(CONTENT, 0, name=f"e-{number}")
    with pytest.raises(TooManyUploads, match="2 uploads of node n-1"):
        place.staging.begin(parcel(CONTENT, "e-2"), "n-1")
    place.send(CONTENT, 0, name="e-3", node="n-2")
    with pytest.raises(TooManyUploads, match="1 uploads of node n-2"):
        place.staging.begin(parcel(CONTENT, "e-4"), "n-2")
    place.send(CONTENT, 0, name="e-5", node="n-3")
    with pytest.raises(TooManyUploads, match="4 uploads are under way"):
        place.staging.begin(parcel(CONTENT, "e-6"), "n-4")


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 99), st.integers(0, 2_000))
def test_whatever_nodes_take_there_is_room_for_the_next(asked: list[int], percent: int, total: int) -> None:
    share, held = Share(total, percent), 0
    for more in asked:  # by a node each
        held += min(more, share.most(others=held))
    assert held <= total
    assert share.most(others=held) >= 1 or total - held <= 100 / percent, "until not even a percent of a byte is left"


def test_uploads_that_nobody_goes_on_with_are_dropped_and_so_are_staged_ones_that_nobody_wants(place: Place) -> None:
    import os
    import time

    place.now = time.time()
    place.send(CONTENT, 0)
    place.send(CONTENT, name="e-2")
    place.staging.stage(parcel(CONTENT, "e-2"))
    assert place.staging.tidy() == []
    place.now += 200
    assert place.staging.tidy() == ["e-1"]
    os.utime(place.root / "staged" / "e-2", (0, 0))
    assert place.staging.tidy() == ["e-2"]
    assert place.files() == set()
    assert place.staging.content(parcel(CONTENT, "e-2")) is None


def test_pieces_that_the_system_writes_in_part_are_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev

    def some(file: int, buffers: list[memoryview], first: int) -> int:
        assert len(buffers) <= PIECES_AT_ONCE
        return real(file, [bytes(buffers[0][: max(1, len(buffers[0]) // 2)])], first)

    pieces = [b"", *(bytes([number % 256]) * (number % 5) for number in range(2 * PIECES_AT_ONCE)), b"the end"]
    upload = begin_upload(tmp_path / "e-1", parcel(bytes(10_000)), "n-1")
    monkeypatch.setattr(os, "pwritev", some)
    with upload.writing() as file:
        upload.put(file, 100, pieces)
    whole = b"".join(pieces)
    assert upload.content.read_bytes()[100 : 100 + len(whole)] == whole
