"""Every relative link of the Markdown files leads to something that is there."""

import re
import subprocess
from pathlib import Path

from scripts.environment import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
ELSEWHERE = ("http://", "https://", "mailto:", "#")


def broken(file: Path) -> list[str]:
    targets = [target for target in LINK.findall(file.read_text("utf-8")) if not target.startswith(ELSEWHERE)]
    return [target for target in targets if not (file.parent / target.partition("#")[0]).exists()]


def test_every_relative_link_leads_somewhere() -> None:
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert ROOT / "README.md" in files
    assert {str(file.relative_to(ROOT)): found for file in files if (found := broken(file))} == {}


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](page.md#part) [b](gone.md) [c](https://example.org/x)")
    assert broken(page) == ["gone.md"]
