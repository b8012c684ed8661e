import asyncio
import io
import json
import socket
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from skrei.bundles import bring, bundled
from skrei.client import AsyncClient
from skrei.job_parts import Result
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import Elsewhere, TokenSigner, TokenVerifier
from skrei_publisher import bundle_door
from skrei_publisher.app import build
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.shelf import Item
from skrei_publisher.source import ApiSource, NodeAway, NodeGone, SourceAway
from skrei_publisher.store import ResultStore, digest_of

CONTENT = b"0123456789" * 100


PRIVATE, PUBLIC = new_key()
DOOR = SignedDoor(TokenVerifier(PUBLIC))


def token(execution_id: str, *, seconds: float = 3_600, key: bytes = PRIVATE) -> str:
    return TokenSigner(key).download(execution_id, seconds=seconds)


def address(execution_id: str) -> str:
    return f"/results/{execution_id}.tar.gz?token={token(execution_id)}"


class Record:
    def __init__(self) -> None:
        self.results: dict[str, bytes] = {"e-2": b"inline"}
        self.away = False

    async def fetch(self, execution_id: str) -> bytes | None:
        if self.away:
            raise SourceAway("The API does not answer: refused, token=secret")
        return self.results.get(execution_id)


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
async def door(tmp_path: Path, record: Record) -> AsyncIterator[TestClient]:
    with ResultStore(tmp_path) as store:
        upload = tmp_path / "upload"
        upload.write_bytes(CONTENT)
        store.adopt("e-1", digest_of(CONTENT), upload)
        small = {"e-5": b"small", "e-6": b"sixth", "e-7": b"seventh"}
        store.put([Item(name, digest_of(content), content) for name, content in small.items()])
        async with TestClient(TestServer(build(store, record, DOOR))) as client:
            yield client


async def test_a_stored_result_is_served_whole_in_part_and_by_its_head(door: TestClient) -> None:
    url = address("e-1")
    whole = await door.get(url)
    assert (whole.status, await whole.read()) == (200, CONTENT)
    assert whole.headers["Content-Type"] == "application/gzip"
    assert "Content-Encoding" not in whole.headers
    assert whole.headers["Content-Disposition"] == 'attachment; filename="e-1.tar.gz"'
    part = await door.get(url, headers={"Range": "bytes=990-"})
    assert (part.status, await part.read()) == (206, CONTENT[990:])
    head = await door.head(url)
    assert (head.status, head.headers["Content-Length"], await head.read()) == (200, "1000", b"")


async def test_a_small_result_is_served_whole_and_named_by_its_digest(door: TestClient) -> None:
    answer = await door.get(address("e-5"), headers={"Range": "bytes=2-"})
    assert (answer.status, await answer.read()) == (200, b"small")
    assert answer.headers["ETag"] == f'"{digest_of(b"small")}"'
    head = await door.head(address("e-5"))
    assert (head.status, head.headers["Content-Length"]) == (200, "5")


async def test_a_result_that_is_not_taken_over_yet_has_the_same_address(door: TestClient) -> None:
    answer = await door.get(address("e-2"))
    assert (answer.status, await answer.read()) == (200, b"inline")
    assert answer.headers["Content-Type"] == "application/gzip"


async def test_the_token_may_stand_in_the_header(door: TestClient) -> None:
    answer = await door.get("/results/e-1.tar.gz", headers={"Authorization": f"Bearer {token('e-1')}"})
    assert answer.status == 200


STRANGER, _ = new_key()


