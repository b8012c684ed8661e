"""Runs that bring the same small files and write none share a root: what they see is what a fresh one would show."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from skrei_plugin_api.engine import Mount
from skrei_plugin_api.testing import Behaviour, eventually
from skrei_plugin_wasm import layout
from skrei_plugin_wasm.layout import File, LayoutError, Preopen, begin, has_begun
from skrei_plugin_wasm.shared_root import SHARED_BYTES, SharedRoot, sweep
from tests.support.wasm_engine import Bench
from tests.support.wat import behaving


@pytest.fixture
def root(tmp_path: Path) -> Iterator[SharedRoot]:
    made = SharedRoot(tmp_path / "roots")
    yield made
    made.close()


def a_file(path: Path, text: str = "text", *, at: str = "main.wasm", writable: bool = False) -> File:
    if not path.exists():
        path.write_text(text)
    return File(str(path), at, writable)


def only(found: list[Preopen] | None) -> Path:
    assert found is not None
    (one,) = found
    assert (one.guest, one.writable) == ("/", False)
    return Path(one.host)


def test_the_same_files_have_the_same_root_and_others_another(root: SharedRoot, tmp_path: Path) -> None:
    one, two = a_file(tmp_path / "one", "1"), a_file(tmp_path / "two", "2", at="/data/deep/two")
    folder = only(root.of([one, two]))
    inode = folder.stat().st_ino
    assert (folder / "data/deep/two").read_text() == "2"
    assert only(root.of([one, two])).stat().st_ino == inode, "made once"
    assert [path.name for path in only(root.of([one])).iterdir()] == ["main.wasm"]
    root.close()
    assert not folder.exists()
    assert (tmp_path / "one").read_text() == "1", "a link is removed, not what it leads to"


def test_a_file_that_was_replaced_is_seen_as_it_is_now(root: SharedRoot, tmp_path: Path) -> None:
    file = a_file(tmp_path / "one", "old")
    assert (only(root.of([file])) / "main.wasm").read_text() == "old"
    (tmp_path / "new").write_text("new")
    (tmp_path / "new").replace(tmp_path / "one")
    assert (only(root.of([file])) / "main.wasm").read_text() == "new"
    (tmp_path / "one").write_text("in place")
    assert (only(root.of([file])) / "main.wasm").read_text() == "in place"


def test_a_root_that_somebody_removed_is_made_again(root: SharedRoot, tmp_path: Path) -> None:
    file = a_file(tmp_path / "one")
    folder = only(root.of([file]))
    (folder / "main.wasm").unlink()
    folder.rmdir()
    assert (only(root.of([file])) / "main.wasm").read_text() == "text"


def test_what_cannot_be_shared_is_told(root: SharedRoot, tmp_path: Path) -> None:
    assert root.of([a_file(tmp_path / "w", writable=True)]) is None
    assert root.of([File(str(tmp_path), "folder", False)]) is None
    assert root.of([File(str(tmp_path / "none"), "x", False)]) is None
    assert root.of([a_file(tmp_path / "large", "x" * (SHARED_BYTES + 1))]) is None
    fine = a_file(tmp_path / "fine", "x" * SHARED_BYTES)
    assert root.of([fine]) is not None
    with pytest.raises(LayoutError, match="two inputs or outputs want to be"):
        root.of([fine, a_file(tmp_path / "other")])


def test_a_copy_is_not_shared_since_it_would_not_follow_its_file(
    root: SharedRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    assert root.of([a_file(tmp_path / "one")]) is None
    assert list((tmp_path / "roots").iterdir()) == []


def test_roots_of_the_dead_are_swept(tmp_path: Path) -> None:
    sweep(tmp_path / "none")
    dead = subprocess.Popen(["true"])
    dead.wait()
    for name in (str(dead.pid), str(os.getpid()), "notes"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {str(os.getpid()), "notes"}


def test_a_workdir_says_whether_its_run_has_begun(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir(mode=0o755)
    assert not has_begun(tmp_path / "work")
    begin(str(tmp_path / "work"))
    assert has_begun(tmp_path / "work")


# ---------------------------------------------------------------- through the engine


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, warm_children="1", most_children="1")
    yield bench
    await bench.engine.close()


async def test_runs_of_one_module_make_no_folder_of_their_own(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "shared.wasm").write_bytes(behaving(Behaviour(say="quick")))
    mounts = [Mount(tmp_path / "shared.wasm", "main.wasm")]
    folder = bench.modules.parent / "roots"
    await bench.run(None, mounts=mounts)  # it compiles, so its child ends, and the child's root with it
    await eventually(lambda: not [*folder.iterdir()])
    roots: set[int] = set()
    for number in (2, 3, 4):
        assert (await bench.run(None, mounts=mounts)).exit_code == 0
        assert {path.name for path in (tmp_path / f"run-{number}").iterdir()} == {"stdout"}
        roots |= {path.stat().st_ino for path in folder.iterdir()}
    assert len(roots) == 1
    (tmp_path / "next.wasm").write_bytes(behaving(Behaviour(say="another")))
    (tmp_path / "next.wasm").replace(tmp_path / "shared.wasm")
    assert (await bench.run(None, mounts=mounts)).stdout_head.data == b"another"
    await bench.engine.close()
    assert list(folder.iterdir()) == []


async def test_a_run_with_an_output_has_a_root_of_its_own(bench: Bench, tmp_path: Path) -> None:
    assert (await bench.run(behaving(Behaviour(say="x")), outputs={"out": "/out"})).exit_code == 0
    assert (tmp_path / "run-1" / layout.ROOT).is_dir()
