"""A node's credentials are renewed in time, with a key that nobody else has, and a lost answer costs nothing."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from skrei_compute_agent import renewal as module
from skrei_compute_agent.renewal import CLOCK_SECONDS, PATH, Refused, Renewer, due_in
from skrei_domain.errors import Unavailable
from skrei_kit import nats_auth
from skrei_kit.nats_auth import Authority, User
from skrei_plugin_api.testing import eventually
from tests.support.publisher_door import Proxy
from tests.support.web import serving

NODE = "n-00000000-0000-4000-8000-000000000001"
AUTHORITY = Authority.new()


class Api:
    """Signs what it is asked for; `answers` are what it does first instead: a status, or losing the answer."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answers: list[int | str] = []
        self.seconds = 3_600.0

    async def renew(self, request: web.Request) -> web.Response:
        body: dict[str, str] = await request.json()
        self.asked.append(body)
        said = nats_auth.renewal(body["NodeID"], body["PublicKey"], body["NextPublicKey"])
        assert nats_auth.is_proven(body["PublicKey"], said, body["Proof"])
        assert nats_auth.is_proven(body["NextPublicKey"], said, body["NextProof"])
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, str):
            return web.Response(text=answer)
        if answer != 200:
            return web.json_response({"Message": "no", "Hint": "do this"}, status=answer)
        token = nats_auth.node_jwt(AUTHORITY.signer, body["NextPublicKey"], body["NodeID"], seconds=self.seconds)
        return web.json_response({"NodeID": body["NodeID"], "JWT": token})


class Node:
    def __init__(self, folder: Path, url: str, *, seconds: float) -> None:
        self.creds = folder / "node.creds"
        self.seed = nats_auth.new_user_seed()
        self.key = nats_auth.public_key(self.seed)
        self.creds.write_text(
            nats_auth.creds_text(nats_auth.node_jwt(AUTHORITY.signer, self.key, NODE, seconds=seconds), self.seed)
        )
        self.renewals = 0
        self.troubles: list[tuple[str, str]] = []
        self.renewer = Renewer(
            self.creds, api=lambda: url, renewed=self.renewed, trouble=lambda *told: self.troubles.append(told)
        )

    def renewed(self) -> None:
        self.renewals += 1

    def held(self) -> tuple[User, str]:
        return nats_auth.read_creds(self.creds.read_text())

    async def once(self) -> None:
        await self.renewer.renew(*self.held())