@pytest.mark.parametrize(
    ("path", "status", "code", "sentence"),
    [
        ("/results/e-1.tar.gz", 401, "Unauthorized", "The address carries no token."),
        ("/results/e-1.tar.gz?token=x.y.z", 401, "Unauthorized", "The token is not valid."),
        (f"/results/e-1.tar.gz?token={token('e-1', key=STRANGER)}", 401, "Unauthorized", "The token is not valid."),
        (f"/results/e-1.tar.gz?token={token('e-1', seconds=-60)}", 401, "Unauthorized", "The address has expired."),
        (f"/results/e-1.tar.gz?token={token('e-2')}", 403, "Forbidden", "The token is for another result."),
        (
            f"/results/e-1.tar.gz?token={TokenSigner(PRIVATE).run('e-1', 'n-1', (), seconds=3_600)}",
            403,
            "Forbidden",
            "The token is for another door.",
        ),
        (address("e-3"), 404, "NotFound", "There is no result of execution e-3."),
        (
            f"/results/..%2Fe-1.tar.gz?token={token('../e-1')}",
            400,
            "BadRequest",
            "That is not the id of an execution.",
        ),
        ("/other", 404, "NotFound", "Not Found"),
        ("/results", 405, "BadRequest", "Method Not Allowed"),
    ],
    ids=[
        "none",
        "nonsense",
        "stranger",
        "expired",
        "other-result",
        "other-door",
        "no-result",
        "path",
        "route",
        "method",
    ],
)
async def test_a_refusal_is_a_sentence_in_the_api_s_error_body(
    door: TestClient, path: str, status: int, code: str, sentence: str
) -> None:
    from yarl import URL

    answer = await door.get(URL(path, encoded=True))
    body = await answer.json()
    assert (answer.status, body["Status"], body["Code"], body["Message"]) == (status, status, code, sentence)


async def test_nothing_is_told_of_a_result_before_the_token_is_checked(door: TestClient) -> None:
    assert (await door.get("/results/e-3.tar.gz")).status == 401


async def test_an_api_that_is_away_is_a_503_that_says_when_to_come_back(door: TestClient, record: Record) -> None:
    record.away = True
    answer = await door.get(address("e-2"))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert "secret" not in await answer.text()
    assert (await door.get(address("e-1"))).status == 200


