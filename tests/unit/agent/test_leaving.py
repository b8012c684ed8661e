"""Results that stay on their node: whole or not at all, where its owner allows it, and nowhere else."""

import base64
import hashlib
import io
import os
import random
import shutil
import tarfile
from pathlib import Path

import pytest

from skrei_compute_agent import leaving
from skrei_compute_agent.leaving import DEEPEST, TOLD_BYTES, leave, settle
from skrei_compute_agent.upload_errors import PublishFailed, ResultDamaged
from skrei_domain.paths import Entry, parse_entry
from skrei_plugin_api.testing import archive

FILES = {"stdout": b"said\n", "stderr": b"", "exitCode": b"0", "out/deep/er": b"x" * 3_000_000, "out/ünicode": b"u"}
SIZE = sum(map(len, FILES.values()))


def allowed(folder: Path, access: str = "rw") -> list[Entry]:
    return [parse_entry(f"{folder}/**:{access}")]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def found(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".skrei"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_result_lies_there_as_files_and_nothing_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "results" / "j-1" / "e-1"
    with archive(FILES) as (packed, _):
        left = leave(packed, str(place), "e-1", allowed(tmp_path / "results"))
    assert (left.left_at, left.left_bytes) == (str(place), SIZE)
    assert found(place) == FILES
    assert names(place.parent) == ["e-1"]


def test_what_is_told_of_it_is_how_it_ended_and_the_beginning_of_what_was_said(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(500_000)
    files = {"stdout": noise, "stderr": b"warned\n", "exitCode": b"3", "out/secret": b"secret"}
    with archive(files) as (packed, _):
        left = leave(packed, str(tmp_path / "e-1"), "e-1", allowed(tmp_path))
    data = base64.b64decode(left.inline or "")
    assert left.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert left.size == len(data) <= 64 * 1024
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        told = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isreg()}  # type: ignore[union-attr]
    assert told == {
        "stdout": noise[:TOLD_BYTES] + f"\n[the rest stays on the node: {tmp_path}/e-1/stdout]\n".encode(),
        "stderr": b"warned\n",
        "exitCode": b"3",
    }


def test_a_node_that_was_killed_leaves_it_once(tmp_path: Path) -> None:
    place = tmp_path / "e-1"
    (tmp_path / ".skrei-e-1").mkdir()  # of the process before
    (tmp_path / ".skrei-e-1" / "half").write_bytes(b"of it")
    for _ in range(2):
        with archive(FILES) as (packed, _):
            assert leave(packed, str(place), "e-1", allowed(tmp_path)).left_bytes == SIZE
    assert found(place) == FILES
    assert names(tmp_path) == ["e-1"]


def test_what_lies_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "precious").write_bytes(b"data")
    with archive(FILES) as (packed, _), pytest.raises(PublishFailed, match="is there already") as raised:
        leave(packed, str(tmp_path / "latest"), "e-1", allowed(tmp_path))
    assert "{executionID}" in raised.value.hint
    assert found(tmp_path / "latest") == {"precious": b"data"}


@pytest.mark.parametrize("access", ["ro", "none"])
def test_a_path_that_the_owner_does_not_allow_gets_nothing(tmp_path: Path, access: str) -> None:
    entries = allowed(tmp_path, "ro") if access == "ro" else []
    with archive(FILES) as (packed, _), pytest.raises(PublishFailed, match="lets no job leave a result") as raised:
        leave(packed, str(tmp_path / "e-1"), "e-1", entries)
    assert "SKREI_ALLOW_LOCAL" in raised.value.hint
    assert names(tmp_path) == []


def test_a_link_leads_nowhere_that_is_not_allowed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "link").symlink_to(tmp_path / "elsewhere")
    with archive(FILES) as (packed, _), pytest.raises(PublishFailed, match="lets no job leave"):
        leave(packed, str(tmp_path / "results" / "link" / "e-1"), "e-1", allowed(tmp_path / "results"))
    assert names(tmp_path / "elsewhere") == []


