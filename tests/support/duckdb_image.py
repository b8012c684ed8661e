"""The image of DuckDB's program that an example names, made here of that program: none can be pulled."""

import importlib.util
import io
import re
import subprocess
import tarfile
from pathlib import Path

from tests.support.docker_daemon import DockerDaemon

IMAGE = "duckdb/duckdb:1.5.4"


def duckdb() -> Path:
    """Return the program."""
    found = importlib.util.find_spec("duckdb_cli")  # found, not imported: what is wanted of it is a file
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("duckdb")


def import_duckdb(daemon: DockerDaemon) -> None:
    """Make the image: the program and the libraries that it is linked with, as in the one of its makers."""
    linked = subprocess.run(["ldd", duckdb()], capture_output=True, text=True, check=True, timeout=10).stdout
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(duckdb(), "duckdb", filter=_executable)
        for path in re.findall(r"(/\S+) \(0x", linked):
            tar.add(Path(path).resolve(), path.lstrip("/"))
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    words = ("--change", "ENV PATH=/", "--change", 'CMD ["/duckdb"]')
    daemon.cli("import", *words, "-", IMAGE, data=buffer.getvalue())


def _executable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode = 0o755
    return member
