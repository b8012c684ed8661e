"""Joining over a real record and a real nats-server: who is let in, as whom, and what that opens."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from skrei_domain.ids import new_node_id
from skrei_embedded.nats import NatsOptions, NatsServer, free_port
from skrei_kit import cluster_keys as keys
from skrei_kit import nats_auth
from skrei_kit.bus import Bus, BusUnavailable
from skrei_kit.join import KEY_REVOKED
from skrei_kit.nats_auth import Signer
from skrei_kit.secret_files import write_secret
from skrei_orchestrator_api.access import JOIN_PATH, RENEWAL_PATH
from skrei_orchestrator_api.app import build
from skrei_orchestrator_api.node_access import NodeAccess
from skrei_plugin_api.testing import eventually
from tests.support.api import JOIN_TOKEN, NODES, OWNER_TOKEN, Api, running_api
from tests.support.servers import SecuredNats, server_folder, spawner

TOKEN = {"Authorization": f"Bearer {JOIN_TOKEN}"}
OWNER = {"Authorization": f"Bearer {OWNER_TOKEN}"}


WEEK = 168.0
"""Of hours: longer than any test."""


class Machine:
    """Another machine: a node id and a key of its own."""

    def __init__(self) -> None:
        self.node_id = str(new_node_id())
        self.seed = nats_auth.new_user_seed()

    def renews(self, next_seed: str, **changes: Any) -> dict[str, Any]:
        key, next_key = nats_auth.public_key(self.seed), nats_auth.public_key(next_seed)
        said = nats_auth.renewal(self.node_id, key, next_key)
        proofs = {"Proof": nats_auth.prove(self.seed, said), "NextProof": nats_auth.prove(next_seed, said)}
        return {"NodeID": self.node_id, "PublicKey": key, "NextPublicKey": next_key} | proofs | changes

    def asks(self, **changes: Any) -> dict[str, Any]:
        key = nats_auth.public_key(self.seed)
        return {"NodeID": self.node_id, "PublicKey": key, "Name": "edge", "Time": time.time()} | changes


@pytest.fixture
def hours() -> float:
    """How long what a node is given lasts."""
    return WEEK


@pytest.fixture
async def api(
    postgres_url: str, nats_url: str, secured_nats: SecuredNats, tmp_path: Path, hours: float
) -> AsyncIterator[Api]:
    signer = secured_nats.keys.authority.signer
    changes: dict[str, Any] = {"nats_public_url": secured_nats.url, "join_url": "http://10.0.0.1:1234"}
    changes |= {"join_token_file": tmp_path / "join.token", "revoked_keys_file": tmp_path / "revoked"}
    changes |= {"node_credentials_hours": hours}
    async with running_api(postgres_url, nats_url, node_signer_keys=signer, **changes) as running:
        yield running


@pytest.fixture
async def outside(api: Api) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on another machine."""
    transport = httpx2.ASGITransport(app=build(api.deps), client=("10.0.0.7", 4_000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://10.0.0.1:1234") as client:
        yield client


@pytest.mark.row("9.5/node-trust", "4.9/subjects", "12/node-permissions")
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


@pytest.mark.parametrize("hours", [1 / 3_600])
async def test_what_was_given_ends_by_itself_and_a_node_renews_it_by_its_own_key_also_after_that(
    api: Api, outside: httpx2.AsyncClient, secured_nats: SecuredNats, tmp_path: Path
) -> None:
    machine, next_seed = Machine(), nats_auth.new_user_seed()
    told = (await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)).json()
    stolen, renewed = tmp_path / "stolen.creds", tmp_path / "node.creds"
    stolen.write_text(nats_auth.creds_text(told["JWT"], machine.seed))
    refusals: list[int] = []
    with contextlib.suppress(BusUnavailable):  # where this machine took longer than a second to connect
        node = await Bus.connect(secured_nats.url, name="node", creds=stolen, on_refused=lambda: refusals.append(1))
        async with asyncio.timeout(10):
            await node.ended()
    assert refusals

    async def is_refused() -> bool:
        try:
            await (await Bus.connect(secured_nats.url, name="node", creds=stolen)).close()
        except BusUnavailable:
            return True
        return False

    async with asyncio.timeout(10):
        while not await is_refused():  # the server counts whole seconds
            pass

    async def comes_back() -> bool:
        answer = await outside.post(RENEWAL_PATH, json=machine.renews(next_seed))
        assert answer.status_code == 200, answer.text
        renewed.write_text(nats_auth.creds_text(answer.json()["JWT"], next_seed))
        with contextlib.suppress(BusUnavailable):
            await (await Bus.connect(secured_nats.url, name="node", creds=renewed)).close()
            return True
        return False

    async with asyncio.timeout(10):
        while not await comes_back():  # it asks again with the same key, as after a lost answer
            pass
    assert (await outside.post(RENEWAL_PATH, json=machine.renews(next_seed))).status_code == 200

    refused = await outside.post(RENEWAL_PATH, json=machine.renews(nats_auth.new_user_seed()))
    assert (refused.status_code, "former one" in refused.json()["Message"]) == (409, True)
    assert "--take-over" in refused.json()["Hint"]
    rows = await api.rows.link.fetch("SELECT action, actor, details FROM audit ORDER BY id")
    assert [row["action"] for row in rows] == ["node.join", "node.renew"]
    assert nats_auth.public_key(machine.seed) in rows[1]["details"]


@pytest.mark.parametrize("field", ["Proof", "NextProof", "NodeID", "PublicKey", "NextPublicKey"])
async def test_a_renewal_that_is_not_proven_changes_nothing(api: Api, outside: httpx2.AsyncClient, field: str) -> None:
    machine, thief, next_seed = Machine(), Machine(), nats_auth.new_user_seed()
    assert (await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)).status_code == 200
    wrong = machine.renews(next_seed) | {field: thief.renews(nats_auth.new_user_seed())[field]}
    answer = await outside.post(RENEWAL_PATH, json=wrong)
    assert (answer.status_code, "a signature of the renewal" in answer.json()["Message"]) == (400, True)
    assert (await outside.post(RENEWAL_PATH, json={field: 1})).status_code == 400
    unknown = await outside.post(RENEWAL_PATH, json=thief.renews(next_seed), headers=TOKEN)
    assert (unknown.status_code, "joined here" in unknown.json()["Message"]) == (409, True)
    held = await api.rows.link.fetchval("SELECT key FROM node_keys")
    assert held == nats_auth.public_key(machine.seed)


