"""A data folder has one supervisor, says who it is, and keeps that to its owner."""

import os
import stat
from pathlib import Path

import pytest

from skrei_domain.errors import Invalid
from skrei_embedded.place import Place, StackState


def test_a_folder_is_held_by_one_until_it_lets_go(tmp_path: Path) -> None:
    first, second = Place(tmp_path / "data"), Place(tmp_path / "data")
    first.open()
    second.open()
    assert first.try_hold()
    assert not second.try_hold()
    first.let_go()
    assert second.try_hold()
    second.let_go()


def test_what_it_tells_is_read_again_and_private(tmp_path: Path) -> None:
    place = Place(tmp_path / "data")
    place.open()
    state = StackState(pid=7, ready=True, api_url="http://x", children={"api": 8}, born={"api": "9"})
    place.write(state)
    assert place.read() == state
    assert stat.S_IMODE((place.folder / "stack.json").stat().st_mode) == 0o600
    place.forget()
    assert place.read() is None
    place.let_go()


def test_a_new_folder_is_no_wider_than_it_must_be_and_an_old_one_stays_as_it_is(tmp_path: Path) -> None:
    place = Place(tmp_path / "data")
    place.open()
    assert stat.S_IMODE(place.folder.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    place.let_go()
    place.folder.chmod(0o755)
    place.open()
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o755
    place.let_go()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Invalid, match="file/data cannot be used"):
        Place(tmp_path / "file" / "data").open()