def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with archive(FILES) as (packed, _), pytest.raises(PublishFailed, match="cannot be left at"):
        leave(packed, str(tmp_path / "file" / "e-1"), "e-1", allowed(tmp_path))


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    with archive(FILES) as (packed, _):
        packed.write_bytes(packed.read_bytes()[:-2000])
        with pytest.raises(ResultDamaged):
            leave(packed, str(tmp_path / "e-1"), "e-1", allowed(tmp_path))
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["../out", "a/../../out"])
def test_an_archive_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(ResultDamaged):
        leave(tmp_path / "a.tar.gz", str(tmp_path / "results" / "e-1"), "e-1", allowed(tmp_path / "results"))
    assert names(tmp_path / "results") == []


def test_what_is_nested_deeper_than_files_may_be_open_is_told_of_and_leaves_nothing(tmp_path: Path) -> None:
    for depth, told in ((DEEPEST - 1, ""), (1_500, "deeper than the 256")):
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
            folder = tarfile.TarInfo("d/" * DEEPEST)
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            tar.addfile(tarfile.TarInfo("d/" * depth + "exitCode"))
        if told:
            with pytest.raises(PublishFailed, match=told) as raised:
                leave(tmp_path / "a.tar.gz", str(tmp_path / "results" / "e-2"), "e-2", allowed(tmp_path / "results"))
            assert raised.value.hint
        else:
            leave(tmp_path / "a.tar.gz", str(tmp_path / "results" / "e-1"), "e-1", allowed(tmp_path / "results"))
    assert names(tmp_path / "results") == ["e-1"]


def unseen(folder: Path, name: str, execution_id: str, said: bytes = b"said") -> Path:
    """A result that is left and not shown."""
    with archive(FILES | {"stdout": said}) as (packed, _):
        leave(packed, str(folder / name), execution_id, allowed(folder), unseen=True)
    return folder / name


def test_of_two_attempts_at_one_place_the_one_that_counts_is_there_whatever_comes_late(tmp_path: Path) -> None:
    place = unseen(tmp_path, "latest", "e-1", b"first")
    unseen(tmp_path, "latest", "e-2", b"second")
    assert names(tmp_path) == [".skrei-e-1", ".skrei-e-2"], "nothing is seen before it has won"
    for _ in range(2):
        assert settle(str(place), "e-2", allowed(tmp_path), counts=True) == str(place)
        assert settle(str(place), "e-1", allowed(tmp_path), counts=False) == ""
    assert found(place) == FILES | {"stdout": b"second"}
    assert names(tmp_path) == ["latest"]


JOB = "j-8c9f9f0e-3a0b-4d0e-9d4e-2a7f0f6d7a11"


def test_a_jobs_folders_go_with_the_last_in_them_and_no_others(tmp_path: Path) -> None:
    owners = tmp_path / "team"
    places = [unseen(owners, f"{JOB}/main/{each}", each) for each in ("e-1", "e-2")]
    for _ in range(2):
        assert settle(str(places[0]), "e-1", allowed(owners), counts=False) == ""
        assert names(owners / JOB / "main") == [".skrei-e-2"]
    settle(str(places[1]), "e-2", allowed(owners), counts=True)
    assert names(owners / JOB / "main") == ["e-2"]
    for _ in range(2):
        settle(str(places[1]), "e-2", allowed(owners), counts=False)
        assert names(owners) == []
    settle(str(unseen(owners, "plain/e-3", "e-3")), "e-3", allowed(owners), counts=False)
    assert names(owners / "plain") == [], "who made that is not known"


def test_who_is_killed_between_a_jobs_folders_removes_the_others_next_time(tmp_path: Path) -> None:
    place = unseen(tmp_path, f"{JOB}/main/0/e-1", "e-1")
    shutil.rmtree(place.parent)
    settle(str(place), "e-1", allowed(tmp_path), counts=False)
    assert names(tmp_path) == []


def test_what_cannot_be_left_leaves_no_folder_of_its_job(tmp_path: Path) -> None:
    with archive(FILES) as (packed, _):
        packed.write_bytes(packed.read_bytes()[:-2000])
        with pytest.raises(ResultDamaged):
            leave(packed, str(tmp_path / JOB / "e-1"), "e-1", allowed(tmp_path))
    assert names(tmp_path) == []


