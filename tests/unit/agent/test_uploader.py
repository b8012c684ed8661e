"""The uploader against a real door: it goes on where it was, and gives up only for what no further try mends."""

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from skrei_compute_agent import upload_attempt
from skrei_compute_agent import uploader as module
from skrei_compute_agent.upload_attempt import PARALLEL_PARTS
from skrei_compute_agent.upload_errors import PublishFailed, ResultDamaged, ResultTooLarge
from skrei_compute_agent.uploader import Uploader
from skrei_domain.uploads import Parcel, UploadAnswer, UploadPlan, UploadRequest
from skrei_plugin_api import staged
from skrei_plugin_api.staged import DEFAULTS
from skrei_plugin_api.testing import eventually
from skrei_plugin_api.upload_folder import PART_BYTES
from tests.support.publisher_door import Door, Proxy, a_door
from tests.support.web import serving

PARTS = 6
SECONDS = 30.0


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(module, "AGAIN_MAX_SECONDS", 0.05)
    monkeypatch.setattr(module, "FIRST_NOTE_SECONDS", 0.0)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with a_door(tmp_path / "store") as made:
        yield made


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """Five whole parts and a short one."""
    path = tmp_path / "result.tar.gz"
    block = hashlib.shake_128(b"noise").digest(1 << 20)
    with path.open("wb") as file:
        for _ in range((PARTS - 1) * PART_BYTES // len(block)):
            file.write(block)
        file.write(block[:1000])
    return path


def parcel(path: Path, execution_id: str = "e-1") -> Parcel:
    with path.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return Parcel(execution_id=execution_id, digest=digest, size=path.stat().st_size)


async def upload(url: str, door: Door, result: Path, **given: float) -> str:
    made = Uploader(**given)
    made.door(url)
    async with asyncio.timeout(SECONDS):
        return await made.upload(result, parcel(result), door.token())


async def test_a_result_arrives_whole_and_its_receipt_says_so(door: Door, result: Path) -> None:
    receipt = door.read(await upload(door.url, door, result))
    assert (receipt.execution_id, receipt.digest, receipt.size) == ("e-1", parcel(result).digest, parcel(result).size)
    await door.publisher.finalise(parcel(result), receipt.place)
    assert door.publisher.store.holds("e-1", parcel(result).digest)
    assert door.parts() == PARTS


async def test_a_system_that_takes_no_advice_about_its_files_uploads_as_well(
    door: Door, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fadvise")  # as on macOS
    monkeypatch.delattr(os, "POSIX_FADV_WILLNEED")
    receipt = door.read(await upload(door.url, door, result))
    assert receipt.digest == parcel(result).digest


async def test_a_link_that_is_cut_at_half_costs_only_the_parts_that_were_on_it(door: Door, result: Path) -> None:
    proxy = Proxy(int(door.url.rsplit(":", 1)[1]), cut_after=parcel(result).size // 2)
    url = await proxy.start()
    try:
        await upload(url, door, result)
    finally:
        await proxy.stop()
    assert proxy.cuts == 2  # the one in the middle, and the end
    assert door.parts() == PARTS, "a part that had come was sent again"
    assert proxy.passed < parcel(result).size + (PARALLEL_PARTS + 1) * PART_BYTES


async def test_what_comes_in_small_packets_is_read_to_its_end(door: Door, tmp_path: Path) -> None:
    proxy = Proxy(int(door.url.rsplit(":", 1)[1]), crumbs=100)
    small = tmp_path / "small.tar.gz"
    small.write_bytes(b"no larger than a parcel's own words" * 10)
    try:
        receipt = door.read(await upload(await proxy.start(), door, small))
    finally:
        await proxy.stop()
    assert receipt.size == small.stat().st_size


async def test_a_publisher_that_is_killed_and_comes_back_gets_the_rest(door: Door, result: Path) -> None:
    proxy = Proxy(int(door.url.rsplit(":", 1)[1]), cut_after=parcel(result).size // 2)
    url = await proxy.start()
    uploading = asyncio.create_task(upload(url, door, result))
    await eventually(lambda: proxy.cuts > 0)
    await door.stop()
    await door.start()
    receipt = door.read(await uploading)
    await proxy.stop()
    assert receipt.digest == parcel(result).digest
    assert door.parts() == PARTS


async def test_another_process_goes_on_with_what_this_one_began(door: Door, result: Path) -> None:
    proxy = Proxy(int(door.url.rsplit(":", 1)[1]))
    url = await proxy.start()
    uploading = asyncio.create_task(upload(url, door, result))
    await eventually(lambda: door.parts() >= 2)
    uploading.cancel()
    await asyncio.gather(uploading, return_exceptions=True)
    await proxy.stop()
    await upload(door.url, door, result)
    assert door.parts() <= PARTS, "a part that had come was sent again"


async def test_a_plan_that_does_not_hold_all_parts_is_followed_by_the_next(
    door: Door, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staged, "PLAN_PARTS", 2)
    await upload(door.url, door, result)
    assert door.parts() == PARTS
    assert door.answered.count(("POST", "/uploads/e-1")) == PARTS / 2


async def test_a_door_that_is_told_of_later_is_waited_for(door: Door, result: Path) -> None:
    made = Uploader()
    uploading = asyncio.create_task(made.upload(result, parcel(result), door.token()))
    await asyncio.sleep(0)
    made.door(door.url)
    async with asyncio.timeout(SECONDS):
        await uploading


async def test_no_door_at_all_is_final(result: Path, door: Door) -> None:
    with pytest.raises(PublishFailed, match="no publisher"):
        await upload("", door, result)


async def test_a_publisher_in_trouble_is_asked_again(door: Door, result: Path) -> None:
    door.broken = True
    uploading = asyncio.create_task(upload(door.url, door, result))
    await eventually(lambda: door.refused > 0)
    assert not uploading.done()
    door.broken = False
    await uploading


async def test_results_that_wait_hold_up_no_other(result: Path) -> None:
    """Where a job's own server is away for good, nothing ends that but its user."""
    refused = asyncio.Queue[str]()

    async def answer(request: web.Request) -> web.Response:
        if (execution_id := request.match_info["execution_id"]) == "e-1":
            return web.json_response(UploadAnswer(receipt="came").model_dump(mode="json"))
        refused.put_nowait(execution_id)
        return web.Response(status=503)

    app, made = web.Application(), Uploader()
    app.router.add_post("/uploads/{execution_id}", answer)
    async with serving(app) as url, asyncio.timeout(SECONDS):
        made.door(url)
        waiting = [
            asyncio.create_task(made.upload(result, parcel(result, f"e-away-{number}"), "token"))
            for number in range(module.PARALLEL_UPLOADS)
        ]
        while len({await refused.get() for _ in waiting}) < len(waiting):
            pass  # until all of them have been refused
        assert await made.upload(result, parcel(result), "token") == "came"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such time")
async def test_a_server_that_takes_nothing_is_left(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_attempt, "SILENCE_SECONDS", 0.5)
    told = asyncio.Queue[str]()
    sent = parcel(result)
    frozen = socket.create_server(("127.0.0.1", 0))  # it takes no connection, so it reads nothing
    there = f"http://127.0.0.1:{frozen.getsockname()[1]}/object"

    async def answer(_: web.Request) -> web.Response:
        plan = UploadPlan(requests=(UploadRequest(url=there, headers={}, first=0, size=sent.size),), trusted=True)
        return web.json_response(UploadAnswer(plan=plan).model_dump(mode="json"))

    app, made = web.Application(), Uploader()
    app.router.add_post("/uploads/{execution_id}", answer)
    async with serving(app) as url, asyncio.timeout(SECONDS):
        made.door(url)
        uploading = asyncio.create_task(made.upload(result, sent, "token", told.put_nowait))
        while "cannot be reached" not in await told.get():
            pass
        uploading.cancel()
        await asyncio.wait([uploading])
    frozen.close()


async def test_what_a_result_waits_for_is_told_by_its_address(door: Door, result: Path) -> None:
    told: list[str] = []
    made = Uploader()
    made.door("http://127.0.0.1:1")
    uploading = asyncio.create_task(made.upload(result, parcel(result), door.token(), told.append))
    await eventually(lambda: bool(told))
    assert told[0].startswith("http://127.0.0.1:1 cannot be reached by this node: "), told
    made.door(door.url)
    async with asyncio.timeout(SECONDS):
        await uploading


@pytest.mark.parametrize(
    ("most", "seconds", "kind", "match"),
    [
        (10, 600.0, ResultTooLarge, "at most 10 are taken"),
        (1 << 40, -600.0, PublishFailed, "right to upload has expired"),
    ],
)
async def test_what_no_further_try_mends_is_final(
    door: Door, result: Path, *, most: int, seconds: float, kind: type[Exception], match: str
) -> None:
    made = Uploader()
    made.door(door.url)
    with pytest.raises(kind, match=match):
        await made.upload(result, parcel(result), door.token(most=most, seconds=seconds))


async def test_a_full_store_is_waited_for_then_said_and_nothing_is_left(tmp_path: Path, result: Path) -> None:
    limits = replace(DEFAULTS, quota_bytes=1000)
    async with a_door(tmp_path / "small", limits) as small:
        with pytest.raises(PublishFailed, match=r"The result store is full.*SKREI_QUOTA_BYTES"):
            await upload(small.url, small, result, full_seconds=0.1)
        assert list((tmp_path / "small" / "uploads").iterdir()) == []


async def test_a_damaged_file_is_told_from_a_damaged_upload(door: Door, result: Path) -> None:
    announced = parcel(result)
    with result.open("r+b") as file:
        file.write(b"damaged")
    made = Uploader()
    made.door(door.url)
    with pytest.raises(ResultDamaged):
        await made.upload(result, announced, door.token())


async def test_a_file_that_became_shorter_is_not_tried_for_ever(door: Door, result: Path) -> None:
    announced = parcel(result)
    with result.open("r+b") as file:
        file.truncate(PART_BYTES)
    made = Uploader()
    made.door(door.url)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(ResultDamaged, match="shorter"):
            await made.upload(result, announced, door.token())


async def test_what_is_dropped_is_told_to_the_publisher(door: Door, result: Path) -> None:
    made = Uploader()
    made.door(door.url)
    uploading = asyncio.create_task(made.upload(result, parcel(result), door.token()))
    await eventually(lambda: door.parts() > 0)
    uploading.cancel()
    await asyncio.gather(uploading, return_exceptions=True)
    made.drop("e-1")
    await made.close()
    assert list((door.root / "uploads").iterdir()) == []
