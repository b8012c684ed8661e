"""Folders of a cluster's keys as data of Secrets, and back."""

import re
from pathlib import Path

from skrei_plugin_kubernetes.secrets import packed, unpack

KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
"""What Kubernetes takes for a key."""


def test_what_lies_in_folders_comes_back_as_it_was_and_for_its_owner_alone(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for name in ("authority.json", "nats-ca.pem", "sites/farm/site.seed", "sites/farm/places", "sites/big-ship/places"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(f"{name} \u00f8".encode())
    data = packed(here)
    assert all(KEY.fullmatch(name) for name in data)
    unpack(data, there)
    files = {path.relative_to(here): path for path in here.rglob("*") if path.is_file()}
    assert len(files) == 5
    for within, path in files.items():
        assert (there / within).read_bytes() == path.read_bytes()
        assert (there / within).stat().st_mode & 0o77 == 0


def test_nothing_is_unpacked_outside_and_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    unpack({".._.._etc_passwd": "eA=="}, tmp_path / "here")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [Path("here/etc/passwd")]
    assert packed(tmp_path / "nowhere") == {}