@pytest.mark.parametrize("counts", [True, None])
def test_what_is_asked_for_after_it_was_removed_is_gone_and_gets_no_folder(tmp_path: Path, counts: bool | None) -> None:
    place = unseen(tmp_path, f"{JOB}/e-1", "e-1")
    settle(str(place), "e-1", allowed(tmp_path), counts=False)
    with pytest.raises(FileNotFoundError):
        settle(str(place), "e-1", allowed(tmp_path), counts=counts)
    assert names(tmp_path) == []


def test_what_is_left_again_once_it_lies_beside_its_place_is_there_once(tmp_path: Path) -> None:
    place = unseen(tmp_path, "latest", "e-1")
    for taken in (False, True):
        settle(str(place), "e-1", allowed(tmp_path), counts=None)
        if taken:
            place.mkdir()
            (place / "precious").touch()
        unseen(tmp_path, "latest", "e-1")
        assert names(tmp_path) == (["latest", "latest.e-1"] if taken else ["latest.e-1"])
    shutil.rmtree(place)
    settle(str(place), "e-1", allowed(tmp_path), counts=True)
    assert names(tmp_path) == ["latest"]


@pytest.mark.parametrize("shown", [True, None])
def test_who_is_killed_while_what_was_shown_is_removed_removes_the_rest_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: bool | None
) -> None:
    place = unseen(tmp_path, "latest", "e-1")
    settle(str(place), "e-1", allowed(tmp_path), counts=shown)

    def killed(path: str, *, dir_fd: int) -> None:
        os.unlink(path, dir_fd=dir_fd)
        raise OSError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(leaving, "remove", killed)
        with pytest.raises(OSError, match="killed"):
            settle(str(place), "e-1", allowed(tmp_path), counts=False)
    assert settle(str(place), "e-1", allowed(tmp_path), counts=False) == ""
    assert names(tmp_path) == []


def test_who_was_stopped_as_it_took_a_place_back_takes_it_from_nobody_who_has_it_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = unseen(tmp_path, "latest", "e-1", b"first")
    settle(str(place), "e-1", allowed(tmp_path), counts=True)
    real = leaving.remove

    def stopped(path: str, *, dir_fd: int) -> None:
        """It goes on once another node has taken the place back, and left there what has won."""
        monkeypatch.setattr(leaving, "remove", real)
        settle(str(place), "e-1", allowed(tmp_path), counts=False)
        unseen(tmp_path, "latest", "e-2", b"second")
        settle(str(place), "e-2", allowed(tmp_path), counts=True)
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(leaving, "remove", stopped)
    assert settle(str(place), "e-1", allowed(tmp_path), counts=False) == ""
    assert names(tmp_path) == ["latest"]
    assert found(place) == FILES | {"stdout": b"second"}


@pytest.mark.parametrize("late", ["out", "stdout"])
def test_two_nodes_that_take_a_place_back_at_once_leave_it_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    place = unseen(tmp_path, "latest", "e-1")
    settle(str(place), "e-1", allowed(tmp_path), counts=True)
    real = leaving.remove

    def beside(path: str, *, dir_fd: int) -> None:
        """The other has removed right this, and is at the rest yet."""
        real(path, dir_fd=dir_fd)
        if path == late:
            raise FileNotFoundError(path)

    monkeypatch.setattr(leaving, "remove", beside)
    settle(str(place), "e-1", allowed(tmp_path), counts=False)
    leaving.check_free(str(place), "e-2", allowed(tmp_path))
    assert names(tmp_path) == []