@asynccontextmanager
async def renewing(node: Node) -> AsyncIterator[None]:
    running = asyncio.create_task(node.renewer.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(module, "REFUSED_SECONDS", 0.01)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post(PATH, api.renew)
    async with serving(app) as at:
        yield at


async def test_credentials_are_renewed_with_a_key_of_their_own_that_only_their_owner_reads(
    api: Api, url: str, tmp_path: Path
) -> None:
    node = Node(tmp_path, url, seconds=3_600)
    await node.once()
    user, seed = node.held()
    assert (user.name, user.key) == (NODE, nats_auth.public_key(seed))
    assert user.key != node.key
    assert stat.S_IMODE(node.creds.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["node.creds"]  # noqa: PTH208
    assert seed not in str(api.asked)


async def test_an_answer_that_comes_in_small_packets_is_read_to_its_end(api: Api, url: str, tmp_path: Path) -> None:
    proxy = Proxy(int(url.rsplit(":", 1)[1]), crumbs=100)
    node = Node(tmp_path, await proxy.start(), seconds=3_600)
    try:
        await node.once()
    finally:
        await proxy.stop()
    assert node.held()[0].key != node.key
    assert len(api.asked) == 1


async def test_after_a_lost_answer_the_same_next_key_is_asked_for(api: Api, url: str, tmp_path: Path) -> None:
    node = Node(tmp_path, url, seconds=3_600)
    for lost in (503, "<html>a proxy</html>", '{"JWT": "of.another.kind"}'):
        api.answers.append(lost)
        with pytest.raises(Unavailable):
            await node.once()
    assert node.held()[0].key == node.key
    await node.once()
    assert len({asked["NextPublicKey"] for asked in api.asked}) == 1
    assert node.held()[0].key == api.asked[-1]["NextPublicKey"]


async def test_whoever_is_let_in_no_longer_is_told_why(api: Api, url: str, tmp_path: Path) -> None:
    node = Node(tmp_path, url, seconds=3_600)
    api.answers.append(409)
    with pytest.raises(Refused, match="no") as caught:
        await node.once()
    assert caught.value.hint == "do this"
    assert node.held()[0].key == node.key


async def test_they_are_renewed_again_and_again_before_they_end(api: Api, url: str, tmp_path: Path) -> None:
    api.seconds = 1
    node = Node(tmp_path, url, seconds=1)
    async with renewing(node):
        await eventually(lambda: node.renewals >= 2)
    assert node.troubles == []


async def test_a_refusing_transport_has_them_renewed_at_once_and_says_why_while_that_fails(
    api: Api, url: str, tmp_path: Path
) -> None:
    node = Node(tmp_path, url, seconds=3_600)
    api.answers = [503, 409]
    async with renewing(node):
        node.renewer.refused()
        await eventually(lambda: node.renewals == 1)
    assert len(api.asked) == 3
    assert [hint for _, hint in node.troubles] == ["do this", "do this"]
    assert all("refuses this node" in said for said, _ in node.troubles)


async def test_credentials_without_an_end_are_left_alone(api: Api, url: str, tmp_path: Path) -> None:
    node = Node(tmp_path, url, seconds=0)
    user = node.held()[0]
    assert user.expires is None
    assert due_in(user, time.time()) is None
    async with renewing(node):
        for _ in range(2):  # twice: it has looked, and would ask now
            node.renewer.refused()
            await eventually(lambda: not node.renewer._refused.is_set())
    assert api.asked == []


@given(
    issued=st.integers(0, 2**32), lives=st.integers(1, 10**8), passed=st.floats(-(10.0**9), 10.0**9, allow_nan=False)
)
def test_they_are_due_at_half_of_their_time_whatever_the_clock_says(issued: int, lives: int, passed: float) -> None:
    wait = due_in(User(NODE, "U", issued, issued + lives), issued + passed)
    assert wait is not None
    assert 0 <= wait <= lives / 2 + CLOCK_SECONDS + 1
    assert (wait == 0) == (passed >= lives / 2 or passed < -CLOCK_SECONDS) or abs(passed - lives / 2) < 1


def test_a_proof_holds_for_one_text_and_one_key() -> None:
    seed, other = nats_auth.new_user_seed(), nats_auth.new_user_seed()
    key = nats_auth.public_key(seed)
    proof = nats_auth.prove(seed, "said")
    assert nats_auth.is_proven(key, "said", proof)
    assert not nats_auth.is_proven(key, "another", proof)
    assert not nats_auth.is_proven(nats_auth.public_key(other), "said", proof)
    rubbish: list[Any] = ["", "====", "a", proof[:-4], proof + "AAAA", "\N{SNOWMAN}"]
    assert not any(nats_auth.is_proven(key, "said", each) for each in rubbish)
    assert not any(nats_auth.is_proven(each, "said", proof) for each in ("", "U", key[:-1], "\N{SNOWMAN}" * 56))


def test_what_a_user_s_jwt_says_is_read_and_rubbish_is_refused() -> None:
    token = nats_auth.node_jwt(AUTHORITY.signer, nats_auth.public_key(nats_auth.new_user_seed()), NODE, seconds=60)
    read = nats_auth.read_jwt(token)
    assert read.expires == read.issued + 60
    assert abs(read.issued - time.time()) < 5
    for wrong in ("", "a.b", "a.b.c", "a.e30.c", "\N{SNOWMAN}.\N{SNOWMAN}.c", "a.W10.c"):
        with pytest.raises(ValueError, match="no JWT"):
            nats_auth.read_jwt(wrong)
