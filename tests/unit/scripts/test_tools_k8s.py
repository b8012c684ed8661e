"""What `make tools-k8s` makes of a module proxy that is away, of no compiler, and of a cluster that is built."""

from pathlib import Path

import pytest

from scripts import tools_k8s


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a cluster is built, by a compiler that fetches nothing."""
    made = tmp_path / "kubernetes"
    made.mkdir()
    for source in tools_k8s.SOURCES:
        for name in source.names:
            (made / name).touch()
        (made / f".{source.title}").write_text(source.version)
    (tmp_path / "go").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setattr(tools_k8s, "FOLDER", made)
    monkeypatch.setattr(tools_k8s, "KINDS_FOLDER", made / "kinds")
    monkeypatch.setenv("PATH", str(tmp_path))
    return made


@pytest.mark.parametrize("compiler", [True, False])
def test_kinds_that_cannot_be_had_hold_no_cluster_up_that_is_built(
    folder: Path, capsys: pytest.CaptureFixture[str], compiler: bool
) -> None:
    if not compiler:
        (folder.parent / "go").unlink()
    assert tools_k8s.main() == 0
    assert tools_k8s.unknown() == list(tools_k8s.KINDS)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(tools_k8s.KINDS)
    assert all(line.endswith("their tests will skip.") for line in said)


@pytest.mark.parametrize("compiler", [True, False])
def test_a_cluster_that_cannot_be_built_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], compiler: bool
) -> None:
    (folder / "kubelet").unlink()
    if not compiler:
        (folder.parent / "go").unlink()
    assert tools_k8s.main() == 1
    assert "`make e2e-k8s` will skip" in capsys.readouterr().err
