"""Where a devstack lies, and what goes with it when it is left."""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import skrei_embedded.leftovers
from skrei.cli import devstack_run
from skrei.cli.devstack import DEVSTACK
from skrei.cli.grammar import Values, read
from skrei.cli.universal import with_universal
from skrei.errors import Rejected
from skrei_domain.errors import Invalid


@contextlib.asynccontextmanager
async def _no_port(folder: Path, values: Values) -> AsyncIterator[None]:
    (folder / "node-1").mkdir()
    raise Rejected("no port is free")
    yield


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    found: list[Path] = []

    async def remove_runs(data: Path) -> list[str]:
        assert data.parent.parent.is_dir(), "the ids of the nodes lie in the folder"
        found.append(data)
        return []

    monkeypatch.setattr(devstack_run, "_running", _no_port)
    monkeypatch.setattr(skrei_embedded.leftovers, "remove_runs", remove_runs)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return found


def call(*words: str) -> None:
    with pytest.raises(Rejected, match="no port is free"):
        devstack_run.devstack(read(with_universal(DEVSTACK), words))


def test_a_folder_of_its_own_goes_with_what_its_nodes_left_elsewhere(removed: list[Path], tmp_path: Path) -> None:
    call("--computes", "2")
    assert [data.parent.name for data in removed] == ["node-0", "node-1", "node-2"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_its_own_goes_also_where_nobody_can_say_what_its_nodes_left(
    removed: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def remove_runs(data: Path) -> list[str]:
        removed.append(data)
        raise Invalid("SKREI_CACHE_BYTES: must be above 0")

    monkeypatch.setattr(skrei_embedded.leftovers, "remove_runs", remove_runs)
    with pytest.raises(Invalid, match="must be above 0"):
        devstack_run.devstack(read(with_universal(DEVSTACK), ()))
    assert (len(removed), list(tmp_path.iterdir())) == (1, [])


@pytest.mark.parametrize("option", ["--stack-repo", "--data-dir"])
def test_a_folder_that_was_named_stays(option: str, removed: list[Path], tmp_path: Path) -> None:
    call(option, str(tmp_path / "mine"))
    assert ((tmp_path / "mine" / "node-1").is_dir(), removed) == (True, [])
