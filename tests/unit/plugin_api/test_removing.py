"""What a program has left is removed, whatever it is."""

import itertools
import os
import resource
from pathlib import Path

import pytest

from skrei_plugin_api.removing import LEVELS, remove
from tests.support.nesting import nest


@pytest.mark.parametrize("depth", [0, 1, LEVELS, LEVELS + 1, 5 * LEVELS])
def test_a_tree_deeper_than_files_may_be_open_is_removed(tmp_path: Path, depth: int) -> None:
    nest(tmp_path / "tree", depth)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(each) for each in os.listdir("/dev/fd")}  # noqa: PTH208 - names alone
    free = (number for number in itertools.count() if number not in taken)
    limit = next(itertools.islice(free, LEVELS + 8, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        remove(tmp_path / "tree")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert list(tmp_path.iterdir()) == []


def test_links_and_files_go_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner/away").symlink_to(kept)
    (tmp_path / "link").symlink_to(kept)
    (tmp_path / "one").write_text("1")
    for name in ("tree", "link", "one", "none"):
        remove(tmp_path / name)
    inside = os.open(kept, os.O_RDONLY)
    nest(kept / "more", 2)
    remove("more", dir_fd=inside)
    os.close(inside)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (kept / "file").read_text() == "mine"


def test_what_cannot_be_removed_is_told_and_holds_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    nest(tree, LEVELS + 2)
    (tree / "stays").write_text("")
    (tree / "zoo").mkdir()
    unlink = os.unlink

    def refuses(name: str, *, dir_fd: int | None = None) -> None:
        if name == "stays":
            raise PermissionError(name)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuses)
    with pytest.raises(OSError, match="not empty"):
        remove(tree)
    assert [path.name for path in tree.iterdir()] == ["stays"]