async def test_the_record_is_asked_with_the_internal_token_and_only_for_so_much() -> None:
    from aiohttp import web

    async def internal(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer secret":
            return web.Response(status=401)
        size = {"small": 10, "large": 3000}.get(request.match_info["id"])
        return web.Response(body=b"x" * size) if size else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/internal/results/{id}", internal)
    async with TestServer(app) as server, ClientSession() as session:
        api = ApiSource(session, api_url=str(server.make_url("/")), token="secret", most_bytes=1000)
        assert await api.fetch("small") == b"x" * 10
        assert await api.fetch("none") is None
        with pytest.raises(SourceAway, match="more than 1000"):
            await api.fetch("large")
        stranger = ApiSource(session, api_url=str(server.make_url("/")), token="guess", most_bytes=1000)
        with pytest.raises(SourceAway, match="answered 401"):
            await stranger.fetch("small")
    async with ClientSession() as session:
        gone = ApiSource(session, api_url="http://127.0.0.1:9", token="secret", most_bytes=1000)
        with pytest.raises(SourceAway, match="does not answer"):
            await gone.fetch("small")


WHOLE = b'[["e-1", 3], ["e-2", 0], ["e-3", 4]]\n' + b"abc" + b"\n\x00\xffz"


@asynccontextmanager
async def answering(
    body: bytes, status: int = 200, *, length: int | None = None, path: str = "/internal/results"
) -> AsyncIterator[ApiSource]:
    """An API that answers every request so; with a `length`, it breaks off after the body's bytes."""
    from aiohttp import web

    async def bulk(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer secret"
        if length is None:
            return web.Response(status=status, body=body)
        response = web.StreamResponse(headers={"Content-Length": str(length)})
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        request.transport.close()
        return response

    app = web.Application()
    app.router.add_post(path, bulk)
    async with TestServer(app) as server, ClientSession() as session:
        yield ApiSource(session, api_url=str(server.make_url("/")), token="secret", most_bytes=1000)


@pytest.mark.parametrize(("status", "gone"), [(410, True), (409, False), (404, False)])
async def test_that_a_result_is_gone_from_its_node_is_no_slip_of_who_does_not_know_the_question(
    status: int, *, gone: bool
) -> None:
    async with answering(b'{"Message": "no"}', status, path="/internal/left/show") as api:
        with pytest.raises(NodeAway, match="no") as raised:
            await api.show("e-1", "e-1")
        assert isinstance(raised.value, NodeGone) is gone


async def test_many_results_come_in_one_answer_byte_by_byte() -> None:
    async with answering(WHOLE) as api:
        found = await api.fetch_many(["e-1", "e-2", "e-3", "e-taken"])
        assert found == {"e-1": b"abc", "e-2": b"", "e-3": b"\n\x00\xffz"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (WHOLE[:-1], "not whole"),
        (WHOLE + b"!", "not whole"),
        (b"[]", None),
        (b"", "cannot be read"),
        (b"<html>\n", "cannot be read"),
        (b'[["e-1", -1], ["e-2", 1]]\n', "cannot be read"),
        (b'[["e-1"]]\n', "cannot be read"),
        (b'[["e-9", 1]]\nx', "nobody asked for"),
        (b'[["e-1", 4000]]\n' + b"x" * 4000, "more than 3000"),
    ],
)
async def test_a_bulk_answer_that_is_not_exact_is_no_answer(body: bytes, said: str | None) -> None:
    async with answering(body) as api:
        if said is None:
            assert await api.fetch_many(["e-1", "e-2", "e-3"]) == {}
            return
        with pytest.raises(SourceAway, match=said):
            await api.fetch_many(["e-1", "e-2", "e-3"])


async def test_a_bulk_answer_that_breaks_off_or_refuses_means_that_the_source_is_away() -> None:
    async with answering(WHOLE[:-2], length=len(WHOLE)) as api:
        with pytest.raises(SourceAway, match="does not answer"):
            await api.fetch_many(["e-1", "e-2", "e-3"])
    async with answering(b"", 503) as api:
        with pytest.raises(SourceAway, match="answered 503 for 1"):
            await api.fetch_many(["e-1"])


# ---------------------------------------------------------------- several at once


def asked(*names: str, **tokens: str) -> list[dict[str, str]]:
    told = {name: token(name) for name in names} | {name.replace("_", "-"): each for name, each in tokens.items()}
    return [{"execution_id": name, "token": each} for name, each in told.items()]


async def sent(door: TestClient, question: list[dict[str, str]]) -> dict[str, bytes]:
    answer = await door.post("/results", json=question)
    body = await answer.read()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-tar"), body
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {each.name: file.read() for each in tar if (file := tar.extractfile(each)) is not None}


async def test_small_results_come_together_and_what_is_a_file_unknown_or_elsewhere_by_itself(
    tmp_path: Path, record: Record
) -> None:
    with ResultStore(tmp_path) as store:
        contents = {f"e-{number}": bytes([number]) * number for number in range(3)}
        store.put([Item(name, digest_of(content), content) for name, content in contents.items()])
        (tmp_path / "upload").write_bytes(CONTENT)
        store.adopt("e-9", digest_of(CONTENT), tmp_path / "upload")
        elsewhere = TokenSigner(PRIVATE).download("e-2", seconds=60, at=Elsewhere("s3", {}, 5))
        async with TestClient(TestServer(build(store, record, DOOR))) as client:
            found = await sent(client, asked("e-1", "e-9", "e-0", "e-404", e_2=elsewhere))
    assert found == {"e-1.tar.gz": b"\1", "e-0.tar.gz": b""}


async def test_what_does_not_fit_into_one_answer_is_left_out_but_one_always_comes(
    door: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(await sent(door, asked("e-5", "e-6", "e-7"))) == ["e-5.tar.gz", "e-6.tar.gz", "e-7.tar.gz"]
    for room, comes in ((11, 2), (1, 1)):
        monkeypatch.setattr(bundle_door, "ANSWER_BYTES", room)
        assert len(await sent(door, asked("e-5", "e-6", "e-7"))) == comes


@pytest.mark.parametrize("question", [b"", b"{", b"{}", b"[1]", b'[{"execution_id": "e-5"}]', b'"' + b"x" * 600_000])
async def test_what_is_no_question_for_results_is_said_so(door: TestClient, question: bytes) -> None:
    answer = await door.post("/results", data=question)
    assert (answer.status, (await answer.json())["Code"]) == (400, "BadRequest")


async def test_at_most_so_many_are_asked_for_at_once(door: TestClient) -> None:
    answer = await door.post("/results", json=asked("e-5") * (bundle_door.MOST_RESULTS + 1))
    assert (answer.status, "At most 256" in (await answer.json())["Message"]) == (400, True)


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ("", 401),
        ("rubbish", 401),
        (token("e-6", seconds=-60), 401),
        (token("e-5"), 403),
        (token("e-6", key=new_key()[0]), 401),
    ],
)
async def test_one_token_that_does_not_open_its_result_opens_none_beside_it(
    door: TestClient, other: str, status: int
) -> None:
    answer = await door.post("/results", json=asked("e-5", e_6=other))
    assert answer.status == status
    assert b"small" not in await answer.read()


