"""Which package index has this user told pip about? Read from pip's variables and files, without pip.

Whoever works behind a mirror, a proxy or a private certificate authority has told pip so once. The bootstrap takes the
same answers for its own download, and hands them to uv for everything else.
"""

import configparser
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Where Python packages come from when the user names no other place: what pip and uv do by default. The only host
# name in this repository (tests/architecture/test_repo_hygiene.py).
DEFAULT_INDEX_URL = "https://pypi.org/simple/"

SECTIONS = ("global", "install")
"""The sections of pip's files that `pip install` reads; the later one wins."""


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What pip was told about where packages come from; `None` or empty means: nothing was said."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    certificates: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout_seconds: float | None = None

    @property
    def indexes(self) -> tuple[str, ...]:
        """Simple-API indexes in the order in which to ask them."""
        return () if self.no_index else (self.index_url or DEFAULT_INDEX_URL, *self.extra_index_urls)

    def uv_environment(self) -> dict[str, str]:
        """The same settings in uv's words. What the user has told uv directly is for the caller to keep."""
        words: dict[str, str] = {}
        if self.index_url:
            words["UV_DEFAULT_INDEX"] = self.index_url
        if self.extra_index_urls:
            words["UV_INDEX"] = " ".join(self.extra_index_urls)
            # pip takes the best file of all indexes. Safe here: every file is pinned by its digest.
            words["UV_INDEX_STRATEGY"] = "unsafe-best-match"
        if self.find_links:
            words["UV_FIND_LINKS"] = ",".join(self.find_links)
        if self.trusted_hosts:
            words["UV_INSECURE_HOST"] = " ".join(self.trusted_hosts)
        if self.timeout_seconds:
            words["UV_HTTP_TIMEOUT"] = str(int(self.timeout_seconds))
        if self.certificates:
            folder = Path(self.certificates).is_dir()
            words["SSL_CERT_DIR" if folder else "SSL_CERT_FILE"] = self.certificates
        if self.proxy:
            words["HTTPS_PROXY"] = words["HTTP_PROXY"] = self.proxy
        return words


def read(environ: Mapping[str, str] | None = None, files: tuple[Path, ...] | None = None) -> PipSettings:
    """Read pip's files, later ones over earlier ones, then its variables over all of them."""
    environ = os.environ if environ is None else environ
    values: dict[str, str] = {}
    for file in config_files(environ) if files is None else files:
        values.update(_read_file(file))
    values.update(_read_environment(environ))
    timeout = values.get("timeout", values.get("default-timeout", ""))
    return PipSettings(
        index_url=_last(values.get("index-url")),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(filter(_is_there, map(_expanded, values.get("find-links", "").split()))),
        no_index=values.get("no-index", "").lower() in {"1", "true", "yes", "on"},
        certificates=_expanded(values["cert"]) if values.get("cert") else None,
        proxy=_last(values.get("proxy")),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        timeout_seconds=float(timeout) if timeout.replace(".", "", 1).isdigit() else None,
    )


def config_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that pip would read, in pip's order: system, user, virtual environment, `PIP_CONFIG_FILE`."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return ()
    home = Path(environ.get("HOME") or "~").expanduser()
    files: list[Path] = []
    if sys.platform == "darwin":
        files.append(Path("/Library/Application Support/pip/pip.conf"))
    else:
        files += [Path(folder) / "pip/pip.conf" for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    files.append(Path("/etc/pip.conf"))
    files.append(home / ".pip/pip.conf")
    files.append(Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf")
    if sys.platform == "darwin":
        files.append(home / "Library/Application Support/pip/pip.conf")
    if environ.get("VIRTUAL_ENV"):
        files.append(Path(environ["VIRTUAL_ENV"]) / "pip.conf")
    if named:
        files.append(Path(named).expanduser())
    return tuple(files)


def _read_file(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    parser.read_string(text, source=str(file))
    values: dict[str, str] = {}
    for section in SECTIONS:
        if parser.has_section(section):
            values.update((_normalised(key), value) for key, value in parser.items(section) if value)
    return values


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {_normalised(key[4:]): value for key, value in environ.items() if key.startswith("PIP_") and value}


def _normalised(key: str) -> str:
    return key.lower().replace("_", "-").removeprefix("--")


def _last(value: str | None) -> str | None:
    words = (value or "").split()
    return words[-1] if words else None


def _expanded(path: str) -> str:
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _is_there(place: str) -> bool:
    """A folder that does not exist is a warning to pip and an error to uv: it is left out."""
    return "://" in place or Path(place).exists()
