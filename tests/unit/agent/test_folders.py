"""Executions' folders: one per start, gone when dropped, never under a reader."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from skrei_compute_agent.folders import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    made = Folders(tmp_path / "executions")
    made.open([])
    yield made
    made.close()


def test_each_start_has_its_own_folders(folders: Folders) -> None:
    first, second = folders.make("e-1"), folders.make("e-1")
    assert first.root != second.root
    assert folders.latest("e-1") == second


def test_what_is_dropped_goes(folders: Folders) -> None:
    places = folders.make("e-1")
    folders.drop("e-1")
    folders.close()
    assert not places.root.parent.exists()


def test_a_dropped_folder_stays_while_somebody_reads(folders: Folders) -> None:
    places = folders.make("e-1")
    with folders.reading("e-1"):
        with folders.reading("e-1"):
            folders.drop("e-1")
        assert places.root.exists()
    folders.close()
    assert not places.root.parent.exists()


def test_a_restart_keeps_what_the_journal_knows_and_sweeps_the_rest(tmp_path: Path) -> None:
    before = Folders(tmp_path)
    before.open([])
    known, unknown = before.make("e-known"), before.make("e-unknown")
    before.close()
    after = Folders(tmp_path)
    after.open(["e-known"])
    assert after.latest("e-known") == known
    after.close()
    assert known.root.exists()
    assert not unknown.root.exists()


def test_an_id_cannot_reach_outside(folders: Folders, tmp_path: Path) -> None:
    places = folders.make("../../../e")
    assert places.root.resolve().is_relative_to(tmp_path / "executions")


def test_nothing_is_known_of_an_execution_without_folder(folders: Folders) -> None:
    assert folders.latest("e-none") is None
