"""What the API makes of results that lie elsewhere, and of what the publisher says of destinations."""

import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from nats.aio.client import Client as NATS
from starlette.requests import Request

from skrei_domain.envelope import unwrap, wrap
from skrei_domain.errors import Conflict
from skrei_domain.job_reading import InvalidJob
from skrei_domain.messages import LEFT_GONE, LeftShow, LeftShown, Problem
from skrei_domain.portions import DIVIDED, Placed, told
from skrei_domain.spec import JobSpec, ResultPath, SpecConfig, TaskSpec
from skrei_kit.bus import Message
from skrei_kit.tokens import Elsewhere
from skrei_orchestrator_api.pieces import Piece, left_place, pieces, said, whole
from skrei_orchestrator_api.problems import HttpProblem
from skrei_orchestrator_api.publishing import Destinations
from skrei_orchestrator_api.routes.left import SHOW_SECONDS, show_left
from skrei_orchestrator_api.routes.results import _sent_on
from skrei_publisher.settings import Settings as PublisherSettings

OURS = {"ExecutionID": "e-1", "PartitionIndex": 0, "NodeID": "n-1", "Size": 3, "Digest": "sha256:0"}
EMPTY = {"Filter": "", "Partition": {"Type": "", "Pattern": "", "StartIndex": 0, "EndIndex": 0, "DateFormat": ""}}


@pytest.mark.row("6.3/presigned")
def test_results_in_s3_are_addresses_in_the_words_of_the_original() -> None:
    lies = {"Bucket": "b", "Key": "k.tar.gz", "Region": "eu", "Endpoint": "https://s3", "ChecksumSHA256": "x-1"}
    assert _sent_on("s3", lies, "https://signed", {**lies, "URL": "https://door", **OURS}) == {
        "Type": "s3PreSigned",
        "Params": {
            "Managed": False,
            "PreSignedURL": "https://signed",
            "SourceSpec": {**lies, "VersionID": "", **EMPTY},
            **OURS,
        },
    }
    lies = {"JobID": "j-1", "ExecutionID": "e-1"}
    told = _sent_on("s3managed", lies, "https://signed", {**lies, "URL": "https://door", **OURS})
    names = ("Bucket", "Key", "Region", "Endpoint", "VersionID", "ChecksumSHA256")
    assert told["Type"] == "s3PreSigned"
    assert told["Params"] == {
        "Managed": True,
        "PreSignedURL": "https://signed",
        "SourceSpec": dict.fromkeys(names, "") | EMPTY,
        **OURS,
    }


def test_results_of_another_publisher_keep_their_words_and_get_its_address() -> None:
    params = {"CID": "bafy", "URL": "https://door", **OURS}
    assert _sent_on("ipfs", {"CID": "bafy"}, "https://gateway", params) == {
        "Params": {**params, "URL": "https://gateway"}
    }


class Publisher(HTTPServer):
    """Answers as it is told, and remembers what it was asked."""

    answer: Any = None
    asked: list[Any]


