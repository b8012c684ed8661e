"""Make `.venv` hold exactly what `requirements/` pins, and this workspace's packages; do nothing when it does already.

Two profiles: `runtime` is what `make demo` needs, `dev` adds tools and tests. A checkout that has had `dev` once
stays there, since it contains `runtime`.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts import fetch_uv, pip_settings

ROOT = Path(__file__).resolve().parent.parent
NEWEST = (3, 14)  # the newest Python that Skrei was run with: CONTRIBUTING.md tells what of it
OLDEST_UV = (0, 7, 0)  # the oldest that this was tried with; an older one on PATH is passed over
BUILD = "requirements/build.txt"
"""The build backends, pinned like the rest: nothing is built in an isolated environment of unpinned ones."""


class SetUpError(Exception):
    """The environment could not be made; the message says why and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Set up the asked-for profile; 1 and a sentence on stderr when that fails."""
    parser = argparse.ArgumentParser(prog="python3 -m scripts.bootstrap", description=__doc__)
    parser.add_argument("profile", choices=["runtime", "dev"])
    profile = parser.parse_args(arguments).profile
    try:
        with one_at_a_time(ROOT / ".cache"):
            set_up(profile)
            if profile == "dev":
                from scripts import clients

                clients.set_up()
    except (SetUpError, fetch_uv.FetchError) as error:
        sys.stderr.write(f"Set-up failed: {error}\n{too_new(sys.version_info[:2])}")
        return 1
    except PermissionError as error:
        sys.stderr.write(
            f"Set-up failed: {error.filename} cannot be written by this user. Was `make` run as root here before? "
            "Give the checkout to one user, or use a clone of your own.\n"
        )
        return 1
    return 0


def too_new(version: tuple[int, int]) -> str:
    """Return what a failure may have to do with this Python: of the newest, not all that is pinned has wheels."""
    if version <= NEWEST:
        return ""
    return (
        "Skrei was run with Python {2}.{3} at most; for {0}.{1} not all that it needs may be there. Name an older one, "
        "for example: make demo PYTHON=python{2}.{3}\n".format(*version, *NEWEST)
    )


@contextmanager
def one_at_a_time(cache: Path) -> Iterator[None]:
    """Wait while another set-up works in the same checkout; the lock goes with the process, however it ends."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "bootstrap.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("Another set-up is at work in this checkout; waiting for it ...\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_up(profile: str) -> None:
    """Bring `.venv` to the profile. The stamp is written last, so that an interrupted set-up is done again."""
    venv, stamp = ROOT / ".venv", ROOT / ".venv/skrei-stamp.json"
    done = read_stamp(stamp)
    if done.get("profile") == "dev":
        profile = "dev"
    wanted = {"profile": profile, "place": place(), "digest": _digest(profile)}
    if done == wanted and (venv / "bin/python").exists():
        return
    settings = pip_settings.read()
    environment = uv_environment(settings, os.environ)
    uv = find_uv(settings, environment)
    if (done and done["place"] != wanted["place"]) or not _is_ours(venv):
        # Scripts in a venv name their interpreter by absolute path: another Python or a moved checkout starts anew.
        shutil.rmtree(venv, ignore_errors=True)
    stamp.unlink(missing_ok=True)
    if not venv.exists():
        run([uv, "venv", "--quiet", "--python", base_python(), ".venv"], environment)
    environment["VIRTUAL_ENV"] = str(venv)
    flags = ["--no-index"] if settings.no_index else []
    sys.stderr.write(f"Installing what requirements/{profile}.txt pins into .venv ...\n")
    install = [uv, "pip", "install", "--quiet", *flags]
    hashed = ["--require-hashes", "--no-build-isolation"]
    run([*install, *hashed, "-r", BUILD], environment)
    run([*install, *hashed, "-r", f"requirements/{profile}.txt"], environment)
    if profile == "dev":
        # A test must not pass by a package that was left over. A demo takes nothing away: it may be somebody else's.
        _remove_left_overs(uv, environment)
    packages = [part for package in members(ROOT) for part in ("-e", f"./{package.relative_to(ROOT)}")]
    run([*install, "--no-deps", "--no-build-isolation", *packages], environment)
    stamp.write_text(json.dumps(wanted))


def _remove_left_overs(uv: str, environment: Mapping[str, str]) -> None:
    """Uninstall what neither `requirements/dev.txt` nor the workspace asks for."""
    text = "".join((ROOT / file).read_text() for file in ("requirements/dev.txt", BUILD))
    wanted = {_normalised(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}
    wanted |= {_normalised(project_name(folder)) for folder in members(ROOT)}
    listed = subprocess.run(
        [uv, "pip", "list", "--format", "json"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    left_over = {package["name"] for package in json.loads(listed.stdout)} - wanted
    if left_over:
        run([uv, "pip", "uninstall", "--quiet", *sorted(left_over)], environment)


def project_name(folder: Path) -> str:
    """Return the name of the package in a folder."""
    return str(tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"])


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def members(root: Path) -> list[Path]:
    """Return the folders of the workspace's packages, as the root pyproject.toml lists them."""
    workspace = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]
    found = {folder for pattern in workspace["members"] for folder in root.glob(pattern)}
    return sorted(folder for folder in found if (folder / "pyproject.toml").is_file())


def find_uv(settings: pip_settings.PipSettings, environment: dict[str, str]) -> str:
    """Return a uv: the one on PATH when it is recent enough, else the pinned one, fetched into `.cache/`."""
    on_path = shutil.which("uv")
    if on_path:
        answer = subprocess.run([on_path, "--version"], capture_output=True, text=True, check=False)
        if parse_version(answer.stdout) >= OLDEST_UV:
            return on_path
    # Python's TLS has just trusted the system's certificates; uv's own default may be a built-in list.
    environment.setdefault("UV_SYSTEM_CERTS", "1")
    return str(fetch_uv.fetch(settings, ROOT / ".cache"))


def parse_version(text: str) -> tuple[int, ...]:
    """Return the numbers of `uv 0.13.8 (...)`; nothing that looks like a version is older than everything."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def uv_environment(settings: pip_settings.PipSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for uv: what pip was told, below what the user told uv."""
    environment = settings.uv_environment() | dict(environ)
    environment["UV_PYTHON_DOWNLOADS"] = "never"  # the Python that runs this is the one wanted
    environment.pop("UV_PROJECT_ENVIRONMENT", None)
    if "UV_CACHE_DIR" not in environment and not _has_cache_folder(environ):
        environment["UV_CACHE_DIR"] = str(ROOT / ".cache/uv")
    return environment


def _has_cache_folder(environ: Mapping[str, str]) -> bool:
    """Can uv keep its cache where it would? A home may be missing or read-only."""
    home = environ.get("HOME", "")
    folder = Path(environ.get("XDG_CACHE_HOME") or f"{home}/.cache") / "uv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return bool(home)
    except OSError:
        return False


def run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SetUpError(f"`uv {' '.join(command[1:3])}` ended with {done.returncode}; its message stands above.")


def base_python() -> str:
    """Return the interpreter itself when this runs inside some virtual environment."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def place(folder: Path = ROOT) -> str:
    """Return which folder and which Python an environment was made for."""
    return f"{folder} with Python {sys.version.split()[0]} at {base_python()}"


def _is_ours(venv: Path) -> bool:
    """Does `.venv` hold a working interpreter of this very version? (Somebody may have made it by other means.)"""
    python = venv / "bin/python"
    if not python.exists():
        return False
    code = "import sys; print(sys.version.split()[0])"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == sys.version.split()[0]


def _digest(profile: str) -> str:
    files = [Path(__file__), ROOT / f"requirements/{profile}.txt", ROOT / BUILD]
    files += [package / "pyproject.toml" for package in members(ROOT)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(ROOT)}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def read_stamp(stamp: Path) -> dict[str, str]:
    """Return what an environment was brought to last; empty for none, and for one that was interrupted."""
    try:
        read = json.loads(stamp.read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}
    return read if isinstance(read, dict) and "place" in read else {}