async def test_revoking_takes_back_the_former_key_too_and_neither_renews(
    api: Api, outside: httpx2.AsyncClient, tmp_path: Path
) -> None:
    machine, next_seed = Machine(), nats_auth.new_user_seed()
    await api.rows.node(machine.node_id)
    assert (await outside.post(JOIN_PATH, json=machine.asks(TakeOver=True), headers=TOKEN)).status_code == 200
    assert (await outside.post(RENEWAL_PATH, json=machine.renews(next_seed))).status_code == 200
    gone = await outside.request("DELETE", f"{NODES}/{machine.node_id}/credentials", json={}, headers=OWNER)
    assert gone.status_code == 200, gone.text
    keys = {nats_auth.public_key(seed) for seed in (machine.seed, next_seed)}
    assert set((tmp_path / "revoked").read_text().split()) == keys
    former, current = machine.renews(nats_auth.new_user_seed()), Machine()
    current.node_id, current.seed = machine.node_id, next_seed
    for body in (former, current.renews(nats_auth.new_user_seed())):
        refused = await outside.post(RENEWAL_PATH, json=body)
        assert (refused.status_code, "revoked" in refused.json()["Message"]) == (409, True)
        assert "keys/node.creds" in refused.json()["Hint"]


@pytest.mark.parametrize(("hours", "ends"), [(WEEK, False), (1 / 3_600, True), (0.0, False)])
async def test_renewing_again_and_again_leaves_no_key_that_could_not_be_taken_back(
    api: Api, outside: httpx2.AsyncClient, tmp_path: Path, ends: bool
) -> None:
    """Two keys of a node are remembered: what is signed for the one before them has ended, or is revoked with them."""
    machine, revoked = Machine(), tmp_path / "revoked"
    assert (await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)).status_code == 200
    used = [nats_auth.public_key(machine.seed)]
    for _ in range(3):
        next_seed = nats_auth.new_user_seed()
        for _ in range(2):  # each answer is lost once
            assert (await outside.post(RENEWAL_PATH, json=machine.renews(next_seed))).status_code == 200
        machine.seed = next_seed
        used.append(nats_auth.public_key(next_seed))
    assert (revoked.read_text().split() if revoked.exists() else []) == ([] if ends else used[:2])
    assert (await api.rows.link.fetchval("SELECT count(*) FROM audit WHERE action = 'node.renew'")) == 3

    await api.rows.node(machine.node_id)
    gone = await outside.request("DELETE", f"{NODES}/{machine.node_id}/credentials", json={}, headers=OWNER)
    assert gone.status_code == 200, gone.text
    assert set(revoked.read_text().split()) == set(used[2:] if ends else used)


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


