"""Keys that were put aside, brought back: what they were, and nothing elsewhere."""

import io
import tarfile
from pathlib import Path

import pytest

from skrei_domain.errors import Invalid
from skrei_embedded import safekeeping


def packed(folder: Path, name: str, kind: bytes = tarfile.REGTYPE) -> Path:
    path = folder / "keys.tar"
    with tarfile.open(path, "w") as tar:
        whole = tarfile.TarInfo("keys")
        whole.type = tarfile.DIRTYPE
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size, entry.mode = (
            kind,
            "/etc/passwd",
            6 if kind == tarfile.REGTYPE else 0,
            0o600,
        )
        tar.addfile(whole)
        tar.addfile(entry, io.BytesIO(b"secret") if entry.isreg() else None)
    return path


def test_keys_are_brought_back_as_private_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    safekeeping._unpack(packed(tmp_path, "keys/owner"), tmp_path / "data")
    owner = tmp_path / "data/keys/owner"
    assert (owner.read_bytes(), owner.stat().st_mode & 0o777) == (b"secret", 0o600)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("keys/../../owner", tarfile.REGTYPE), ("/owner", tarfile.REGTYPE), ("keys/owner", tarfile.SYMTYPE)],
)
def test_what_is_no_key_is_refused(tmp_path: Path, name: str, kind: bytes) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(Invalid, match="no key"):
        safekeeping._unpack(packed(tmp_path, name, kind), tmp_path / "data")
    assert not (tmp_path / "owner").exists()
