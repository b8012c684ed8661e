"""Lists of files that an input may consist of: whatever passes can be laid out on a disk, below its target alone."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_plugin_api.pieces import Piece, check_pieces
from skrei_plugin_api.storage import StageFailed, StageLimits, StageProblem

LIMITS = StageLimits(max_bytes=1_000, max_files=5)
paths = st.text(st.sampled_from("ab./\0\ud800é "), max_size=6) | st.just("é" * 200)
pieces = st.lists(st.builds(Piece, paths, st.text(max_size=3), st.none() | st.integers(0, 400)), max_size=6)


@given(pieces)
def test_what_passes_can_be_laid_out(listed: list[Piece]) -> None:
    try:
        check_pieces(listed, LIMITS, "/in")
    except StageFailed:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        for piece in listed:
            place = root / piece.path
            assert place.resolve().is_relative_to(root.resolve())
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"")
        assert sum(1 for path in Path(folder).rglob("*") if path.is_file()) == len(listed)


@pytest.mark.parametrize(
    ("listed", "problem", "words"),
    [
        ([Piece(str(number), "x") for number in range(6)], StageProblem.TOO_LARGE, "has 6 files; this node takes 5"),
        ([Piece("a", "x", 600), Piece("b", "y", 600)], StageProblem.TOO_LARGE, "1,200 bytes; this node takes 1,000"),
        ([Piece("a/b", "x"), Piece("a", "y")], StageProblem.INVALID, "'a' of the input at /in is a file and a folder"),
        ([Piece("a", "x"), Piece("a", "y")], StageProblem.INVALID, "is there twice: 'a'"),
        ([Piece("../a", "x")], StageProblem.INVALID, "would not lie below it: '../a'"),
        ([Piece("/a", "x")], StageProblem.INVALID, "would not lie below it: '/a'"),
        ([Piece("", "x"), Piece("a", "y")], StageProblem.INVALID, "has no name"),
        ([Piece("n" * 256, "x")], StageProblem.INVALID, "has too long a name"),
    ],
)
def test_what_does_not_pass_is_said(listed: list[Piece], problem: StageProblem, words: str) -> None:
    with pytest.raises(StageFailed) as raised:
        check_pieces(listed, LIMITS, "/in")
    assert raised.value.code is problem
    assert words in raised.value.message
