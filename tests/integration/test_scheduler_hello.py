"""A hello over the real transport: what a node with its own rights can make a leader say, and where."""

import asyncio
from pathlib import Path

import pytest

from skrei_domain import subjects
from skrei_domain.envelope import unwrap, wrap
from skrei_domain.messages import Hello, HelloReply
from skrei_kit.bus import Bus, BusUnavailable, Message
from tests.integration.test_scheduler_stop import SECONDS, a_service, until_held
from tests.support.builders import a_node
from tests.support.record import connection
from tests.support.servers import SecuredNats

NODE, VICTIM = "n-hostile", "n-victim"


@pytest.mark.parametrize(
    "elsewhere",
    [subjects.confirm(VICTIM), subjects.command(VICTIM), f"{subjects.inbox(VICTIM)}.1"],
)
async def test_a_leader_answers_a_hello_in_the_inbox_of_its_node_alone(
    postgres_url: str, secured_nats: SecuredNats, tmp_path: Path, elsewhere: str
) -> None:
    """A node may not publish elsewhere; the reply subject of a request is not checked by the server."""
    creds = str(secured_nats.keys.creds("scheduler"))
    settings = {"SKREI_DATABASE_URL": postgres_url, "SKREI_NATS_URL": secured_nats.url, "SKREI_NATS_CREDS": creds}
    info = a_node(NODE).info
    hello = Hello(
        node_id=NODE, boot_id="boot-1", timeline=1, epoch=1, incarnation=1, sequence=0, confirmed=0, info=info
    )
    payload = wrap(hello, type_="skrei.hello.v1", source=NODE, id_="1")
    victim = await Bus.connect(
        secured_nats.url,
        name="victim",
        creds=secured_nats.node_creds(VICTIM, tmp_path),
        inbox_prefix=subjects.inbox(VICTIM),
    )
    node = await Bus.connect(
        secured_nats.url, name="node", creds=secured_nats.node_creds(NODE, tmp_path), inbox_prefix=subjects.inbox(NODE)
    )
    heard: list[str] = []

    async def hear(message: Message) -> None:
        heard.append(message.subject)

    try:
        async with connection(postgres_url) as db, a_service("skrei_scheduler", tmp_path, **settings):
            await until_held(db)
            await victim.subscribe(elsewhere, hear)
            await victim.flush()
            reply = await _first_answer(node, payload)
            for said in (payload, b"{}"):  # one that is taken, one that is refused at once
                await node.publish(subjects.hello(NODE), said, reply=elsewhere)
            refused = await _answer(node, b"{}")
            assert refused is not None
            assert refused.refusal is not None
            assert await _answer(node, payload), "it has looked at all that came before"
        await victim.flush()
        assert reply.refusal is None
        assert heard == []
    finally:
        await node.close()
        await victim.close()


async def _first_answer(node: Bus, payload: bytes) -> HelloReply:
    """Whoever has the lease listens a moment later."""
    async with asyncio.timeout(SECONDS):
        while True:
            if (reply := await _answer(node, payload)) is not None:
                return reply
            await asyncio.sleep(0.02)


async def _answer(node: Bus, payload: bytes) -> HelloReply | None:
    try:
        return unwrap(HelloReply, await node.request(subjects.hello(NODE), payload, timeout_seconds=2))
    except BusUnavailable:
        return None
