"""Blobs over real HTTP: the token is shown, refusals and cuts are told apart, a closed connection is opened again."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from skrei_compute_agent.blobs import Blobs, BlobUnavailable
from skrei_compute_agent.input_cache import InputCache, InputDenied
from tests.support.web import serving

DATA = b"word " * 20_000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class Door:
    """The API's door for blobs."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.mode = "serve"
        self.url = ""
        self.back_after = 10**9

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.tokens.append(request.headers["Authorization"])
        assert request.match_info["digest"] == DIGEST
        if self.mode == "deny":
            return web.json_response({"Message": "this token opens other blobs"}, status=403)
        if self.mode == "trouble" and len(self.tokens) < self.back_after:
            return web.Response(status=503)
        response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
        await response.prepare(request)
        await response.write(DATA[: len(DATA) // 2])
        if self.mode == "cut":
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(DATA[len(DATA) // 2 :])
        return response


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    app = web.Application()
    app.router.add_get("/api/v1/blobs/{digest}", made.get)
    async with serving(app) as made.url:
        yield made


@pytest.fixture
async def blobs(door: Door) -> AsyncIterator[Blobs]:
    made = Blobs(door.url, pauses_seconds=(0.0,))
    yield made
    await made.close()
    await asyncio.sleep(0)


def a_cache(folder: Path, blobs: Blobs) -> InputCache:
    cache = InputCache(folder / "cache", blobs.open, limit_bytes=10**9, blob_bytes=10**6)
    cache.open()
    return cache


async def test_a_blob_is_fetched_with_the_token_of_the_run(door: Door, blobs: Blobs, tmp_path: Path) -> None:
    path = await a_cache(tmp_path, blobs).get(DIGEST, "the-token")
    assert path.read_bytes() == DATA
    assert door.tokens == ["Bearer the-token"]


async def test_a_refusal_is_the_executions_own_doing(door: Door, blobs: Blobs, tmp_path: Path) -> None:
    door.mode = "deny"
    with pytest.raises(InputDenied, match=r"403 .*this token opens other blobs"):
        await a_cache(tmp_path, blobs).get(DIGEST, "t")


@pytest.mark.parametrize("mode", ["trouble", "cut"])
async def test_an_api_in_trouble_is_not(door: Door, blobs: Blobs, tmp_path: Path, mode: str) -> None:
    door.mode = mode
    cache = a_cache(tmp_path, blobs)
    with pytest.raises(BlobUnavailable):
        await cache.get(DIGEST, "t")
    door.mode = "serve"
    assert (await cache.get(DIGEST, "t")).read_bytes() == DATA


async def test_an_api_that_comes_back_is_waited_for(door: Door, tmp_path: Path) -> None:
    blobs = Blobs(door.url, pauses_seconds=(0.0, 0.0, 0.0))
    door.mode = "trouble"
    door.back_after = 3
    assert (await a_cache(tmp_path, blobs).get(DIGEST, "t")).read_bytes() == DATA
    await blobs.close()


async def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    blobs = Blobs("http://127.0.0.1:9", pauses_seconds=(0.0,))
    with pytest.raises(BlobUnavailable, match="cannot be fetched"):
        await a_cache(tmp_path, blobs).get(DIGEST, "t")
    await blobs.close()
