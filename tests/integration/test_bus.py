"""The bus against a real nats-server: facts in order from a position, commands with few rights, deletions survived."""

import asyncio
import gc
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse

import pytest
from nats.js.api import StreamConfig
from structlog.testing import capture_logs

from skrei_domain import subjects
from skrei_domain.errors import Unavailable
from skrei_embedded.nats import NatsOptions, NatsServer, WebSocketDoor, free_port
from skrei_kit import join, nats_auth, topology
from skrei_kit.bus import Arrival, Bus, BusUnavailable, Message, MessageTooLarge, PullReader, StreamReader
from skrei_kit.bus.connection import Tcp
from skrei_kit.bus.pull import BATCH
from skrei_plugin_api.testing import eventually
from tests.support.certificates import Certificate, make_certificate
from tests.support.http_proxy import running_proxy
from tests.support.servers import SecuredNats, spawner

NODE, OTHER = "n-11111111-1111-4111-8111-111111111111", "n-22222222-2222-4222-8222-222222222222"
SOON = 10


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    connected = await Bus.connect(nats_url, name="test")
    yield connected
    await connected.close()


@pytest.fixture
async def stream(bus: Bus) -> AsyncIterator[StreamConfig]:
    name = f"T{uuid.uuid4().hex[:8]}"
    config = topology.facts()
    config.name, config.subjects = name, [f"{name}.fact"]
    await bus.ensure_stream(config)
    yield config
    if await bus.stream_info(name) is not None:
        await bus.jetstream.delete_stream(name)


async def test_an_answer_does_not_undo_a_cancellation_that_it_meets(bus: Bus) -> None:
    asked: asyncio.Queue[Message] = asyncio.Queue()
    await bus.subscribe("questions", asked.put)
    asking = asyncio.create_task(bus.request("questions", b"?", timeout_seconds=SOON))
    await asked.get()
    waiting = next(iter(bus._client._resp_map.values()))
    waiting.set_result(Message(bus._client, data=b"!"))  # in the same turn of the loop
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()