async def test_a_client_of_ours_takes_what_the_door_sends_together(door: TestClient) -> None:
    base = f"http://127.0.0.1:{door.port}"
    results = [
        Result(f"{base}{address(name)}", name, 0, size=5, digest=digest_of(content), kind="urlDownload")
        for name, content in (("e-5", b"small"), ("e-6", b"sixth"), ("e-7", b"another"), ("e-404", b""))
    ]
    ((url, wanted),) = bundled(results)
    async with AsyncClient(base) as client:
        found = await bring(client, url, wanted)
    assert found == {"e-5": b"small", "e-6": b"sixth"}


@pytest.fixture
async def slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, record: Record) -> AsyncIterator[TestClient]:
    """A door of one turn, with more to send than what lies between it and its reader holds."""
    monkeypatch.setattr(bundle_door, "AT_ONCE", 1)
    monkeypatch.setattr(bundle_door, "TURN_SECONDS", 0.0)
    with ResultStore(tmp_path) as store:
        content = bytes(64 * 1024)
        store.put([Item(f"e-{number}", digest_of(content), content) for number in range(60)])
        async with TestClient(TestServer(build(store, record, DOOR))) as client:
            yield client


@asynccontextmanager
async def asking(door: TestClient, question: bytes, told: int) -> AsyncIterator[socket.socket]:
    """Someone who says that the question has so many bytes, and reads nothing of the answer."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        made.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(made, ("127.0.0.1", door.port))
        head = f"POST /results HTTP/1.1\r\nHost: door\r\nContent-Length: {told}\r\n\r\n"
        await loop.sock_sendall(made, head.encode() + question)
        yield made


async def until(door: TestClient, status: int) -> str:
    """Ask until that is the answer; what it says."""
    while True:
        answer = await door.post("/results", json=asked("e-0"))
        if answer.status == status:
            return str(answer.headers.get("Retry-After", ""))


ALL = json.dumps(asked(*(f"e-{number}" for number in range(60)))).encode()


@pytest.mark.parametrize("missing", [0, 1])
async def test_who_asks_or_reads_slowly_takes_one_turn_and_the_others_are_told(slow: TestClient, missing: int) -> None:
    async with asking(slow, ALL, len(ALL) + missing):
        assert await until(slow, 503) == "2"
    await until(slow, 200)


@pytest.mark.parametrize("missing", [0, 1])
async def test_who_asks_or_reads_too_slowly_gives_up_the_turn(
    slow: TestClient, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    monkeypatch.setattr(bundle_door, "TURN_SECONDS", 60.0)
    with monkeypatch.context() as patched:
        patched.setattr(bundle_door, "SECONDS", 0.3)
        async with asking(slow, ALL, len(ALL) + missing) as reader:
            began = await asyncio.get_running_loop().sock_recv(reader, 20)
            assert not missing or b" 400 " in began
            patched.undo()
            await until(slow, 200)
