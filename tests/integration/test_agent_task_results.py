"""Results of earlier tasks over real HTTP: page by page, by digest, and with a fresh address where one has expired."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from skrei_compute_agent.blobs import Blobs, BlobUnavailable, ResultMissing
from skrei_compute_agent.input_cache import InputCache, InputCorrupt, InputDenied
from skrei_compute_agent.task_results import TaskResults
from skrei_domain.task_results import ResultAddress, ResultPage
from tests.support.web import serving

DATA = [f"result {number}".encode() * 1000 for number in range(5)]
PAGE = 2


class Door:
    """The API and the publisher in one."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[int] = []
        self.opened: list[int] = []
        self.expired: set[int] = set()  # partitions whose first address opens nothing
        self.mode = "serve"

    async def addresses(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer the-token"
        assert request.query["task"] == "a b&c"
        if self.mode == "deny":
            return web.json_response({"Message": "it does not wait for that"}, status=403)
        if self.mode == "gone":
            return web.json_response({"Message": "the result of partition 0 is not kept any more"}, status=410)
        if self.mode == "nonsense":
            return web.json_response({"apart": "perhaps"})
        first = int(request.query["first"])
        self.asked.append(first)
        page = ResultPage(
            apart=True,
            results=tuple(self.address(number) for number in range(first, min(first + PAGE, len(DATA)))),
            next=first + PAGE if first + PAGE < len(DATA) else None,
        )
        return web.Response(body=page.model_dump_json().encode(), content_type="application/json")

    def address(self, number: int) -> ResultAddress:
        token = "old" if number in self.expired else "new"
        self.expired.discard(number)
        digest = f"sha256:{hashlib.sha256(DATA[number]).hexdigest()}"
        url = f"{self.url}/results/{number}.tar.gz?token={token}%2B"
        return ResultAddress(partition=number, url=url, digest=digest, size=len(DATA[number]))

    async def result(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        assert "Authorization" not in request.headers
        if request.query["token"] != "new+":
            return web.json_response({"Message": "The address has expired."}, status=401)
        self.opened.append(number)
        if self.mode == "dropped":
            return web.Response(status=404)
        return web.Response(body=b"rubbish" if self.mode == "corrupt" else DATA[number])


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    app = web.Application()
    app.router.add_get("/api/v1/inputs/results", made.addresses)
    app.router.add_get("/results/{number}.tar.gz", made.result)
    async with serving(app) as made.url:
        yield made


class Node:
    """A node's cache and client."""

    def __init__(self, folder: Path, url: str) -> None:
        self.blobs = Blobs(url, pauses_seconds=(0.0,))
        self.cache = InputCache(folder / "cache", self.blobs.open, limit_bytes=10**9, blob_bytes=10**6)
        self.cache.open()
        self.results = TaskResults(lambda: self.blobs, self.cache)
        self.counted: list[tuple[int, bool]] = []

    def count(self, size: int, brought: bool, files: int) -> None:
        assert files == 1
        self.counted.append((size, brought))

    async def all(self) -> list[tuple[str, bytes]]:
        return [
            (each.folder, each.archive.read_bytes()) async for each in self.results.of("a b&c", "the-token", self.count)
        ]


@pytest.fixture
async def node(door: Door, tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path, door.url)
    yield made
    await made.blobs.close()


async def test_all_results_come_in_order_and_page_by_page(door: Door, node: Node) -> None:
    assert await node.all() == [(str(number), data) for number, data in enumerate(DATA)]
    assert door.asked == [0, 2, 4]


async def test_what_is_here_is_not_fetched_again(door: Door, node: Node) -> None:
    await node.all()
    await node.all()
    assert door.opened == [0, 1, 2, 3, 4]
    assert node.counted == [(len(data), brought) for brought in (True, False) for data in DATA]


async def test_an_address_that_has_expired_is_asked_for_anew(door: Door, node: Node) -> None:
    door.expired = {1, 4}
    assert [data for _, data in await node.all()] == DATA
    assert door.asked == [0, 1, 2, 4, 4]


async def test_a_result_is_fetched_at_the_door_as_this_node_reaches_it(door: Door, node: Node) -> None:
    reached, door.url = door.url, "http://publisher.inside:1235/results"
    node.results = TaskResults(lambda: node.blobs, node.cache, door=lambda: reached)
    door.expired = {1}
    assert [data for _, data in await node.all()] == DATA


async def test_archives_are_given_back_to_the_cache_one_by_one(door: Door, tmp_path: Path) -> None:
    small = Node(tmp_path, door.url)
    small.cache = InputCache(tmp_path / "cache", small.blobs.open, limit_bytes=1, blob_bytes=10**6)
    small.cache.open()
    small.results = TaskResults(lambda: small.blobs, small.cache)
    assert len(await small.all()) == len(DATA)
    assert small.cache.size_bytes == 0
    await small.blobs.close()


@pytest.mark.parametrize(
    ("mode", "error", "said"),
    [
        ("deny", InputDenied, "the API refuses results of task 'a b&c': 403 it does not wait for that"),
        ("gone", ResultMissing, "the result of partition 0 is not kept any more"),
        ("dropped", ResultMissing, "the result of partition 0 of task 'a b&c' is not there any more"),
        ("nonsense", BlobUnavailable, "the API's answer about results of task 'a b&c' cannot be read"),
    ],
)
async def test_what_cannot_be_had_says_why(
    door: Door, node: Node, mode: str, error: type[Exception], said: str
) -> None:
    door.mode = mode
    with pytest.raises(error, match=said):
        await node.all()


async def test_what_is_not_what_was_promised_is_no_input(door: Door, node: Node) -> None:
    door.mode = "corrupt"
    with pytest.raises(InputCorrupt):
        await node.all()
