"""A release is written everywhere by one command, and found again without a tag."""

import subprocess
from pathlib import Path

import pytest

from scripts import release

CHANGELOG = """# Changelog

## [Unreleased]

- More of it.

## [7.1.0] - 2026-11-26

- The first.
"""
PYPROJECT = '[project]\nversion = "7.1.0"\ndependencies = ["skrei-kit[nats]==7.1.0", "other>=17.1.0"]\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "libs/kit").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "libs/kit/pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "libs/kit/built.toml").write_text(PYPROJECT)
    (tmp_path / ".gitignore").write_text("built.toml\n")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "Release 7.1.0"]):
        _git(tmp_path, *command)
    return tmp_path


def test_every_place_and_the_changelog_say_the_new_version(checkout: Path) -> None:
    assert release.write(checkout, release.current(checkout), "7.2.0", "2027-01-02") == 3
    changed = PYPROJECT.replace('"7.1.0"', '"7.2.0"').replace("==7.1.0", "==7.2.0")
    assert (checkout / "pyproject.toml").read_text() == (checkout / "libs/kit/pyproject.toml").read_text() == changed
    assert (checkout / "libs/kit/built.toml").read_text() == PYPROJECT, "git does not know it, so it is nobody's source"
    changelog = (checkout / "CHANGELOG.md").read_text()
    assert release.released(changelog) == ["7.2.0", "7.1.0"]
    assert "## [Unreleased]\n\n## [7.2.0] - 2027-01-02\n\n- More of it.\n" in changelog


def test_a_release_is_found_by_its_heading_whatever_came_after(checkout: Path) -> None:
    first = _git(checkout, "rev-parse", "HEAD")
    release.write(checkout, "7.1.0", "7.2.0", "2027-01-02")
    assert release.before_this(checkout) == ["7.1.0"], "not committed yet"
    _git(checkout, "commit", "-qam", "Release 7.2.0")
    assert release.before_this(checkout) == ["7.1.0"], "it is 7.2.0"
    second = _git(checkout, "rev-parse", "HEAD")
    with (checkout / "CHANGELOG.md").open("a") as changelog:
        changelog.write("\nCorrected since.\n")
    _git(checkout, "commit", "-qam", "Correct the changelog")
    assert [release.commit_of(version, checkout) for version in ("7.1.0", "7.2.0", "7.3.0")] == [first, second, None]
    assert release.before_this(checkout) == ["7.2.0", "7.1.0"]


def test_of_a_shallow_history_no_release_is_told(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    _git(checkout, "commit", "-q", "--allow-empty", "-m", "More")
    shallow = tmp_path_factory.mktemp("shallow") / "clone"
    _git(checkout, "clone", "-q", "--depth", "1", f"file://{checkout}", str(shallow))
    assert release.commit_of("7.1.0", shallow) is None


@pytest.mark.parametrize("version", ["7.1.0", "7.0.9", "7.2", "v7.2.0", "next"])
def test_what_is_no_later_version_changes_nothing(checkout: Path, version: str) -> None:
    with pytest.raises(release.ReleaseError, match="no version after 7\\.1\\.0"):
        release.write(checkout, "7.1.0", version, "2027-01-02")
    assert not _git(checkout, "status", "--porcelain")


def test_a_release_without_news_is_none(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text(CHANGELOG.replace("- More of it.\n\n", ""))
    with pytest.raises(release.ReleaseError, match="no news"):
        release.write(checkout, "7.1.0", "7.2.0", "2027-01-02")


def test_a_longer_number_is_another() -> None:
    text = "7.1.0, v7.1.0. 17.1.0 7.1.0.5 7.1.00 a.7.1.0"
    assert release.with_version(text, "7.1.0", "7.2.0") == "7.2.0, v7.2.0. 17.1.0 7.1.0.5 7.1.00 a.7.1.0"


def _git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
    return subprocess.run(
        ["git", *who, *command], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_version_of_an_interface_is_not_ours() -> None:
    text = 'RUN = "wasi:cli/run@7.1.0"  # for skrei 7.1.0, pkg:pypi/skrei-kit@7.1.0'
    told = release.with_version(text, "7.1.0", "7.2.0")
    assert told == 'RUN = "wasi:cli/run@7.1.0"  # for skrei 7.2.0, pkg:pypi/skrei-kit@7.2.0'
