"""How far servers of objects are: those that the owner names, and those that jobs have read from."""

import asyncio
from pathlib import Path

import pytest

from skrei_domain.object_servers import amazon
from skrei_plugin_api.outbound import Outbound, networks
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_s3.nearness import MOST_SEEN, Seen, measured, named_servers
from skrei_plugin_s3.params import S3Input
from skrei_plugin_s3.settings import S3Settings
from skrei_plugin_s3.storage import S3Storage

CONFIG = """
[default]
endpoint_url = http://mine.example:9000/
region = eu-west-1
[profile far]
endpoint_url = https://far.example
[profile other]
endpoint_url = https://nobody-named.example
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(CONFIG)
    return {"HOME": str(tmp_path)}


def test_those_are_measured_that_the_owner_names(home: dict[str, str]) -> None:
    settings = S3Settings(profiles=("far", "gone"))
    assert named_servers(settings, home) == (
        {"https://far.example": False, "http://mine.example:9000": True},
        "eu-west-1",
    )
    told, region = named_servers(
        S3Settings(), home | {"AWS_ENDPOINT_URL_S3": "https://user:secret@own.example", "AWS_REGION": "us-west-2"}
    )
    assert (told, region) == ({"https://own.example": True}, "us-west-2")
    assert named_servers(S3Settings(), home | {"AWS_ENDPOINT_URL": "nonsense"})[0] == {}
    assert named_servers(S3Settings(), {"HOME": "/nowhere"}) == ({}, "")


def test_those_are_measured_that_jobs_have_read_from_and_amazon_only_then() -> None:
    seen = Seen()
    assert seen.servers({}, "") == {}
    seen.note(S3Input("b"))
    seen.note(S3Input("b", endpoint="HTTP://Store.example:80", region="eu-1"))
    assert seen.servers({}, "eu-west-1") == {amazon("eu-west-1"): "eu-west-1", "http://store.example": "eu-1"}
    assert seen.servers({"http://mine": True}, "") == {"http://mine": "", "http://store.example": "eu-1"}
    for number in range(2 * MOST_SEEN):
        seen.note(S3Input("b", endpoint=f"http://h{number}.example"))
    assert len(seen.servers({}, "")) == MOST_SEEN


async def test_a_connection_is_measured_and_what_may_not_be_reached_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[None] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(None)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        url, away = f"http://127.0.0.1:{port}", "http://127.0.0.1:1025"
        seen = Seen()
        seen.note(S3Input("b", endpoint=url))
        seen.note(S3Input("b", endpoint=away))
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        assert await measured(seen, S3Settings(), Outbound()) == ()
        assert not connected, "a loopback address is nothing that a job may look at"
        (found,) = await measured(seen, S3Settings(), Outbound(None, networks(["127.0.0.0/8"])))
        assert (found.url, found.usual) == (url, False)
        assert 0 < found.latency_micros < 3_000_000
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        storage = S3Storage(PluginContext(tmp_path))
        (mine,) = (await storage.near()).servers
        assert (mine.url, mine.usual) == (url, True), "what the owner names may lie anywhere"