async def test_a_stream_of_before_is_brought_to_a_smaller_bound(bus: Bus, stream: StreamConfig) -> None:
    sent, message = 24, b"x" * (topology.LEAST_BYTES // 16)
    for _ in range(sent):
        await bus.jetstream.publish(subject(stream), message)
    await bus.ensure_stream(replace(stream, max_bytes=topology.facts(topology.LEAST_BYTES).max_bytes))
    kept = await bus.stream_info(str(stream.name))
    assert kept is not None
    assert kept.config.max_bytes == topology.LEAST_BYTES
    assert 0 < kept.state.messages < sent
    assert kept.state.last_seq == sent, "the newest are kept"


class Reading:
    """A stream reader in the background, and what it handed out."""

    def __init__(self, bus: Bus, config: StreamConfig, *, created: str = "", sequence: int = 0) -> None:
        self.arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        reader = StreamReader(bus, config, self.arrivals.put, created=created, sequence=sequence)
        self.task = asyncio.create_task(reader.run())

    async def next(self) -> Arrival:
        return await asyncio.wait_for(self.arrivals.get(), SOON)

    async def __aenter__(self) -> "Reading":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def subject(config: StreamConfig) -> str:
    assert config.subjects is not None
    return config.subjects[0]


async def test_a_stream_is_read_in_order_from_a_position(bus: Bus, stream: StreamConfig) -> None:
    for number in range(5):
        await bus.publish(subject(stream), b"%d" % number)
    async with Reading(bus, stream) as first:
        seen = [await first.next() for _ in range(5)]
    assert [(one.sequence, one.data) for one in seen] == [(n + 1, b"%d" % n) for n in range(5)]
    async with Reading(bus, stream, created=seen[2].created, sequence=seen[2].sequence) as second:
        assert (await second.next()).data == b"3"
        assert (await second.next()).data == b"4"
        await bus.publish(subject(stream), b"live")
        assert (await second.next()).data == b"live"


async def test_a_stream_made_again_is_read_from_its_start(bus: Bus, stream: StreamConfig) -> None:
    async with Reading(bus, stream) as reading:
        await bus.publish(subject(stream), b"old")
        old = await reading.next()
        await bus.jetstream.delete_stream(str(stream.name))
        await bus.ensure_stream(stream)
        await bus.publish(subject(stream), b"new")
        new = await reading.next()
    assert new.data == b"new"
    assert new.sequence == 1
    assert new.created != old.created


async def test_a_deleted_stream_is_made_again_by_its_reader(bus: Bus, stream: StreamConfig) -> None:
    async with Reading(bus, stream) as reading:
        await bus.publish(subject(stream), b"old")
        await reading.next()
        await bus.jetstream.delete_stream(str(stream.name))
        async with asyncio.timeout(SOON):
            while await bus.stream_info(str(stream.name)) is None:  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(0.05)
        await bus.publish(subject(stream), b"new")
        assert (await reading.next()).data == b"new"


async def test_a_lost_consumer_loses_nothing(bus: Bus, stream: StreamConfig) -> None:
    async with Reading(bus, stream) as reading:
        await bus.publish(subject(stream), b"1")
        await reading.next()
        for consumer in await bus.jetstream.consumers_info(str(stream.name)):
            await bus.jetstream.delete_consumer(str(stream.name), consumer.name)
        await bus.publish(subject(stream), b"2")
        assert (await reading.next()).data == b"2"


async def test_making_a_stream_again_changes_its_limits_and_keeps_its_messages(bus: Bus, stream: StreamConfig) -> None:
    await bus.publish(subject(stream), b"kept")
    await bus.flush()
    changed = await bus.ensure_stream(replace(stream, max_bytes=1_000_000))
    assert changed.config.max_bytes == 1_000_000
    assert changed.state.messages == 1


async def test_nobody_answering_is_told_at_once(bus: Bus) -> None:
    with pytest.raises(BusUnavailable, match="nobody answered"):
        await bus.request("test.nobody", b"", timeout_seconds=SOON)


async def test_nobody_listening_is_named_with_what_to_do() -> None:
    with pytest.raises(BusUnavailable, match=r"does not listen at 127\.0\.0\.1:1"):
        await Bus.connect("nats://127.0.0.1:1", name="test", wait_seconds=0)


class Cluster:
    """A leader's and a node's connections in operator mode, and the node's commands as they arrive."""

    def __init__(self, leader: Bus, node: Bus) -> None:
        self.leader, self.node = leader, node
        self.commands: asyncio.Queue[bytes] = asyncio.Queue()

    async def command(self) -> bytes:
        return await asyncio.wait_for(self.commands.get(), SOON)


@pytest.fixture
async def cluster(secured_nats: SecuredNats, tmp_path: Path) -> AsyncIterator[Cluster]:
    leader = await Bus.connect(secured_nats.url, name="leader", creds=secured_nats.keys.creds("scheduler"))
    await leader.ensure_stream(topology.commands())
    await leader.ensure_stream(topology.facts())
    await leader.ensure_consumer(subjects.STREAM_COMMANDS, topology.node_consumer(NODE))
    node = await Bus.connect(
        secured_nats.url,
        name="node",
        creds=secured_nats.node_creds(NODE, tmp_path),
        inbox_prefix=subjects.inbox(NODE),
    )
    made = Cluster(leader, node)
    reader = PullReader(node, subjects.STREAM_COMMANDS, subjects.consumer(NODE), made.commands.put)
    task = asyncio.create_task(reader.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await node.close()
    for stream in (subjects.STREAM_COMMANDS, subjects.STREAM_FACTS):
        await leader.jetstream.delete_stream(stream)
    await leader.close()


async def test_a_node_reads_its_commands_in_order_with_its_own_rights(cluster: Cluster) -> None:
    sent = [b"%d" % number for number in range(3 * BATCH)]
    for command in sent:
        await cluster.leader.publish(subjects.command(NODE), command)
    assert [await cluster.command() for _ in sent] == sent


async def test_commands_come_again_once_their_stream_is_made_again(cluster: Cluster) -> None:
    await cluster.leader.publish(subjects.command(NODE), b"before")
    assert await cluster.command() == b"before"
    await cluster.leader.jetstream.delete_stream(subjects.STREAM_COMMANDS)
    await cluster.leader.ensure_stream(topology.commands())
    await cluster.leader.ensure_consumer(subjects.STREAM_COMMANDS, topology.node_consumer(NODE))
    await cluster.leader.publish(subjects.command(NODE), b"after")
    assert await cluster.command() == b"after"


async def test_what_a_node_took_is_not_given_again(cluster: Cluster) -> None:
    await cluster.leader.publish(subjects.command(NODE), b"once")
    assert await cluster.command() == b"once"
    async with asyncio.timeout(SOON):
        while True:
            info = await cluster.leader.jetstream.consumer_info(subjects.STREAM_COMMANDS, subjects.consumer(NODE))
            if info.num_ack_pending == 0 and info.ack_floor is not None and info.ack_floor.stream_seq == 1:
                return
            await asyncio.sleep(0.02)


async def test_a_hello_is_answered_in_the_nodes_own_inbox(cluster: Cluster) -> None:
    async def answer(message: Message) -> None:
        await cluster.leader.publish(message.reply, b"welcome " + subjects.node_of(message.subject).encode())

    subscription = await cluster.leader.subscribe(subjects.ALL_HELLOS, answer)
    await cluster.leader.flush()
    assert await cluster.node.request(subjects.hello(NODE), b"", timeout_seconds=SOON) == b"welcome " + NODE.encode()
    await subscription.unsubscribe()


FOREIGN_BRANCHES = [
    "_INBOX.>",
    f"{subjects.inbox(OTHER)}.>",
    subjects.command(OTHER),
    subjects.down(OTHER),
    f"{subjects.ROOT}.down.>",
    f"{subjects.ROOT}.up.>",
    subjects.up(NODE),
    subjects.PUBLISHER_COMMAND,
    "$SYS.>",
    "$JS.API.>",
    ">",
]


@pytest.mark.parametrize("branch", FOREIGN_BRANCHES)
async def test_a_node_hears_nothing_of_others(cluster: Cluster, branch: str) -> None:
    heard: list[str] = []

    async def listen(message: Message) -> None:
        heard.append(message.subject)

    await cluster.node.subscribe(branch, listen)
    await cluster.node.flush()
    for spoken in (f"{subjects.inbox(OTHER)}.x", "_INBOX.x", subjects.command(OTHER), subjects.confirm(OTHER)):
        await cluster.leader.publish(spoken, b"secret")
    await cluster.leader.publish(subjects.command(NODE), b"mine")
    assert await cluster.command() == b"mine"  # all before it was delivered too
    assert heard == []


FOREIGN_WORDS = [
    subjects.fact(OTHER),
    subjects.heartbeat(OTHER),
    subjects.command(NODE),
    subjects.HINT_EVALUATION,
    subjects.PUBLISHER_FACT,
    f"{subjects.inbox(OTHER)}.x",
]


async def test_a_node_says_nothing_for_others(cluster: Cluster) -> None:
    heard: list[str] = []

    async def listen(message: Message) -> None:
        heard.append(message.subject)

    for branch in (f"{subjects.ROOT}.up.>", subjects.HINT_EVALUATION, subjects.PUBLISHER_FACT, "_INBOX.>"):
        await cluster.leader.subscribe(branch, listen)
    await cluster.leader.flush()
    for word in FOREIGN_WORDS:
        await cluster.node.publish(word, b"forged")
    await cluster.node.publish(subjects.fact(NODE), b"true")
    await cluster.node.flush()
    await cluster.leader.flush()
    assert heard == [subjects.fact(NODE)]
    assert cluster.commands.empty()


@pytest.mark.parametrize(
    "question",
    [
        f"$JS.API.CONSUMER.CREATE.{subjects.STREAM_FACTS}",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{subjects.STREAM_COMMANDS}.mine",
        f"$JS.API.CONSUMER.MSG.NEXT.{subjects.STREAM_COMMANDS}.{subjects.consumer(OTHER)}",
        f"$JS.API.STREAM.MSG.GET.{subjects.STREAM_FACTS}",
        f"$JS.API.STREAM.PURGE.{subjects.STREAM_COMMANDS}",
        f"$JS.API.STREAM.DELETE.{subjects.STREAM_FACTS}",
        "$JS.API.STREAM.LIST",
    ],
)
async def test_a_node_may_not_ask_the_streams_for_more_than_its_commands(cluster: Cluster, question: str) -> None:
    with pytest.raises(BusUnavailable, match="TimeoutError"):
        await cluster.node.request(question, b"", timeout_seconds=0.3)
    assert await cluster.leader.stream_info(subjects.STREAM_FACTS) is not None


async def test_nobody_comes_in_without_credentials_or_with_those_of_another_cluster(
    secured_nats: SecuredNats, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.creds"
    foreign.write_text(nats_auth.user_creds(nats_auth.Authority.new(), "x", nats_auth.scheduler()))
    for creds in (None, foreign):
        with pytest.raises(BusUnavailable, match="refuses"):
            await Bus.connect(secured_nats.url, name="stranger", creds=creds)


def test_credentials_name_their_user() -> None:
    text = nats_auth.user_creds(nats_auth.Authority.new(), NODE, nats_auth.node(NODE))
    assert nats_auth.name_in_creds(text) == NODE
    with pytest.raises(ValueError, match="credentials"):
        nats_auth.name_in_creds("-----BEGIN NATS USER JWT-----\nx")


async def test_a_message_that_is_too_large_is_refused_by_name_and_the_connection_goes_on(nats_url: str) -> None:
    bus = await Bus.connect(nats_url, name="large")
    try:
        with pytest.raises(MessageTooLarge, match="too large"):
            await bus.publish("some.subject", b"x" * 10_000_000)
        with pytest.raises(MessageTooLarge, match=r"10000000 bytes on some\.subject"):
            await bus.request("some.subject", b"x" * 10_000_000, timeout_seconds=5)
        heard = asyncio.Queue[bytes]()

        async def hear(message: Message) -> None:
            heard.put_nowait(message.data)

        await bus.subscribe("some.subject", hear)
        await bus.flush()
        await bus.publish("some.subject", b"small")
        assert await asyncio.wait_for(heard.get(), 5) == b"small"
    finally:
        await bus.close()


async def test_what_is_published_now_goes_behind_what_was_published_before(nats_url: str) -> None:
    bus = await Bus.connect(nats_url, name="now")
    heard = asyncio.Queue[bytes]()

    async def hear(message: Message) -> None:
        heard.put_nowait(message.data)

    try:
        await bus.subscribe("some.*", hear)
        await bus.publish("some.one", b"before")
        assert bus.publish_now(("some.one", b"now"), ("some.other", b"with it"))
        assert not bus.publish_now(("some.one", b"small"), ("some.one", b"x" * 10_000_000)), "all of it or nothing"
        await bus.publish("some.one", b"after")
        async with asyncio.timeout(SOON):
            assert [await heard.get() for _ in range(4)] == [b"before", b"now", b"with it", b"after"]
    finally:
        await bus.close()
    assert not bus.publish_now(("some.one", b"gone"))


async def test_what_is_published_now_holds_up_nothing_behind_it_where_the_server_speaks_tls(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "bus.test")
    with spawner() as children:
        tls = f'tls {{ cert_file: "{pair.file}", key_file: "{pair.key}" }}\n'
        server = NatsServer(tmp_path, NatsOptions(free_port(), trust=tls), children)
        server.start()
        url = server.url.replace("nats:", "tls:")
        bus, listener = [await Bus.connect(url, name=name, ca=pair.file) for name in ("tells", "listens")]
        heard = asyncio.Queue[bytes]()

        async def hear(message: Message) -> None:
            heard.put_nowait(message.data)

        try:
            await listener.subscribe("a.subject", hear)
            await listener.flush()
            assert bus.publish_now(("a.subject", b"now"))
            assert await asyncio.wait_for(heard.get(), SOON) == b"now"
            for number in range(2):  # the first would be written, and its flow never go on
                await bus.publish("a.subject", b"%d" % number)
                for _ in range(10):
                    await asyncio.sleep(0)
                assert bus._client.pending_data_size == 0, "written as soon as the loop gets there"
                assert await asyncio.wait_for(heard.get(), SOON) == b"%d" % number
        finally:
            await bus.close()
            await listener.close()
            server.stop()


async def test_a_bus_whose_server_has_gone_closes_although_it_has_something_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:  # as it does from Python 3.12 to 3.13.5 where the link is gone
        raise TypeError("'NoneType' object is not callable")

    monkeypatch.setattr(asyncio.StreamWriter, "writelines", fails)
    with spawner() as children:
        server = NatsServer(tmp_path, NatsOptions(free_port()), children)
        server.start()
        gone = asyncio.Event()

        async def lost() -> None:
            gone.set()

        bus = await Bus.connect(server.url, name="test", on_disconnect=lost)
        server.stop()
        async with asyncio.timeout(SOON):
            await gone.wait()
            await bus.publish("a.subject", b"late")
            await bus.close()
    assert not bus.connected


@contextmanager
def reached_over_http(folder: Path, certificate: Certificate | None = None) -> Iterator[int]:
    """A nats-server that is reached by WebSocket; yields the port."""
    door = WebSocketDoor(free_port(), *(str(each) for each in certificate or ()))
    with spawner() as children:
        server = NatsServer(folder, NatsOptions(free_port(), websocket=door), children)
        server.start()
        try:
            yield door.port
        finally:
            server.stop()


async def says_and_hears(url: str, ca: Path | None = None) -> None:
    bus = await Bus.connect(url, name="test", ca=ca, wait_seconds=5)
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Message) -> None:
        heard.put_nowait(message.data)

    await bus.subscribe("a.subject", hear)
    await bus.publish("a.subject", b"through HTTP")
    assert await asyncio.wait_for(heard.get(), SOON) == b"through HTTP"
    if not bus.publish_now(("a.subject", b"now")):  # what goes through HTTP waits for its frame
        await bus.publish("a.subject", b"now")
    assert await asyncio.wait_for(heard.get(), SOON) == b"now"
    await bus.close()


async def test_a_server_behind_http_is_reached_by_websocket(tmp_path: Path) -> None:
    """The client comes without WebSockets; an address that asks for one brings them."""
    with reached_over_http(tmp_path) as port:
        await says_and_hears(f"ws://127.0.0.1:{port}")


async def test_a_server_with_tls_is_reached_by_websocket_through_a_proxy_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, "cp.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with reached_over_http(tmp_path, certificate) as port, running_proxy(cp_test="127.0.0.1") as proxy:
        url = f"wss://cp.test:{port}"
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert join._first_that_greets([f"nats://127.0.0.1:{free_port()}", url]) == url
        await says_and_hears(url)
        assert {tuple(line.split()[:2]) for line in proxy.asked} == {("CONNECT", f"cp.test:{port}")}
        assert proxy.refused == []
        monkeypatch.setenv("HTTPS_PROXY", proxy.nameless)
        with pytest.raises(Unavailable, match=r"by the proxy http://127.0.0.1:\d+\) cannot be reached: .*407"):
            join._first_that_greets([url])
        with warnings.catch_warnings(action="ignore"):
            gc.collect()  # here, what http.client of Python 3.11.2 leaves open of a proxy's refusal
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await says_and_hears(f"wss://127.0.0.1:{port}")
        assert len(proxy.refused) == 1


async def test_a_websocket_ends_where_the_machine_trusts_or_the_cluster_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node has its cluster's own authority; before a WebSocket stands a proxy with a certificate of everybody's."""
    folders = (tmp_path / "public", tmp_path / "clusters")
    for folder in folders:
        folder.mkdir()
    public, clusters = (make_certificate(folder, "localhost") for folder in folders)
    monkeypatch.setenv("SSL_CERT_FILE", str(public.file))
    for served in (public, clusters):
        with reached_over_http(tmp_path, served) as port:
            await says_and_hears(f"wss://localhost:{port}", clusters.file)


async def test_a_server_that_comes_back_with_a_certificate_of_nobody_is_said_once(tmp_path: Path) -> None:
    folders = (tmp_path / "first", tmp_path / "other")
    for folder in folders:
        folder.mkdir()
    first, other = (make_certificate(folder, "localhost") for folder in folders)
    port = free_port()
    with spawner() as children, capture_logs() as said:
        server = NatsServer(tmp_path, NatsOptions(port, trust=tls(first)), children)
        server.start()
        bus = await Bus.connect(f"tls://localhost:{port}", name="test", ca=first.file, wait_seconds=5)
        server.stop()
        server.trust(tls(other))
        server.start()

        try:  # each try is one more handshake that the server tells of
            await eventually(lambda: any(each["event"] == "bus_distrusted" for each in said))
            failed = handshakes(tmp_path)
            await eventually(lambda: handshakes(tmp_path) >= failed + 2)
        finally:
            await bus.close()
            server.stop()
    assert [each["event"] for each in said].count("bus_distrusted") == 1


async def test_a_link_that_python_cannot_cut_any_more_is_followed_by_another(nats: NatsServer) -> None:
    class Gone:
        """What is left of a link with TLS that was closed twice, until Python 3.11.3."""

        transport = None  # has no `abort`

    link = Tcp()
    link._io_writer = Gone()  # type: ignore[assignment]  # it stands for what only an old Python leaves
    await link.connect(urlparse(nats.url), 65_536, 5)
    assert (await link.readline()).startswith(b"INFO ")
    link.close()
    await link.wait_closed()


def handshakes(folder: Path) -> int:
    return (folder / "logs/nats.log").read_text().count("TLS handshake error")


def tls(certificate: Certificate) -> str:
    return f'tls {{ cert_file: "{certificate.file}", key_file: "{certificate.key}" }}\n'


async def test_a_proxy_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(BusUnavailable, match=f"the proxy does not listen at 127.0.0.1:{port}") as caught:
        await Bus.connect("wss://cp.test", name="test", wait_seconds=0)
    assert "HTTPS_PROXY" in caught.value.hint
