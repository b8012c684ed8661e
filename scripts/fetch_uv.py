"""Fetch uv, the tool that installs everything else, from the package index with the standard library alone.

One version is pinned, by the digest of its wheel for each platform: whatever the index says, these bytes or none.
"""

import base64
import hashlib
import html.parser
import io
import json
import netrc
import os
import platform
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from scripts.pip_settings import PipSettings

VERSION = "0.13.8"

WHEELS = {
    # platform: (wheel, sha256 of the wheel)
    "linux-x86_64-glibc": (
        f"uv-{VERSION}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984",
    ),
    "linux-x86_64-musl": (
        f"uv-{VERSION}-py3-none-musllinux_1_1_x86_64.whl",
        "29451c60f5e8b07403e0a175d5229efc36b0289b34143ff4aaa499a5dd52553a",
    ),
    "linux-aarch64-glibc": (
        f"uv-{VERSION}-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
        "0b3e8b1a4f5e405e31e2ff33de8af4744831e9f7338539671efbd8c3c94e791d",
    ),
    "linux-aarch64-musl": (
        f"uv-{VERSION}-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
        "0b3e8b1a4f5e405e31e2ff33de8af4744831e9f7338539671efbd8c3c94e791d",
    ),
    "darwin-arm64": (
        f"uv-{VERSION}-py3-none-macosx_11_0_arm64.whl",
        "62b6943c7fd64fac6854f780bea6e0359e5a5bc3241f83ee357bb38276afac49",
    ),
    "darwin-x86_64": (
        f"uv-{VERSION}-py3-none-macosx_10_12_x86_64.whl",
        "b7124ca1956ec2e476a1003ea5715a15f0266afaec37f4dc9c6972ba8183e6d1",
    ),
}

ATTEMPTS = 3  # a dropped connection is common on a first download; a third failure is not an accident
TIMEOUT_SECONDS = 60.0  # of silence on the connection, unless pip was given another
MAX_BYTES = 200 << 20  # a wheel of uv has about 25 MB and an index page 2 MB: more is not what was asked for
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class FetchError(Exception):
    """uv could not be fetched; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Page:
    """A fetched document and the address that it finally came from."""

    url: str
    media_type: str
    body: bytes


def fetch(settings: PipSettings, into: Path) -> Path:
    """Return the path of uv under `into`, downloading it on first use. The file appears whole or not at all."""
    target = into / f"uv-{VERSION}" / "uv"
    if target.is_file():
        return target
    wheel, digest = wheel_for(sys.platform, platform.machine(), platform.libc_ver()[0])
    sys.stderr.write(f"Fetching uv {VERSION} (it installs the rest) ...\n")
    body = _find(settings, wheel)
    found = hashlib.sha256(body).hexdigest()
    if found != digest:
        raise FetchError(f"{wheel} has the digest sha256:{found}; this repository pins sha256:{digest}. Not used.")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        binary = archive.read(f"uv-{VERSION}.data/scripts/uv")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"uv.{os.getpid()}")
    partial.write_bytes(binary)
    partial.chmod(0o755)
    partial.replace(target)
    return target


def wheel_for(system: str, machine: str, libc: str) -> tuple[str, str]:
    """Return the name and digest of the wheel for a platform, as Python names it."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine.lower())
    if system == "darwin":
        key = f"darwin-{'arm64' if machine == 'aarch64' else machine}"
    else:
        key = f"{system}-{machine}-{'glibc' if libc == 'glibc' else 'musl'}"
    if key not in WHEELS:
        raise FetchError(f"no uv is pinned for {key}: install uv yourself, put it on PATH, and try again")
    return WHEELS[key]