class _Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        data = json.dumps(self.server.answer).encode()
        self.send_response(200 if self.server.answer is not None else 503)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    server = Publisher(("127.0.0.1", 0), _Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def asking(publisher: Publisher) -> Destinations:
    return Destinations(f"http://127.0.0.1:{publisher.server_port}/", "secret")


async def test_no_proxy_hears_what_opens_the_publisher(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    publisher.answer = {"addresses": ["https://signed"]}
    assert await asking(publisher).addresses([("e-1", "s3", {})]) == ["https://signed"]


def to(name: str, **params: object) -> JobSpec:
    return JobSpec(tasks=(TaskSpec(name="a"), TaskSpec(name="b", publisher=SpecConfig(type=name, params=params))))


async def test_a_destination_that_is_none_is_refused_field_by_field(publisher: Publisher) -> None:
    publisher.answer = {"problems": [["Params.Bucket", "nothing", "a bucket"]]}
    with pytest.raises(InvalidJob, match=r"Tasks\[1\]\.Publisher\.Params\.Bucket: nothing; allowed: a bucket"):
        await asking(publisher).check(to("S3", Key="k"))
    assert publisher.asked == [("/internal/destination", "Bearer secret", {"type": "s3", "params": {"Key": "k"}})]


async def test_a_path_s_own_destination_is_asked_for_as_one_of_several(publisher: Publisher) -> None:
    publisher.answer = {"problems": [["Type", "x", "y"]]}
    path = ResultPath(name="a", path="/a", publisher=SpecConfig(type="ipfs"))
    own = SpecConfig(type="s3", params={"Key": "k"})
    with pytest.raises(InvalidJob) as refused:
        await asking(publisher).check(JobSpec(tasks=(TaskSpec(name="t", publisher=own, result_paths=(path,)),)))
    assert [each.path for each in refused.value.problems] == [
        "Tasks[0].Publisher.Type",
        "Tasks[0].ResultPaths[0].Publisher.Type",
    ]
    assert [body for *_, body in publisher.asked] == [
        {"type": "s3", "params": {"Key": "k"}, "of_path": True},
        {"type": "ipfs", "params": {}, "of_path": True},
    ]


def test_a_result_is_read_in_one_piece_or_in_one_from_each_place() -> None:
    assert pieces("e-1", None, "sha256:0", 1, own=False) == [Piece("sha256:0", 1, left="e-1")]
    s3 = {"Type": "s3", "Params": {"Key": "k"}}
    (piece,) = pieces("e-1", s3, "sha256:0", 1, own=False)
    assert piece.at == Elsewhere("s3", {"Key": "k"}, 1)
    left = {"Type": "localDirectory", "Params": {"Path": "/srv"}}
    assert pieces("e-1", left, "sha256:0", 1, own=False)[0].at is None
    placed = [Placed((), "store", {}, "sha256:1", 2), Placed(("a",), "s3", {"Key": "k"}, "sha256:2", 3)]
    divided = {"Type": DIVIDED, "Params": told(placed)}
    rest, a = pieces("e-1", divided, "sha256:0", 5, own=True)
    assert (rest.paths, rest.at, rest.digest) == ((), None, "sha256:1")
    assert (a.paths, a.published) == (("a",), s3)
    assert a.at == Elsewhere("s3", {"Key": "k"}, 3, apart=True)
    assert said([rest, a]) == rest
    assert pieces("e-1", divided, "sha256:0", 5, own=False) == [a], "what was ours went with its time"
    assert said([a]) is None
    assert [whole(divided, own=own) for own in (True, False)] == [True, False]
    assert whole(s3, own=False)


def test_parts_that_stay_on_their_node_are_known_there_by_their_number() -> None:
    here = [Placed((name,), "localDirectory", {"Path": f"/srv/{name}"}, "sha256:1", 2) for name in "ab"]
    placed = [Placed((), "store", {}, "sha256:0", 1), here[0], Placed(("c",), "s3", {}, "sha256:2", 3), here[1]]
    divided = {"Type": DIVIDED, "Params": told(placed)}
    found = pieces("e-1", divided, "sha256:0", 5, own=False)
    assert [(piece.paths, piece.left, piece.at is None) for piece in found] == [
        (("a",), "e-1.0", True),
        (("c",), "", False),
        (("b",), "e-1.1", True),
    ]
    assert [left_place(divided, "e-1", left) for left in ("e-1.1", "e-1.2", "e-1", "")] == ["/srv/b", None, None, None]
    assert left_place({"Type": "localDirectory", "Params": {"Path": "/srv/x"}}, "e-1", "e-1") == "/srv/x"
    assert left_place(None, "e-1", "e-1") is None


class OneNode:
    """A record and a transport, of an execution that left its result on a node."""

    internal_token = "secret"

    def __init__(self, connection: str | None, problem: Problem | None = None) -> None:
        self.record = self.bus = self
        self.row = {"node_id": "n-1", "connection": connection, "membership": "APPROVED", "published": None}
        self.problem = problem
        self.take: Callable[[Message], Awaitable[None]] | None = None

    async def left_on_node(self, execution_id: str) -> dict[str, Any] | None:
        return self.row if execution_id == "e-1" else None

    async def subscribe(self, subject: str, take: Callable[[Message], Awaitable[None]]) -> str:
        self.take = take
        return subject

    async def unsubscribe(self, subject: str) -> None:
        self.take = None

    async def publish(self, subject: str, payload: bytes) -> None:
        wanted = unwrap(LeftShow, payload)
        shown = LeftShown(request_id=wanted.request_id, path="/srv/a", problem=self.problem)
        assert self.take is not None
        told = wrap(shown, type_=shown.type, source="n-1", id_="1")
        await self.take(Message(NATS(), subject=subject, data=told))


async def show(node: OneNode, execution_id: str = "e-1") -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps({"execution_id": execution_id, "left": "e-1.0"}).encode()}

    headers = [(b"authorization", b"Bearer secret"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b"", "deps": node}
    return json.loads((await show_left(Request(scope, receive))).body)


async def test_what_a_node_shows_is_told_and_a_word_of_its_own_says_that_it_never_will() -> None:
    assert await show(OneNode("CONNECTED")) == {"NodeID": "n-1", "Path": "/srv/a", "Bytes": 0}
    for node, execution in (
        (OneNode("CONNECTED", Problem(code=LEFT_GONE, message="gone")), "e-1"),
        (OneNode(None), "e-1"),
        (OneNode("CONNECTED"), "e-2"),
    ):
        with pytest.raises(HttpProblem) as raised:
            await show(node, execution)
        assert raised.value.status == 410
    for node in (OneNode("DISCONNECTED"), OneNode("CONNECTED", Problem(code="left-not-shown", message="no"))):
        with pytest.raises(Conflict):
            await show(node)


def test_a_node_that_does_not_answer_is_named_before_the_publisher_gives_the_api_up() -> None:
    assert PublisherSettings.model_fields["fetch_timeout_seconds"].default > SHOW_SECONDS


async def test_what_is_right_is_asked_once_and_what_is_ours_never(publisher: Publisher) -> None:
    publisher.answer, asked = {"problems": []}, asking(publisher)
    for name in ("s3", "s3", "", "local", "localDirectory"):
        await asked.check(to(name))
    assert len(publisher.asked) == 1


async def test_a_publisher_that_is_away_refuses_no_job_and_gives_no_address(publisher: Publisher) -> None:
    asked = asking(publisher)
    await asked.check(to("s3"))
    assert await asked.addresses([("e-1", "s3", {}), ("e-2", "s3", {})]) == ["", ""]
    publisher.answer = {"addresses": ["https://one"]}  # of another question
    assert await asked.addresses([("e-1", "s3", {}), ("e-2", "s3", {})]) == ["", ""]
    publisher.answer = {"addresses": ["https://one", ""]}
    assert await asked.addresses([("e-1", "s3", {}), ("e-2", "s3", {})]) == ["https://one", ""]
