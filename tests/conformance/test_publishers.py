"""Every publisher against the contract of publishers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.publisher import Published, Publisher
from skrei_plugin_api.registry import publishers
from skrei_plugin_api.testing import PublisherContract


class TestStore(PublisherContract):
    @pytest.fixture
    async def publisher(self, tmp_path: Path) -> AsyncIterator[Publisher]:
        store = publishers().load("Store")(PluginContext(tmp_path / "store"))
        await store.start()
        yield store
        await store.close()

    async def read(self, publisher: Publisher, execution_id: str, published: Published | None) -> bytes | None:
        assert published is None
        opened = await publisher.open(execution_id)
        return None if opened is None else opened.data or (opened.path.read_bytes() if opened.path else None)
