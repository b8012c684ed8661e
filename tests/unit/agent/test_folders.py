"""Executions' folders: one per start, gone when dropped, never under a reader."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from skrei_compute_agent.folders import Folders
from skrei_compute_agent.spares import MOST_SPARES, Spares
from tests.support.executions import held
from tests.support.nesting import nest


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


def test_of_what_starts_again_and_again_the_last_two_starts_are_kept(folders: Folders, tmp_path: Path) -> None:
    for _ in range(5):
        for path in (made := folders.make("e-1", inputs=1)).inputs:
            path.mkdir()
    folders.make("e-2")
    folders.close()
    assert held(tmp_path / "executions") == {"e-1~4", "e-1~4.0", "e-1~5", "e-1~5.0", "e-2~1"}
    assert folders.latest("e-1") == replace(made, inputs=())


def test_what_is_dropped_goes_with_every_start_and_every_input(folders: Folders, tmp_path: Path) -> None:
    for _ in range(2):
        assert len(folders.make("e-1", inputs=2).inputs) == 2
    folders.make("e-10")
    folders.drop("e-1")
    folders.close()
    assert held(tmp_path / "executions") == {"e-10~1"}
    assert folders.latest("e-1") is None


def test_a_dropped_folder_stays_while_somebody_reads(folders: Folders) -> None:
    places = folders.make("e-1")
    with folders.reading("e-1"):
        with folders.reading("e-1"):
            folders.drop("e-1")
        assert places.work.exists()
    folders.close()
    assert not places.work.exists()


def test_what_cannot_be_removed_holds_up_nothing_else(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = folders._spares.keep

    def too_deep(path: Path) -> bool:
        if path.name == "e-1~1":
            raise RecursionError("maximum recursion depth exceeded")
        return keep(path)

    monkeypatch.setattr(folders._spares, "keep", too_deep)
    folders.make("e-1", inputs=1).inputs[0].mkdir()
    folders.drop("e-1")
    folders._sweeper.submit(bool).result(10)  # it does one thing after the other
    folders.make("e-2")
    folders.drop("e-2")
    folders.close()
    assert held(tmp_path / "executions") == {"e-1~1"}


def test_what_a_program_has_nested_deeper_than_calls_may_be_goes(folders: Folders, tmp_path: Path) -> None:
    nest(folders.make("e-1").work / "deep", 1_100)
    folders.drop("e-1")
    folders.close()
    assert held(tmp_path / "executions") == set()


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
    assert held(tmp_path) == set()


def test_an_id_cannot_reach_outside(folders: Folders, tmp_path: Path) -> None:
    places = folders.make("../../../e~1")
    assert places.work.resolve().parent == tmp_path / "executions"


def test_nothing_is_known_of_an_execution_without_folder(folders: Folders) -> None:
    assert folders.latest("e-none") is None
    folders.drop("e-none")


# ---------------------------------------------------------------- folders that are used again


def test_a_dropped_folder_is_the_next_ones_with_nothing_left_in_it(tmp_path: Path) -> None:
    root = tmp_path / "executions"
    spares = Spares(root)
    old = root / "e-1~1"
    (old / "root/data").mkdir(parents=True)
    (old / "root/data/secret").write_text("secret")
    (old / "stdout").write_text("secret")
    (old / "away").symlink_to(tmp_path)
    old.chmod(0o700)
    inode = old.stat().st_ino
    with (old / "stdout").open("r+") as held:
        assert spares.keep(old)
        assert spares.become(root / "e-2~1")
        (root / "e-2~1/stdout").write_text("of another")
        assert held.read() == "secret", "who still holds the old file never sees the new one"
    facts = (root / "e-2~1").stat()
    assert (facts.st_ino, facts.st_mode & 0o777) == (inode, 0o755)
    assert [path.name for path in (root / "e-2~1").iterdir()] == ["stdout"]
    assert tmp_path.is_dir(), "a link is removed, not what it leads to"
    assert not spares.become(root / "e-3~1"), "there was one"


def test_what_is_no_folder_of_ours_or_too_many_are_not_kept(tmp_path: Path) -> None:
    spares = Spares(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert not spares.keep(tmp_path / "file")
    assert not spares.keep(tmp_path / "link")
    assert not spares.keep(tmp_path / "none")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["file", "link", "real"]
    for number in range(MOST_SPARES):
        (tmp_path / str(number)).mkdir()
        assert spares.keep(tmp_path / str(number))
    assert not spares.keep(tmp_path / "real")
    assert spares.become(tmp_path / "new")
    assert spares.keep(tmp_path / "real")


def test_a_spare_that_is_gone_is_no_trouble(folders: Folders, tmp_path: Path) -> None:
    root = tmp_path / "executions"
    folders.make("e-1")
    folders.drop("e-1")
    folders._sweeper.submit(bool).result(10)  # it does one thing after the other
    (spare,) = root.glob("~spare.*")
    spare.rmdir()
    assert folders.make("e-2").work.is_dir()


def test_spares_of_the_process_before_are_the_next_ones_and_empty(tmp_path: Path) -> None:
    before = Spares(tmp_path)
    (tmp_path / "e-1~1").mkdir()
    assert before.keep(tmp_path / "e-1~1")
    (spare,) = tmp_path.iterdir()
    (spare / "stdout").write_text("what a disk that lost power had not removed")
    inode = spare.stat().st_ino
    after = Folders(tmp_path)
    after.open(["~spare", "e-1"])
    after._sweeper.submit(bool).result(10)  # it does one thing after the other
    work = after.make("e-2").work
    assert (work.stat().st_ino, list(work.iterdir())) == (inode, [])
    after.close()