async def test_another_key_for_a_node_in_use_is_refused_until_it_takes_over_which_revokes_the_first(
    api: Api, outside: httpx2.AsyncClient, tmp_path: Path
) -> None:
    machine, copy = Machine(), Machine()
    copy.node_id = machine.node_id
    assert (await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)).status_code == 200
    refused = await outside.post(JOIN_PATH, json=copy.asks(), headers=TOKEN)
    assert (refused.status_code, refused.json()["Component"]) == (409, "NodeManager")
    assert "--take-over" in refused.json()["Hint"]
    assert (await outside.post(JOIN_PATH, json=copy.asks(TakeOver=True), headers=TOKEN)).status_code == 200
    gone = await outside.post(JOIN_PATH, json=machine.asks(TakeOver=True), headers=TOKEN)
    assert (gone.status_code, "revoked" in gone.json()["Message"]) == (409, True)
    assert gone.json()["Details"]["Reason"] == KEY_REVOKED, "it is not the node that is taken"
    assert (tmp_path / "revoked").read_text().split() == [nats_auth.public_key(machine.seed)]
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


async def test_the_owner_shuts_a_node_out_and_nobody_else_does(
    api: Api, outside: httpx2.AsyncClient, tmp_path: Path
) -> None:
    machine = Machine()
    path = f"{NODES}/{machine.node_id}/credentials"
    (tmp_path / "revoked").write_text("written by hand")
    await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)
    assert (await outside.request("DELETE", path, json={}, headers=OWNER)).status_code == 404, "not heard of yet"
    await api.rows.node(machine.node_id)
    assert (await api.http.request("DELETE", path, json={})).status_code == 403, "a program of this machine"
    answer = await outside.request("DELETE", path, json={"Reason": "stolen"}, headers=OWNER)
    assert (answer.status_code, answer.json()) == (200, {"NodeID": machine.node_id})
    assert (tmp_path / "revoked").read_text().split("\n") == ["written by hand", nats_auth.public_key(machine.seed), ""]
    again = await outside.request("DELETE", path, json={}, headers=OWNER)
    assert (again.status_code, "revoked before" in again.json()["Message"]) == (409, True)
    assert (await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)).status_code == 409
    machine.seed = nats_auth.new_user_seed()
    assert (await outside.post(JOIN_PATH, json=machine.asks(TakeOver=True), headers=TOKEN)).status_code == 200
    row = await api.rows.link.fetchrow("SELECT actor, details FROM audit WHERE action = 'node.revoke'")
    assert (row["actor"], '"stolen"' in row["details"]) == ("owner", True)


async def test_a_new_join_token_shuts_out_who_has_the_old_one(
    api: Api, outside: httpx2.AsyncClient, tmp_path: Path
) -> None:
    assert (await api.http.post(f"{JOIN_PATH}/token")).status_code == 403
    told = (await outside.post(f"{JOIN_PATH}/token", headers=OWNER)).json()["Command"]
    fresh = (tmp_path / "join.token").read_text()
    assert told == f"skrei serve --compute --join http://10.0.0.1:1234 --token {fresh}"
    assert (await outside.post(JOIN_PATH, json=Machine().asks(), headers=TOKEN)).status_code == 401
    now = {"Authorization": f"Bearer {fresh}"}
    assert (await outside.post(JOIN_PATH, json=Machine().asks(), headers=now)).status_code == 200


