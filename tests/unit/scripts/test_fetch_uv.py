"""Where the bootstrap finds uv's wheel, and what it refuses."""

import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts import fetch_uv
from scripts.fetch_uv import FetchError, Page
from scripts.pip_settings import PipSettings

WHEEL = "uv-test.whl"


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small wheel that holds a `uv`, pinned for every platform."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"uv-{fetch_uv.VERSION}.data/scripts/uv", "#!/bin/sh\necho here\n")
    body = buffer.getvalue()
    pinned = (WHEEL, hashlib.sha256(body).hexdigest())
    monkeypatch.setattr(fetch_uv, "WHEELS", dict.fromkeys(fetch_uv.WHEELS, pinned))
    return body


@contextmanager
def index(pages: dict[str, tuple[str, bytes]], login: str | None = None) -> Iterator[str]:
    """A package index on a free port; `login` is the Authorization it wants."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if login is not None and self.headers.get("Authorization") != login:
                self.send_error(401)
            elif self.path == "/moved/uv/":
                self.send_response(302)
                self.send_header("Location", "/simple/uv/")
                self.end_headers()
            elif self.path in pages:
                kind, body = pages[self.path]
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body)
            else:
                self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def html_index(body: bytes) -> dict[str, tuple[str, bytes]]:
    page = f'<html><a href="../../files/{WHEEL}#sha256=whatever">{WHEEL}</a></html>'
    return {"/simple/uv/": ("text/html", page.encode()), f"/files/{WHEEL}": ("application/octet-stream", body)}


def test_uv_comes_from_an_index_that_redirects_and_is_fetched_once(wheel: bytes, tmp_path: Path) -> None:
    with index(html_index(wheel)) as host:
        uv = fetch_uv.fetch(PipSettings(index_url=f"http://{host}/moved"), tmp_path)
    assert uv.read_text().endswith("echo here\n")
    assert uv.stat().st_mode & 0o111
    assert fetch_uv.fetch(PipSettings(no_index=True), tmp_path) == uv


def test_an_index_may_answer_in_json(wheel: bytes, tmp_path: Path) -> None:
    files = {"files": [{"filename": WHEEL, "url": f"/files/{WHEEL}"}]}
    pages = html_index(wheel) | {"/simple/uv/": ("application/vnd.pypi.simple.v1+json", json.dumps(files).encode())}
    with index(pages) as host:
        assert fetch_uv.fetch(PipSettings(index_url=f"http://{host}/simple/"), tmp_path).is_file()


def test_the_next_index_is_asked_when_one_has_it_not(wheel: bytes, tmp_path: Path) -> None:
    with index({}) as empty, index(html_index(wheel)) as host:
        settings = PipSettings(index_url=f"http://{empty}/simple", extra_index_urls=(f"http://{host}/simple",))
        assert fetch_uv.fetch(settings, tmp_path).is_file()


def test_a_folder_of_wheels_needs_no_index(wheel: bytes, tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(wheel)
    settings = PipSettings(find_links=(str(tmp_path),), no_index=True)
    assert fetch_uv.fetch(settings, tmp_path / "cache").is_file()


def test_credentials_in_the_address_are_sent_and_never_shown(wheel: bytes, tmp_path: Path) -> None:
    with index(html_index(wheel), login="Basic YWRhOnNlY3JldA==") as host:
        assert fetch_uv.fetch(PipSettings(index_url=f"http://ada:secret@{host}/simple"), tmp_path).is_file()
        with pytest.raises(FetchError, match="401") as refused:
            fetch_uv.fetch(PipSettings(index_url=f"http://ada:wrong@{host}/simple"), tmp_path / "other")
    assert "wrong" not in str(refused.value)


def test_other_bytes_than_the_pinned_ones_are_refused(wheel: bytes, tmp_path: Path) -> None:
    with index(html_index(wheel + b"tampered")) as host, pytest.raises(FetchError, match="digest"):
        fetch_uv.fetch(PipSettings(index_url=f"http://{host}/simple"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("wheel")
def test_a_failure_names_each_place_and_what_to_do(tmp_path: Path) -> None:
    with index({}) as host, pytest.raises(FetchError) as failed:
        fetch_uv.fetch(PipSettings(index_url=f"http://{host}/simple"), tmp_path)
    assert f"http://{host}/simple/uv/" in str(failed.value)
    assert "PIP_INDEX_URL" in str(failed.value)


def test_a_base_element_moves_relative_links() -> None:
    page = Page(
        "https://a.example/simple/uv/", "text/html", b'<base href="https://b.example/x/"><a href="uv.whl">uv</a>'
    )
    assert fetch_uv.links(page) == {"uv.whl": "https://b.example/x/uv.whl"}


@pytest.mark.parametrize(
    ("system", "machine", "libc", "part"),
    [
        ("linux", "x86_64", "glibc", "manylinux_2_17_x86_64"),
        ("linux", "x86_64", "", "musllinux_1_1_x86_64"),
        ("linux", "aarch64", "glibc", "aarch64"),
        ("darwin", "arm64", "", "macosx_11_0_arm64"),
        ("darwin", "x86_64", "", "macosx_10_12_x86_64"),
    ],
)
def test_each_supported_platform_has_its_wheel(system: str, machine: str, libc: str, part: str) -> None:
    name, digest = fetch_uv.wheel_for(system, machine, libc)
    assert part in name
    assert len(digest) == 64


def test_another_platform_is_told_to_bring_its_own_uv() -> None:
    with pytest.raises(FetchError, match="install uv yourself"):
        fetch_uv.wheel_for("linux", "riscv64", "glibc")
