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
    assert first.work != second.work
    latest = folders.latest("e-1")
    assert latest is not None
    assert latest.stdout == second.stdout


def test_what_is_dropped_goes_with_every_start_and_every_input(folders: Folders, tmp_path: Path) -> None:
    for _ in range(2):
        assert len(folders.make("e-1", inputs=2).inputs) == 2
    folders.make("e-10")
    folders.drop("e-1")
    folders.close()
    assert [path.name for path in (tmp_path / "executions").iterdir()] == ["e-10~1"]
    assert folders.latest("e-1") is None


def test_a_dropped_folder_stays_while_somebody_reads(folders: Folders) -> None:
    places = folders.make("e-1")
    with folders.reading("e-1"):
        with folders.reading("e-1"):
            folders.drop("e-1")
        assert places.work.exists()
    folders.close()
    assert not places.work.exists()


def test_a_restart_keeps_what_the_journal_knows_and_sweeps_the_rest(tmp_path: Path) -> None:
    before = Folders(tmp_path)
    before.open([])
    known, unknown = before.make("e-known", inputs=1), before.make("e-unknown", inputs=1)
    for places in (known, unknown):  # as a storage does that needs one
        places.inputs[0].mkdir()
    before.close()
    after = Folders(tmp_path)
    after.open(["e-known"])
    latest = after.latest("e-known")
    assert latest is not None
    assert latest.work == known.work
    after.close()
    assert known.work.exists()
    assert known.inputs[0].exists()
    assert not unknown.work.exists()
    assert not unknown.inputs[0].exists()


def test_a_start_after_a_restart_has_its_own_folders_and_all_go_together(tmp_path: Path) -> None:
    before = Folders(tmp_path)
    before.open([])
    old = before.make("e-1", inputs=1)
    before.close()
    after = Folders(tmp_path)
    after.open(["e-1"])
    assert after.make("e-1").work != old.work
    after.drop("e-1")
    after.close()
    assert list(tmp_path.iterdir()) == []


def test_an_id_cannot_reach_outside(folders: Folders, tmp_path: Path) -> None:
    places = folders.make("../../../e~1")
    assert places.work.resolve().parent == tmp_path / "executions"


def test_nothing_is_known_of_an_execution_without_folder(folders: Folders) -> None:
    assert folders.latest("e-none") is None
    folders.drop("e-none")
