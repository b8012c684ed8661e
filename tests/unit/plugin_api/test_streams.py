"""What a program says on its way into a file."""

from pathlib import Path

import pytest

from skrei_plugin_api.streams import StreamFile, cut_line


def test_a_program_that_says_nothing_makes_no_file(tmp_path: Path) -> None:
    file = StreamFile(tmp_path, "stdout", 10)
    file.write(b"")
    assert (file.said, file.cut) == (0, False)
    file.close()
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_the_first_byte_makes_it_and_is_there_at_once(tmp_path: Path) -> None:
    file = StreamFile(tmp_path, "stdout", 10)
    file.write(b"one")
    assert (tmp_path / "stdout").read_bytes() == b"one", "nothing is held back: it may be read live, or be the last"
    file.write(b"two")
    file.close()
    assert ((tmp_path / "stdout").read_bytes(), file.said) == (b"onetwo", 6)
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.write(b"late")


def test_it_goes_on_where_another_process_left_it(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"before ")
    file = StreamFile(tmp_path, "stdout", 9)
    assert file.said == 7
    file.write(b"after")
    file.close()
    assert (tmp_path / "stdout").read_bytes() == b"before af" + cut_line("stdout", 9)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "stdout").symlink_to(tmp_path / "elsewhere")
    file = StreamFile(tmp_path, "stdout", 1_000)
    with pytest.raises(OSError, match="symbolic links"):
        file.write(b"x")
    assert not (tmp_path / "elsewhere").exists()
