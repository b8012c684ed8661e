"""Joining over a real record and a real nats-server: who is let in, as whom, and what that opens."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from skrei_domain.ids import new_node_id
from skrei_embedded import keys
from skrei_embedded.keys import write_secret
from skrei_embedded.nats import NatsOptions, NatsServer, free_port
from skrei_kit import nats_auth
from skrei_kit.bus import Bus, BusUnavailable
from skrei_kit.nats_auth import Signer
from skrei_orchestrator_api.access import JOIN_PATH
from skrei_orchestrator_api.app import build
from tests.support.api import JOIN_TOKEN, OWNER_TOKEN, Api, running_api
from tests.support.servers import SecuredNats, server_folder, spawner

TOKEN = {"Authorization": f"Bearer {JOIN_TOKEN}"}
OWNER = {"Authorization": f"Bearer {OWNER_TOKEN}"}


class Machine:
    """Another machine: a node id and a key of its own."""

    def __init__(self) -> None:
        self.node_id = str(new_node_id())
        self.seed = nats_auth.new_user_seed()

    def asks(self, **changes: Any) -> dict[str, Any]:
        key = nats_auth.public_key(self.seed)
        return {"NodeID": self.node_id, "PublicKey": key, "Name": "edge", "Time": time.time()} | changes


@pytest.fixture
async def api(postgres_url: str, nats_url: str, secured_nats: SecuredNats) -> AsyncIterator[Api]:
    signer = secured_nats.keys.authority.signer
    changes = {"nats_public_url": secured_nats.url, "join_url": "http://10.0.0.1:1234"}
    async with running_api(postgres_url, nats_url, node_signer_keys=signer, **changes) as running:
        yield running


@pytest.fixture
async def outside(api: Api) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on another machine."""
    transport = httpx2.ASGITransport(app=build(api.deps), client=("10.0.0.7", 4_000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://10.0.0.1:1234") as client:
        yield client


@pytest.mark.row("9.5/node-trust")
async def test_who_joins_gets_credentials_that_the_server_takes_and_that_open_its_own_branch_alone(
    outside: httpx2.AsyncClient, secured_nats: SecuredNats, tmp_path: Path
) -> None:
    machine = Machine()
    answer = await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["NodeID"], told["NATSURL"]) == (machine.node_id, secured_nats.url)
    assert told["PublisherURL"] == "http://10.0.0.1:9"
    assert "BEGIN PUBLIC KEY" in told["TokenPublicKey"]
    assert machine.seed not in answer.text
    creds = tmp_path / "node.creds"
    creds.write_text(nats_auth.creds_text(told["JWT"], machine.seed))
    assert nats_auth.name_in_creds(creds.read_text()) == machine.node_id
    leader = await Bus.connect(secured_nats.url, name="leader", creds=secured_nats.keys.creds("scheduler"))
    node = await Bus.connect(secured_nats.url, name="node", creds=creds)
    try:
        heard = await leader.jetstream._nc.subscribe("skrei.v1.up.>")
        await leader.flush()
        await node.publish("skrei.v1.up.n-another.fact", b"forged")
        await node.publish(f"skrei.v1.up.{machine.node_id}.fact", b"own")
        await node.flush()
        message = await heard.next_msg(timeout=5)
        assert (message.subject, message.data) == (f"skrei.v1.up.{machine.node_id}.fact", b"own")
    finally:
        await node.close()
        await leader.close()


async def test_the_same_machine_may_come_again_and_each_time_is_audited(api: Api, outside: httpx2.AsyncClient) -> None:
    machine = Machine()
    for name in ("edge", "edge-2"):
        answer = await outside.post(JOIN_PATH, json=machine.asks(Name=name), headers=TOKEN)
        assert answer.status_code == 200
    rows = await api.rows.link.fetch("SELECT action, object, actor, details FROM audit ORDER BY id")
    assert [(row["action"], row["object"], row["actor"]) for row in rows] == [
        ("node.join", machine.node_id, "joining"),
        ("node.rejoin", machine.node_id, "joining"),
    ]
    assert '"address": "10.0.0.7"' in rows[0]["details"]
    assert await api.rows.link.fetchval("SELECT name FROM node_keys") == "edge-2"


async def test_another_key_for_a_node_in_use_is_refused_until_it_says_that_it_takes_over(
    api: Api, outside: httpx2.AsyncClient
) -> None:
    machine, copy = Machine(), Machine()
    copy.node_id = machine.node_id
    assert (await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)).status_code == 200
    refused = await outside.post(JOIN_PATH, json=copy.asks(), headers=TOKEN)
    assert (refused.status_code, refused.json()["Component"]) == (409, "NodeManager")
    assert "--take-over" in refused.json()["Hint"]
    assert (await outside.post(JOIN_PATH, json=copy.asks(TakeOver=True), headers=TOKEN)).status_code == 200
    assert (await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)).status_code == 409
    actions = await api.rows.link.fetch("SELECT action FROM audit ORDER BY id")
    assert [row["action"] for row in actions] == ["node.join", "node.take-over"]


