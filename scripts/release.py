"""Releases: `make release V=0.3.0` makes this checkout say everywhere that it is that version, and gives what the
changelog has under "Unreleased" its heading. What it changed is looked at, committed and tagged (`v0.3.0`) by hand.

A release is found again by its heading in the changelog, not by its tag: tags stay behind when a branch is fetched.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from scripts.environment import ROOT

PLACES = (
    "pyproject.toml",
    "libs/**/*.toml",
    "libs/**/*.py",
    "services/**/*.toml",
    "services/**/*.py",
    "examples/plugins/**/*.toml",
    "examples/plugins/**/*.py",
    "helm/skrei/Chart.yaml",
    "docs/PLUGINS.md",
    "scripts/install.sh",
    "tests/golden/*",
    "tests/support/*.py",
    "tests/unit/**/*.py",
    "tests/architecture/*.py",
)
"""Where our version is written, as patterns of git. Tests are among them for the answers that they compare."""

UNRELEASED = "## [Unreleased]\n"
_HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", re.MULTILINE)


class ReleaseError(Exception):
    """The version cannot be released; the message says why and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Write the version that is asked for; 1 and a sentence on stderr when that cannot be."""
    try:
        if len(arguments) != 1:
            raise ReleaseError("say which version, as in `make release V=0.3.0`")
        changed = write(ROOT, current(ROOT), arguments[0], datetime.now(UTC).date().isoformat())
    except ReleaseError as error:
        sys.stderr.write(f"Nothing was changed: {error}\n")
        return 1
    sys.stdout.write(f"{changed} files say {arguments[0]} now. `make test`, commit, `git tag v{arguments[0]}`.\n")
    return 0


def current(root: Path) -> str:
    """Return the version of this checkout."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    return version


def write(root: Path, old: str, new: str, day: str) -> int:
    """Replace the old version by the new one wherever it stands, head the changelog's news; return how many changed."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", new) or _numbers(new) <= _numbers(old):
        raise ReleaseError(f"{new!r} is no version after {old}")
    changelog = root / "CHANGELOG.md"
    headed = with_heading(changelog.read_text(), new, day)
    texts = {path: path.read_text() for path in _places(root)}
    renewed = {path: with_version(text, old, new) for path, text in texts.items()} | {changelog: headed}
    changed = {path: text for path, text in renewed.items() if text != texts.get(path)}
    for path, text in changed.items():
        path.write_text(text)
    return len(changed)


def with_version(text: str, old: str, new: str) -> str:
    """Return the text with each whole mention of the old version replaced.

    `10.0.1.0` and `0.1.0.5` are none, nor is the version of somebody's interface (`wasi:cli/run@0.2.0`).
    """
    mention = rf"(wasi:[\w/-]+@)?(?<![\d.]){re.escape(old)}(?![\d]|\.\d)"
    return re.sub(mention, lambda found: found[0] if found[1] else new, text)


def with_heading(changelog: str, version: str, day: str) -> str:
    """Return the changelog with its unreleased news under the version's heading."""
    before, found, news = changelog.partition(UNRELEASED)
    if not found or not news.split("\n## ", 1)[0].strip():
        raise ReleaseError(f"CHANGELOG.md has no news under {UNRELEASED.strip()!r}: write what users will notice")
    return f"{before}{UNRELEASED}\n## [{version}] - {day}\n{news}"


def released(changelog: str) -> list[str]:
    """Return the versions that the changelog tells, newest first."""
    return _HEADING.findall(changelog)


def commit_of(version: str, root: Path = ROOT) -> str | None:
    """Return the commit that gave a release its heading, None where the history here does not reach so far."""
    if _git(root, "rev-parse", "--is-shallow-repository") == "true":
        return None  # its oldest commit would seem to have brought all that is there
    return _git(root, "log", "-1", "--format=%H", f"-S## [{version}] - ", "--", "CHANGELOG.md") or None


def before_this(root: Path = ROOT) -> list[str]:
    """Return the releases that came before what is checked out, newest first; never the one that it is."""
    first, *others = released((root / "CHANGELOG.md").read_text())
    return others if commit_of(first, root) in {None, _git(root, "rev-parse", "HEAD")} else [first, *others]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _places(root: Path) -> Iterator[Path]:
    """Yield the files that may name our version; only what git knows of, so nothing that was built."""
    for name in filter(None, _git(root, "ls-files", "-z", "--", *(f":(glob){place}" for place in PLACES)).split("\0")):
        path = root / name
        if path.suffix in {".py", ".toml", ".yaml", ".md", ".sh", ".txt", ".json"}:
            yield path


def _git(root: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
