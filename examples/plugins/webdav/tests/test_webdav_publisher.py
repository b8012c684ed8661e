"""The publisher by the contract of those that bring whole results, at a real WebDAV server; and what is its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from cheroot.wsgi import Server
from wsgidav.wsgidav_app import WsgiDAVApp

from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.publisher import DestinationAway, NotReadable, PublishDenied, Published
from skrei_plugin_api.testing import ForwarderContract, apart, unpacked
from skrei_publisher_webdav.publisher import WebdavPublisher

WEEKLY: Params = {"Path": "weekly/a b/ünicode"}


@dataclass(frozen=True)
class Dav:
    """A server, and the folder that it serves."""

    url: str
    root: Path


@contextmanager
def serving(root: Path, port: int = 0) -> Iterator[str]:
    (root / "results").mkdir(parents=True, exist_ok=True)
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(root)},
            "simple_dc": {"user_mapping": {"*": {"skrei": {"password": "s3cret"}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "logging": {"enable": False},
            "verbose": 0,
        }
    )
    server = Server(("127.0.0.1", port), app)
    server.prepare()
    thread = Thread(target=server.serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.bind_addr[1]}/results"
    finally:
        server.stop()
        thread.join()


@pytest.fixture(scope="module")
def dav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dav]:
    root = tmp_path_factory.mktemp("dav")
    with serving(root) as url:
        yield Dav(url, root / "results")


def to(url: str, folder: Path, login: str = "skrei:s3cret") -> WebdavPublisher:
    (folder / "login").write_text(login)
    return WebdavPublisher(
        PluginContext(folder / "state", options={"webdav_url": url, "webdav_login_file": str(folder / "login")})
    )


@pytest.fixture
def publisher(dav: Dav, tmp_path: Path) -> WebdavPublisher:
    return to(dav.url, tmp_path)


class TestWebdav(ForwarderContract):
    """What every such publisher does."""

    invalid: ClassVar[Mapping[str, Params]] = {"Path": {"Path": "../../etc/passwd"}}

    @pytest.fixture(autouse=True)
    def known(self, dav: Dav) -> None:
        self.dav = dav

    def params(self) -> Params:
        return WEEKLY

    def read(self, published: Published) -> Mapping[str, bytes]:
        assert published.params["URL"] == f"{self.dav.url}/weekly/a%20b/%C3%BCnicode.tar.gz"
        folder = self.dav.root / "weekly" / "a b"
        assert [each.name for each in folder.iterdir()] == ["ünicode.tar.gz"], "nothing is left beside it"
        found = unpacked((folder / "ünicode.tar.gz").read_bytes())
        return {name: data for name, data in found.items() if data is not None}


@pytest.mark.parametrize("path", ["", "/etc", "a//b", "..", "a/../b", "a/.", "a\nb", "x" * 1_001, 7])
async def test_a_path_stays_below_the_server_s_folder(publisher: WebdavPublisher, path: object) -> None:
    assert [problem.path for problem in publisher.validate({"Path": path})] == ["Path"]


async def test_without_a_path_an_execution_has_its_own_name(publisher: WebdavPublisher, dav: Dav) -> None:
    published = await TestWebdav().bring(publisher, TestWebdav.files, "e-7", params={})
    assert published.params == {"URL": f"{dav.url}/e-7.tar.gz"}
    assert (dav.root / "e-7.tar.gz").stat().st_size > 0


async def test_it_is_read_from_any_byte_on(publisher: WebdavPublisher, dav: Dav) -> None:
    published = await TestWebdav().bring(publisher, TestWebdav.files, "e-8", params={})
    whole = (dav.root / "e-8.tar.gz").read_bytes()
    for first in (0, 100):
        async with publisher.read("e-8", published.params, first=first) as pieces:
            assert b"".join([piece async for piece in pieces]) == whole[first:]


async def test_what_lies_at_another_server_is_not_asked_for(publisher: WebdavPublisher) -> None:
    with pytest.raises(NotReadable, match="another server"):
        async with publisher.read("e-8", {"URL": "http://127.0.0.1:1/results/e-8.tar.gz"}):
            pass


async def test_a_wrong_login_is_a_final_no_with_what_to_do(dav: Dav, tmp_path: Path) -> None:
    with pytest.raises(PublishDenied, match="answers PROPFIND /results with 401") as raised:
        await to(dav.url, tmp_path, "skrei:wrong").reach({})
    assert "webdav_login_file" in raised.value.hint


async def test_a_folder_that_is_not_there_is_a_final_no(dav: Dav, tmp_path: Path) -> None:
    with pytest.raises(PublishDenied, match="with 404"):
        await to(f"{dav.url}/gone", tmp_path).reach({})


async def test_a_server_that_is_away_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(DestinationAway, match="cannot be reached"):
        await to("http://127.0.0.1:1/results", tmp_path).reach({})


async def test_it_works_only_where_its_owner_names_a_server(tmp_path: Path) -> None:
    none = await apart(WebdavPublisher(PluginContext(tmp_path)).describe)
    assert (none.available, none.reason) == (
        False,
        "its owner names no WebDAV server (webdav_url=https://host/folder)",
    )
    unread = PluginContext(tmp_path, options={"webdav_url": "https://h/f", "webdav_login_file": str(tmp_path / "no")})
    assert "cannot be read" in (await apart(WebdavPublisher(unread).describe)).reason
