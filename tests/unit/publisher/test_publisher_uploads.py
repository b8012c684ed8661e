"""The upload door: what opens it, what it answers, and what it says when it cannot."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientError
from aiohttp.test_utils import TestClient, TestServer

from skrei_domain.uploads import UploadAnswer
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import TokenSigner, TokenVerifier, UploadGrant
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.testing import parcel, pieces
from skrei_plugin_api.upload_folder import PART_BYTES
from skrei_plugin_api.upload_staging import StagingLimits
from skrei_publisher.app import build
from skrei_publisher.destinations import Destinations
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.store_publisher import StorePublisher
from skrei_publisher.uploads import UploadDoor

PRIVATE, PUBLIC = new_key()
RECEIPTS, RECEIPTS_PUBLIC = new_key()
CONTENT = bytes(range(256)) * (PART_BYTES // 256) + b"and a short last part"
LIMITS = StagingLimits(6 * len(CONTENT), uploads=8, open_seconds=100.0, staged_seconds=100.0)


class Nothing:
    async def fetch(self, _: str) -> bytes | None:
        return None


def token(
    execution_id: str = "e-1", *, most: int = 1 << 30, seconds: float = 3_600, to: str = "store"
) -> dict[str, str]:
    grant = UploadGrant(to, most, seconds)
    return {"Authorization": f"Bearer {TokenSigner(PRIVATE).run(execution_id, 'n-1', (), seconds=-60, upload=grant)}"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StorePublisher]:
    publisher = StorePublisher(PluginContext(tmp_path), LIMITS)
    await publisher.start()
    yield publisher
    await publisher.close()


@pytest.fixture
async def door(store: StorePublisher, tmp_path: Path) -> AsyncIterator[TestClient]:
    keeper = SignedDoor(TokenVerifier(PUBLIC))
    uploads = UploadDoor(Destinations(store, PluginContext(tmp_path)), keeper, TokenSigner(RECEIPTS))
    app = build(store.store, Nothing(), keeper, uploads=uploads)
    async with TestClient(TestServer(app)) as client:
        yield client


async def plan(door: TestClient, content: bytes = CONTENT, **given: object) -> UploadAnswer:
    answer = await door.post("/uploads/e-1", data=parcel(content).model_dump_json(), headers=token(**given))  # type: ignore[arg-type]
    assert answer.status == 200, await answer.text()
    return UploadAnswer.model_validate_json(await answer.read())


async def test_a_result_goes_in_by_its_plan_and_a_receipt_comes_out(door: TestClient, store: StorePublisher) -> None:
    planned = (await plan(door)).plan
    assert planned is not None
    for request in planned.requests:
        data = CONTENT[request.first : request.first + request.size]
        answer = await door.request(request.method, f"/{request.url}", data=io.BytesIO(data), headers=request.headers)
        assert answer.status == 204
    answer = await door.post("/uploads/e-1/receipt", data=parcel(CONTENT).model_dump_json(), headers=token())
    receipt = TokenVerifier(RECEIPTS_PUBLIC).receipt(UploadAnswer.model_validate_json(await answer.read()).receipt)
    assert (receipt.execution_id, receipt.digest, receipt.size) == ("e-1", parcel(CONTENT).digest, len(CONTENT))
    await store.finalise(parcel(CONTENT), receipt.place)
    download = TokenSigner(PRIVATE).download("e-1", seconds=60)
    part = await door.get(f"/results/e-1.tar.gz?token={download}", headers={"Range": f"bytes={PART_BYTES}-"})
    assert (part.status, await part.read()) == (206, CONTENT[PART_BYTES:])


async def test_of_a_part_whose_link_is_cut_nothing_counts_and_the_plan_names_it_again(door: TestClient) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield CONTENT[: PART_BYTES // 2]
        raise ConnectionResetError

    headers = token() | {"Content-Length": str(PART_BYTES)}
    with suppress(ClientError, ConnectionError):
        await door.put("/uploads/e-1/parts/0", data=half(), headers=headers)
    first = (await plan(door)).plan
    await door.put("/uploads/e-1/parts/1", data=CONTENT[PART_BYTES:], headers=token())
    with suppress(ClientError, ConnectionError):
        await door.put("/uploads/e-1/parts/0", data=half(), headers=headers)
    rest = (await plan(door)).plan
    assert first is not None
    assert rest is not None
    assert ([each.first for each in first.requests], [each.first for each in rest.requests]) == ([0, PART_BYTES], [0])


async def test_of_two_senders_of_a_part_the_later_one_counts(store: StorePublisher) -> None:
    await store.plan(parcel(CONTENT), {})
    held, began = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield bytes(2 * 1024 * 1024)
        began.set()
        await held.wait()
        yield bytes(PART_BYTES - 2 * 1024 * 1024)

    earlier = asyncio.create_task(store.receive("e-1", 0, PART_BYTES, slowly()))
    await began.wait()
    await store.receive("e-1", 0, PART_BYTES, pieces(CONTENT[:PART_BYTES]))
    held.set()
    with pytest.raises(Exception, match="taken over"):
        await earlier
    await store.receive("e-1", 1, len(CONTENT) - PART_BYTES, pieces(CONTENT[PART_BYTES:]))
    await store.stage(parcel(CONTENT))


OTHER = {"Authorization": f"Bearer {TokenSigner(PRIVATE).run('e-1', 'n-1', (), seconds=3_600)}"}
STRANGER = {
    "Authorization": "Bearer "
    + TokenSigner(new_key()[0]).run("e-1", "n-1", (), seconds=3_600, upload=UploadGrant("store", 1, 3_600))
}
PARCEL = parcel(CONTENT).model_dump_json()


@pytest.mark.parametrize(
    ("headers", "body", "status", "code", "sentence"),
    [
        ({}, PARCEL, 401, "Unauthorized", "The request carries no token."),
        (STRANGER, PARCEL, 401, "Unauthorized", "The token is not valid."),
        (token(seconds=-60), PARCEL, 401, "Unauthorized", "The right to upload has expired."),
        (token("e-2"), PARCEL, 403, "Forbidden", "The token is for another execution."),
        (OTHER, PARCEL, 403, "Forbidden", "The token opens no upload."),
        (token(to="moon"), PARCEL, 403, "no-such-publisher", "there is no publisher 'moon'; there are "),
        (token(), "{", 400, "BadRequest", "The parcel cannot be read"),
        (token(), parcel(CONTENT, "e-2").model_dump_json(), 400, "BadRequest", "The parcel is another execution's."),
        (token(most=10), PARCEL, 413, "result-too-large", "at most 10 are taken"),
        (
            token(),
            parcel(CONTENT).model_copy(update={"size": 1 << 29}).model_dump_json(),
            507,
            "store-full",
            "The result store is full",
        ),
        (
            token(),
            parcel(CONTENT).model_copy(update={"size": 4 * len(CONTENT)}).model_dump_json(),
            507,
            "store-full",
            f"The result store keeps room for other nodes: of {3 * len(CONTENT)} bytes that node n-1 may upload now",
        ),
    ],
)
async def test_a_refusal_is_a_sentence(
    door: TestClient, *, headers: dict[str, str], body: str, status: int, code: str, sentence: str
) -> None:
    answer = await door.post("/uploads/e-1", data=body, headers=headers)
    told = await answer.json()
    assert (answer.status, told["Code"]) == (status, code)
    assert sentence in told["Message"]


async def test_steps_out_of_order_say_so(door: TestClient) -> None:
    unknown = await door.put("/uploads/e-1/parts/0", data=b"x", headers=token())
    assert (unknown.status, (await unknown.json())["Code"]) == (404, "upload-unknown")
    await plan(door)
    early = await door.post("/uploads/e-1/receipt", data=PARCEL, headers=token())
    assert (early.status, (await early.json())["Code"]) == (409, "upload-incomplete")
    wrong = await door.put("/uploads/e-1/parts/0", data=b"x", headers=token())
    assert (wrong.status, (await wrong.json())["Code"]) == (409, "upload-incomplete")
    gone = await door.delete("/uploads/e-1", headers=token())
    assert gone.status == 204
    again = await door.post("/uploads/e-1/receipt", data=PARCEL, headers=token())
    assert again.status == 404
