"""What comes in pieces lies where it belongs, however they are cut."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from skrei_plugin_api.writing import CALL_BYTES, PIECES_AT_ONCE, write_all_at


@pytest.mark.parametrize(
    "sizes", [(0, 3, 0), (CALL_BYTES * 3 + 1,), (CALL_BYTES - 1, 2, 5), (1,) * (PIECES_AT_ONCE + 2), ()]
)
@pytest.mark.parametrize("most", [1 << 30, 1_000_003])
def test_pieces_are_written_one_after_another_by_calls_of_a_bounded_size(
    sizes: tuple[int, ...], most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    real = os.pwritev

    def pwritev(file: int, pieces: Sequence[memoryview], first: int) -> int:
        asked.append((len(pieces), sum(map(len, pieces))))
        left, some = most, []
        for piece in pieces:  # a disk may take less than it is given
            some.append(piece[: min(left, 100_003)])
            left -= len(some[-1])
            if len(some[-1]) < len(piece):
                break
        return real(file, some, first)

    monkeypatch.setattr(os, "pwritev", pwritev)
    data = [os.urandom(size) for size in sizes]
    place = tmp_path / "content"
    place.write_bytes(b"before")
    file = os.open(place, os.O_WRONLY)
    try:
        write_all_at(file, data, 6)
    finally:
        os.close(file)
    assert place.read_bytes() == b"before" + b"".join(data)
    assert all(pieces <= PIECES_AT_ONCE and size <= CALL_BYTES for pieces, size in asked)
