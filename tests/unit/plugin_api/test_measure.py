"""How many bytes lie below a path: all regular files, no link, and a lower bound where there are too many."""

from pathlib import Path

from skrei_plugin_api.engine import InPlace
from skrei_plugin_api.measure import measure


def a_folder(at: Path, files: int) -> Path:
    for number in range(files):
        path = at / f"d{number % 3}" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10)
    return at


def test_a_folder_is_the_sum_of_its_files_and_a_file_itself(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data", 7)
    assert measure(folder, seconds=60) == InPlace(70)
    assert measure(folder / "d0" / "0") == InPlace(10)


def test_a_link_counts_as_nothing_wherever_it_leads(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data", 3)
    (tmp_path / "secret").write_bytes(b"x" * 1_000)
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "round").symlink_to(folder)
    assert measure(folder, seconds=60) == InPlace(30)


def test_more_than_can_be_counted_is_a_lower_bound(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data", 30)
    found = measure(folder, entries=20, seconds=60)
    assert found.at_least
    assert 0 < found.size_bytes < 300
    assert measure(folder, seconds=0) == InPlace(0, at_least=True)


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert measure(tmp_path / "gone") == InPlace(0, at_least=True)