def test_who_is_killed_before_the_name_goes_too_blocks_the_place_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = unseen(tmp_path, "latest", "e-1")
    settle(str(place), "e-1", allowed(tmp_path), counts=True)

    real = os.rmdir

    def killed(name: str, *, dir_fd: int) -> None:
        if name == "latest":
            raise OSError("killed")
        real(name, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", killed)
        with pytest.raises(OSError, match="killed"):
            settle(str(place), "e-1", allowed(tmp_path), counts=False)
    leaving.check_free(str(place), "e-2", allowed(tmp_path))
    unseen(tmp_path, "latest", "e-2", b"second")
    settle(str(place), "e-2", allowed(tmp_path), counts=True)
    assert settle(str(place), "e-1", allowed(tmp_path), counts=False) == ""
    assert names(tmp_path) == ["latest"]
    assert found(place) == FILES | {"stdout": b"second"}


def test_who_was_killed_before_the_name_went_removes_it_next_time(tmp_path: Path) -> None:
    place = unseen(tmp_path, f"{JOB}/latest", "e-1")
    settle(str(place), "e-1", allowed(tmp_path), counts=True)
    shutil.rmtree(place)
    place.mkdir()
    settle(str(place), "e-1", allowed(tmp_path), counts=False)
    assert names(tmp_path) == []


def test_a_mark_that_nobody_ever_writes_to_holds_up_nobody(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    os.mkfifo(tmp_path / "latest" / ".skrei")
    with pytest.raises(PublishFailed, match="is there already"):
        leaving.check_free(str(tmp_path / "latest"), "e-1", allowed(tmp_path))


def test_what_is_written_to_what_is_taken_back_is_not_lost_sight_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = unseen(tmp_path, "latest", "e-1")
    settle(str(place), "e-1", allowed(tmp_path), counts=True)
    real = leaving.remove

    def while_removed(path: str, *, dir_fd: int) -> None:
        (place / "more").write_bytes(b"written by another job")
        real(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(leaving, "remove", while_removed)
        with pytest.raises(OSError, match="not empty"):
            settle(str(place), "e-1", allowed(tmp_path), counts=False)
    settle(str(place), "e-1", allowed(tmp_path), counts=False)
    assert names(tmp_path) == []


def test_a_jobs_folder_that_goes_right_as_another_comes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = [unseen(tmp_path, f"{JOB}/e-1", "e-1")]
    real = leaving.remove

    def removed(path: str, *, dir_fd: int) -> None:
        monkeypatch.setattr(leaving, "remove", real)
        settle(str(going.pop()), "e-1", allowed(tmp_path), counts=False)
        assert names(tmp_path) == []
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(leaving, "remove", removed)
    unseen(tmp_path, f"{JOB}/e-2", "e-2")
    assert names(tmp_path / JOB) == [".skrei-e-2"]
    assert not going


def test_what_counts_lies_beside_its_place_where_something_else_is_there_by_then(tmp_path: Path) -> None:
    place = unseen(tmp_path, "latest", "e-1")
    place.mkdir()
    (place / "precious").write_bytes(b"data")
    for _ in range(2):
        assert settle(str(place), "e-1", allowed(tmp_path), counts=True) == f"{place}.e-1"
    assert found(place) == {"precious": b"data"}
    assert found(tmp_path / "latest.e-1")["stdout"] == b"said"


def test_what_nobody_knows_any_more_is_not_thrown_away(tmp_path: Path) -> None:
    place = unseen(tmp_path, "latest", "e-1")
    assert settle(str(place), "e-1", allowed(tmp_path), counts=None) == f"{place}.e-1"
    assert names(tmp_path) == ["latest.e-1"]


def test_where_the_owner_allows_no_more_nothing_is_moved(tmp_path: Path) -> None:
    place = unseen(tmp_path, "latest", "e-1")
    with pytest.raises(PublishFailed, match="lets no job leave"):
        settle(str(place), "e-1", [], counts=True)
    assert names(tmp_path) == [".skrei-e-1"]


def test_a_path_of_the_name_by_which_results_are_known_is_told_of_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        archive(FILES | {".skrei/x": b"x"}) as (packed, _),
        pytest.raises(PublishFailed, match="a result path") as told,
    ):
        leave(packed, str(tmp_path / "e-1"), "e-1", allowed(tmp_path))
    assert told.value.hint == "give it another Name in ResultPaths"
    assert names(tmp_path) == []