async def test_a_token_that_another_server_changed_is_followed_and_one_that_cannot_be_changed_here_says_how(
    api: Api, outside: httpx2.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "join.token").write_text("another\n")
    await api.deps.access.follow()
    assert (await outside.post(JOIN_PATH, json=Machine().asks(), headers=TOKEN)).status_code == 401
    now = {"Authorization": "Bearer another"}
    assert (await outside.post(JOIN_PATH, json=Machine().asks(), headers=now)).status_code == 200
    access = NodeAccess(
        api.deps.record, api.deps.gate, token_file=tmp_path / "join.token/in-no-folder", revoked_file=None,
        rotate_hint="run: kubectl patch",
    )  # fmt: skip
    transport = httpx2.ASGITransport(app=build(replace(api.deps, access=access)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:1234") as client:
        refused = await client.post(f"{JOIN_PATH}/token", headers=OWNER)
    assert refused.status_code == 409
    assert "the join token cannot be changed here" in refused.json()["Message"]
    assert refused.json()["Hint"] == "run: kubectl patch"
    assert (await outside.post(JOIN_PATH, json=Machine().asks(), headers=now)).status_code == 200, "as it was"


async def test_where_the_transport_is_told_by_hand_a_revoked_key_is_out_here_and_the_owner_told_how_there(
    api: Api, outside: httpx2.AsyncClient
) -> None:
    machine, hint = Machine(), "patch '{keys}'"
    await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)
    await api.rows.node(machine.node_id)
    access = NodeAccess(api.deps.record, api.deps.gate, token_file=None, revoked_file=None, revoke_hint=hint)
    transport = httpx2.ASGITransport(app=build(replace(api.deps, access=access)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:1234") as client:
        path = f"{NODES}/{machine.node_id}/credentials"
        told = (await client.request("DELETE", path, json={}, headers=OWNER)).json()
    assert told == {"NodeID": machine.node_id, "Next": f"patch '{nats_auth.public_key(machine.seed)}'"}
    assert (await outside.post(JOIN_PATH, json=machine.asks(), headers=TOKEN)).status_code == 409


async def test_where_nobody_is_signed_joining_says_so(api: Api) -> None:
    deps = replace(api.deps, node_signer=None)
    transport = httpx2.ASGITransport(app=build(deps))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:1234") as client:
        assert (await client.post(JOIN_PATH, json=Machine().asks(), headers=TOKEN)).status_code == 503


async def test_a_key_that_is_revoked_is_cut_off_and_let_in_no_more(tmp_path: Path) -> None:
    machine, other = Machine(), Machine()
    with server_folder() as folder, spawner() as children:
        made = keys.load_or_make(folder)
        authority = made.authority
        server = NatsServer(folder, NatsOptions(free_port(), trust=nats_auth.server_config(authority)), children)
        server.start()
        try:
            for each in (machine, other):
                token = nats_auth.node_jwt(authority.signer, nats_auth.public_key(each.seed), each.node_id)
                (tmp_path / each.node_id).write_text(nats_auth.creds_text(token, each.seed))
            links = [
                await Bus.connect(server.url, name="node", creds=tmp_path / each.node_id) for each in (machine, other)
            ]
            write_secret(made.revoked_file, nats_auth.public_key(machine.seed) + "\nnonsense\n")
            server.trust(nats_auth.server_config(authority, made.revoked))
            await eventually(lambda: not links[0].connected)
            await links[1].flush()
            assert links[1].connected
            for link in links:
                await link.close()
            with pytest.raises(BusUnavailable, match="refuses"):
                await Bus.connect(server.url, name="node", creds=tmp_path / machine.node_id, wait_seconds=2)
        finally:
            server.stop()


def test_a_signer_shows_nothing_of_the_account() -> None:
    authority = nats_auth.Authority.new()
    assert authority.signer == Signer(authority.account_id, authority.signing)