async def test_the_name_of_a_node_that_never_joined_is_not_given_away(api: Api, outside: httpx2.AsyncClient) -> None:
    machine = Machine()
    await api.rows.node(machine.node_id)
    assert (await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)).status_code == 409
    assert await api.rows.link.fetchval("SELECT count(*) FROM node_keys") == 0


@pytest.mark.parametrize("headers", [{}, OWNER, {"Authorization": "Bearer guess"}])
async def test_without_the_join_token_nobody_joins(
    api: Api, outside: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    for client in (outside, api.http):
        answer = await client.post(JOIN_PATH, json=Machine().asks(), headers=headers)
        assert answer.status_code == 401
        assert "skrei node join-line" in answer.json()["Hint"]
    assert await api.rows.link.fetchval("SELECT count(*) FROM audit") == 0


async def test_the_line_holds_the_token_for_the_owner_alone(api: Api, outside: httpx2.AsyncClient) -> None:
    told = (await outside.get(JOIN_PATH, headers=OWNER)).json()
    assert told["Command"] == f"skrei serve --compute --join http://10.0.0.1:1234 --token {JOIN_TOKEN}"
    local = (await api.http.get(JOIN_PATH)).json()
    assert local["Command"] == "skrei serve --compute --join http://10.0.0.1:1234 --token TOKEN"
    assert (await outside.get(JOIN_PATH, headers=TOKEN)).status_code == 401


async def test_where_nobody_is_signed_joining_says_so(api: Api) -> None:
    deps = replace(api.deps, node_signer=None)
    transport = httpx2.ASGITransport(app=build(deps))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:1234") as client:
        assert (await client.post(JOIN_PATH, json=Machine().asks(), headers=TOKEN)).status_code == 503


async def test_a_revoked_key_is_let_in_no_more(tmp_path: Path) -> None:
    machine, other = Machine(), Machine()
    with server_folder() as folder, spawner() as children:
        authority = keys.load_or_make(folder).authority
        write_secret(folder / "keys" / "revoked", nats_auth.public_key(machine.seed) + "\nnonsense\n")
        trust = nats_auth.server_config(authority, keys.load_or_make(folder).revoked)
        server = NatsServer(folder, NatsOptions(free_port(), trust=trust), children)
        server.start()
        try:
            for each in (machine, other):
                token = nats_auth.node_jwt(authority.signer, nats_auth.public_key(each.seed), each.node_id)
                (tmp_path / each.node_id).write_text(nats_auth.creds_text(token, each.seed))
            await (await Bus.connect(server.url, name="node", creds=tmp_path / other.node_id)).close()
            with pytest.raises(BusUnavailable, match="refuses"):
                await Bus.connect(server.url, name="node", creds=tmp_path / machine.node_id, wait_seconds=2)
        finally:
            server.stop()


def test_a_signer_shows_nothing_of_the_account() -> None:
    authority = nats_auth.Authority.new()
    assert authority.signer == Signer(authority.account_id, authority.signing)