def _find(settings: PipSettings, wheel: str) -> bytes:
    """Ask each place that pip would ask, and return the first copy of the wheel."""
    tried = []
    for place in settings.find_links:
        if "://" not in place and Path(place).is_dir():
            if (Path(place) / wheel).is_file():
                return (Path(place) / wheel).read_bytes()
            tried.append(place)
    pages = [place if "://" in place else Path(place).resolve().as_uri() for place in settings.find_links]
    pages = [page for page, place in zip(pages, settings.find_links, strict=True) if place not in tried]
    for url in [*pages, *(index.rstrip("/") + "/uv/" for index in settings.indexes)]:
        try:
            page = _get(url, settings)
            link = links(page).get(wheel)
            if link is not None:
                return _get(link, settings, like=url).body
            tried.append(f"{_shown(url)} (does not list it)")
        except OSError as error:
            tried.append(f"{_shown(url)} ({_explained(error)})")
    raise FetchError(
        f"could not get {wheel} from: {'; '.join(tried) or 'nowhere, since pip is told no-index'}.\n"
        "Tell pip about your mirror, proxy or certificates (PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT or pip.conf), or "
        "install uv yourself and put it on PATH; then try again."
    )


def links(page: Page) -> dict[str, str]:
    """Return the files that an index page lists: name to absolute address. HTML (PEP 503) or JSON (PEP 691)."""
    if "json" in page.media_type:
        listed = [(file["filename"], file["url"]) for file in json.loads(page.body)["files"]]
        base = page.url
    else:
        parser = _Anchors()
        parser.feed(page.body.decode("utf-8", errors="replace"))
        base = urllib.parse.urljoin(page.url, parser.base)
        listed = [(_file_name(href), href) for href in parser.hrefs]
    return {name: urllib.parse.urldefrag(urllib.parse.urljoin(base, href)).url for name, href in listed}


class _Anchors(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href and tag == "a":
            self.hrefs.append(href)
        elif href and tag == "base":
            self.base = href


def _file_name(href: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(href).path.rsplit("/", 1)[-1])


def _get(url: str, settings: PipSettings, like: str | None = None) -> Page:
    """GET with redirects, proxies and credentials; a lost connection or a 5xx is tried again.

    `like` is the index that named this address: its credentials hold for files on the same host.
    """
    parts = urllib.parse.urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(bare, headers={"Accept": ACCEPT, "User-Agent": "skrei-bootstrap"})
    login = _login(url, like)
    if login:
        # Unredirected: another host must not learn it.
        request.add_unredirected_header("Authorization", f"Basic {login}")
    opener = urllib.request.build_opener(*_handlers(settings, parts.hostname or ""))
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with opener.open(request, timeout=settings.timeout_seconds or TIMEOUT_SECONDS) as answer:
                body = answer.read(MAX_BYTES + 1)
                if len(body) > MAX_BYTES:
                    raise FetchError(f"{_shown(url)} answers with more than {MAX_BYTES >> 20} MiB")
                return Page(answer.url, answer.headers.get_content_type(), body)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 or attempt == ATTEMPTS:
                raise
        except OSError as error:
            if attempt == ATTEMPTS or isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                raise
    raise AssertionError("the last attempt returns or raises")


def _handlers(settings: PipSettings, host: str) -> list[urllib.request.BaseHandler]:
    if host in settings.trusted_hosts:
        context = ssl._create_unverified_context()  # the user told pip so; the digest still decides
    elif settings.certificates and Path(settings.certificates).is_dir():
        context = ssl.create_default_context(capath=settings.certificates)
    else:
        context = ssl.create_default_context(cafile=settings.certificates)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if settings.proxy:
        handlers.append(urllib.request.ProxyHandler({"http": settings.proxy, "https": settings.proxy}))
    return handlers


def _login(url: str, like: str | None) -> str | None:
    """Return the basic-auth word for an address: written in it, in the index's that named it, or in ~/.netrc."""
    parts = urllib.parse.urlsplit(url)
    for candidate in (parts, urllib.parse.urlsplit(like or "")):
        if candidate.hostname == parts.hostname and candidate.username is not None:
            user, password = candidate.username, candidate.password or ""
            return _basic(urllib.parse.unquote(user), urllib.parse.unquote(password))
    try:
        entry = netrc.netrc().authenticators(parts.hostname or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return _basic(entry[0], entry[2] or "") if entry else None


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _shown(url: str) -> str:
    """The address without what is secret in it."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _explained(error: OSError) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"{reason.verify_message}: no certificate authority vouches for it; is ca-certificates installed?"
    return str(error)
