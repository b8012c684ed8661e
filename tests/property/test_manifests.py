"""Manifests: what was listed is what each partition reads, slice by slice, and whatever else comes is refused."""

import tempfile
import zlib
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skrei_plugin_api import manifest
from skrei_plugin_api.manifest import MAGIC, Manifest, ManifestDamaged, load, parse, pieces_of, read, tail_bytes, verify
from skrei_plugin_api.manifest_writer import ManifestWriter
from skrei_plugin_api.pieces import Entry, Piece
from skrei_plugin_api.storage import StageFailed, StageLimits, StageProblem

PIECES = st.builds(
    Piece, st.text(max_size=8) | st.just("a\nb\udc80"), st.text(max_size=8), st.none() | st.integers(0, 2**62)
)
DEALT = st.integers(1, 7).flatmap(
    lambda count: st.tuples(
        st.just(count), st.lists(st.builds(Entry, PIECES, st.integers(0, count - 1)), min_size=1, max_size=30)
    )
)
FOR_ALL = st.tuples(st.integers(1, 7), st.lists(st.builds(Entry, PIECES, st.none()), min_size=1, max_size=30))
LISTS = DEALT | FOR_ALL


def written(path: Path, count: int, entries: list[Entry], run_bytes: int = 64) -> Manifest:
    with ManifestWriter(path.parent, count, StageLimits(), run_bytes=run_bytes) as writer:
        for entry in entries:
            writer.add(entry)
            if writer.full:
                writer.spill()
        return writer.finish(path)


def sorted_by_all(pieces: list[Piece]) -> list[tuple[str, str, int]]:
    return sorted((piece.path, piece.identity, -1 if piece.size is None else piece.size) for piece in pieces)


@given(LISTS, st.randoms(use_true_random=False))
def test_each_partition_reads_what_was_listed_for_it_in_whatever_order_that_came(
    listed: tuple[int, list[Entry]], random: Random
) -> None:
    count, entries = listed
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "one", Path(folder) / "other"
        made = written(path, count, entries)
        assert made == load(path) == load(path, made.digest) == verify(path)
        wanted: dict[int | None, list[Piece]] = defaultdict(list)
        for entry in entries:
            wanted[entry.partition].append(entry.piece)
        for partition in range(count):
            slice_ = made.slice(partition)
            found = list(read(path, slice_))
            mine = wanted[None] + wanted[partition]
            assert sorted_by_all(found) == sorted_by_all(mine)
            assert slice_.files == len(mine)
            assert slice_.size_bytes == sum(piece.size or 0 for piece in mine)
            assert slice_.unsized == sum(piece.size is None for piece in mine)
        assert (made.files, made.size_bytes) == (len(entries), sum(entry.piece.size or 0 for entry in entries))
        shuffled = list(entries)
        random.shuffle(shuffled)
        assert written(other, count, shuffled, run_bytes=10**6).digest == made.digest
        assert other.read_bytes() == path.read_bytes()


@given(DEALT)
def test_a_slice_and_the_index_are_all_that_a_partition_needs(listed: tuple[int, list[Entry]]) -> None:
    count, entries = listed
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one"
        digest = written(path, count, entries).digest
        whole = path.read_bytes()
    index = parse(whole[-tail_bytes(count) :], digest)
    for partition in range(count):
        wanted = index.slice(partition)
        packed = whole[wanted.offset : wanted.offset + wanted.packed_bytes]
        mine = [entry.piece for entry in entries if entry.partition == partition]
        assert sorted_by_all(list(pieces_of([packed[:3], packed[3:]], wanted))) == sorted_by_all(mine)


@given(LISTS, st.data())
def test_no_byte_can_be_changed_or_lost_unseen(listed: tuple[int, list[Entry]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one"
        digest = written(path, *listed).digest
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        cut = data.draw(st.booleans())
        path.write_bytes(whole[:at] if cut else whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = verify(path)
        except ManifestDamaged:
            return
        assert found.digest != digest


@given(st.binary(max_size=400))
@example(MAGIC)
def test_bytes_that_are_no_manifest_are_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one"
        path.write_bytes(content)
        with pytest.raises(ManifestDamaged):
            verify(path)


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 5))
def test_a_slice_of_anything_ends_in_a_refusal(packed: bytes, plain: int, files: int) -> None:
    wanted = manifest.Slice(0, len(packed), plain, files, 0, 0, "00" * 32)
    with pytest.raises(ManifestDamaged):
        list(pieces_of([packed], wanted))


def test_what_unpacks_to_more_than_it_says_is_left_at_once() -> None:
    packed = zlib.compress(b"x" * (64 << 20))
    wanted = manifest.Slice(0, len(packed), 1_000, 1, 0, 0, "00" * 32)
    with pytest.raises(ManifestDamaged, match="longer than its manifest says"):
        list(pieces_of([packed], wanted))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (StageLimits(max_listed=2), "there are more than 2 files"),
        (StageLimits(max_files=2), "partition 1 gets more than 2 files"),
    ],
)
def test_a_listing_beyond_its_limit_says_which(limits: StageLimits, words: str, tmp_path: Path) -> None:
    with ManifestWriter(tmp_path, 2, limits) as writer:
        for name in ("a", "b"):
            writer.add(Entry(Piece(name, "x"), 1))
        with pytest.raises(StageFailed, match=words) as raised:
            writer.add(Entry(Piece("c", "x"), 1))
    assert raised.value.code is StageProblem.TOO_LARGE
    assert "Count" in raised.value.hint


@pytest.mark.parametrize("wrong", [Entry(Piece("a", "x"), 2), Entry(Piece("a", "x"), -1), Entry(Piece("a", "x"))])
def test_an_entry_that_belongs_nowhere_is_a_mistake_of_its_storage(wrong: Entry, tmp_path: Path) -> None:
    with ManifestWriter(tmp_path, 2, StageLimits()) as writer:
        writer.add(Entry(Piece("b", "x"), 1))
        with pytest.raises(ValueError, match="is listed for partition"):
            writer.add(wrong)
