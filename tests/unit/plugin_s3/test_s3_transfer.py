"""What a transfer holds while it goes on, and gives back however it ends."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from skrei_plugin_s3 import transfer
from skrei_plugin_s3.failures import Asked
from skrei_plugin_s3.identity import Sight
from skrei_plugin_s3.transfer import Transfer
from skrei_plugin_s3.wire import Wire

ASKED = Asked("s3://data/a", "http://h:9000", "data")
SIGHT = Sight("http://h:9000", "data", "a", "e")


class Waiting:
    """What never comes to a request."""

    wire = Wire(None)

    async def signed(
        self, bucket: str, key: str, version: str, headers: Mapping[str, str]
    ) -> tuple[str, Mapping[str, str]]:
        await asyncio.Event().wait()
        return "", headers


async def test_a_transfer_that_is_cancelled_as_it_begins_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, really, opened = asyncio.get_running_loop(), transfer._open, []

    def opening(path: Path, size: int) -> int:
        opened.append(really(path, size))
        loop.call_soon_threadsafe(running.cancel)
        return opened[0]

    monkeypatch.setattr(transfer, "_open", opening)
    running = asyncio.ensure_future(Transfer(Waiting(), ASKED, SIGHT, 1_000_000, tmp_path).run())
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
