"""What a transfer holds while it goes on, and gives back however it ends."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from skrei_plugin_s3 import transfer
from skrei_plugin_s3.failures import Asked
from skrei_plugin_s3.identity import Sight
from skrei_plugin_s3.transfer import LONGEST_PART_BYTES, NOTE_BYTES, PART_BYTES, Came, Transfer
from skrei_plugin_s3.wire import Wire

ASKED = Asked("s3://data/a", "http://h:9000", "data")
SIGHT = Sight("http://h:9000", "data", "a", "e")


class Waiting:
    """What never comes to a request."""

    wire = Wire(None)

    async def signed(
        self, bucket: str, key: str, version: str, headers: Mapping[str, str]
    ) -> tuple[str, Mapping[str, str]]:
        await asyncio.Event().wait()
        return "", headers


async def test_a_transfer_that_is_cancelled_as_it_begins_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, really, opened = asyncio.get_running_loop(), transfer._open, []

    def opening(path: Path, size: int) -> int:
        opened.append(really(path, size))
        loop.call_soon_threadsafe(running.cancel)
        return opened[0]

    monkeypatch.setattr(transfer, "_open", opening)
    running = asyncio.ensure_future(Transfer(Waiting(), ASKED, SIGHT, 1_000_000, tmp_path).run())
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


@pytest.mark.parametrize(
    ("size", "part_bytes"),
    [
        (1, PART_BYTES),
        (8 * PART_BYTES, PART_BYTES),
        (8 * PART_BYTES + 1, PART_BYTES + 1),
        (100 * LONGEST_PART_BYTES, LONGEST_PART_BYTES),
    ],
)
def test_parts_are_as_long_as_leaves_one_for_each_connection(size: int, part_bytes: int) -> None:
    came = Came(size)
    assert came.part_bytes == part_bytes
    assert sum(came.length(part) for part in came.missing()) == size


def test_of_a_process_that_dies_at_most_what_was_not_noted_is_asked_for_again(tmp_path: Path) -> None:
    came = Came(8 * LONGEST_PART_BYTES)
    dying = Transfer(Waiting(), ASKED, SIGHT, came.size, tmp_path)
    transfer._read_note(dying._note, dying._data, came)
    dying._data.touch()
    for more in (NOTE_BYTES - 1, 1, NOTE_BYTES // 2):
        dying._wrote(3, more)
    assert transfer._read_note(dying._note, dying._data, came) == {3: NOTE_BYTES}


@pytest.mark.parametrize("cut", ["3", "3 ", "3 8388"])
def test_a_line_of_the_note_that_was_cut_takes_in_nothing_of_the_next(tmp_path: Path, cut: str) -> None:
    came, note, data = Came(8 * LONGEST_PART_BYTES), tmp_path / "note", tmp_path / "data"
    transfer._read_note(note, data, came)
    data.touch()
    with note.open("a") as file:
        file.write(f"2 10\n{cut}")
    assert transfer._read_note(note, data, came) == {2: 10}
    transfer._add_note(note, {4: 7})
    again = transfer._read_note(note, data, came)
    assert (again[2], again[4]) == (10, 7)
    assert again.get(3, 0) <= 8388
