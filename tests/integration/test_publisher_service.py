"""The publisher as a process with its own few rights at NATS, beside an API that has only the internal route."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession, web
from aiohttp.test_utils import TestServer

from skrei_domain import envelope, subjects
from skrei_domain.messages import PublisherCommand, PublisherFact, ResultHeld
from skrei_embedded.nats import free_port
from skrei_kit.bus import Bus, Message
from skrei_kit.tokens import TokenSigner
from skrei_publisher.store import digest_of
from tests.support.servers import SecuredNats

SECONDS = 20.0
"""For anything that a loaded machine does here; reached only by failures."""
RESULTS = {f"e-{n}": f"result {n}".encode() * 50 for n in range(30)}


@dataclass
class Place:
    """Everything around the publisher."""

    root: Path
    bus: Bus
    nats: SecuredNats
    api: TestServer
    api_url: str
    port: int
    signer: TokenSigner
    facts: asyncio.Queue[PublisherFact] = field(default_factory=asyncio.Queue)

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[asyncio.subprocess.Process]:
        environment = os.environ | {
            "SKREI_NATS_URL": self.nats.url,
            "SKREI_NATS_CREDS": str(self.nats.keys.creds("publisher")),
            "SKREI_API_URL": self.api_url,
            "SKREI_PUBLISHER_PORT": str(self.port),
            "SKREI_TOKEN_PUBLIC_KEY": str(self.nats.keys.token_public_key),
            "SKREI_INTERNAL_TOKEN_FILE": str(self.nats.keys.internal_token),
            "SKREI_DATA_DIR": str(self.root / "data"),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "skrei_publisher", env=environment, stderr=asyncio.subprocess.PIPE
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def listening(self) -> None:
        async with asyncio.timeout(SECONDS), ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/healthz") as answer:
                        assert (await answer.json())["Status"] == "OK"
                        return
                except ClientConnectionError:
                    await asyncio.sleep(0.05)

    async def get(self, execution_id: str) -> tuple[int, bytes]:
        token = self.signer.download(execution_id, seconds=60)
        url = f"http://127.0.0.1:{self.port}/results/{execution_id}.tar.gz?token={token}"
        async with ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.read()

    async def command(self, command: PublisherCommand) -> None:
        payload = envelope.wrap(command, type_=command.type, source="test", id_="1")
        await self.bus.publish(subjects.PUBLISHER_COMMAND, payload)

    async def stored(self, count: int) -> dict[str, str]:
        found: dict[str, str] = {}
        async with asyncio.timeout(SECONDS):
            while len(found) < count:
                found |= dict((await self.facts.get()).stored)
        return found


def held(execution_id: str) -> ResultHeld:
    content = RESULTS[execution_id]
    return ResultHeld(
        execution_id=execution_id,
        digest=digest_of(content),
        size=len(content),
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    )


def internal_route(secret: str) -> web.Application:
    async def internal(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {secret}"
        content = RESULTS.get(request.match_info["id"])
        return web.Response(body=content) if content else web.Response(status=404)

    async def bulk(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {secret}"
        found = {each: RESULTS[each] for each in await request.json() if each in RESULTS}
        head = json.dumps([[each, len(content)] for each, content in found.items()]).encode()
        return web.Response(body=b"\n".join([head, b"".join(found.values())]))

    app = web.Application()
    app.router.add_get("/internal/results/{id}", internal)
    app.router.add_post("/internal/results", bulk)
    return app


@pytest.fixture
async def place(tmp_path: Path, secured_nats: SecuredNats) -> AsyncIterator[Place]:
    keys = secured_nats.keys
    async with AsyncExitStack() as stack:
        bus = await Bus.connect(secured_nats.url, name="leader", creds=keys.creds("scheduler"))
        stack.push_async_callback(bus.close)
        api = await stack.enter_async_context(TestServer(internal_route(keys.internal_token.read_text())))
        signer = TokenSigner(keys.token_key.read_bytes())
        place = Place(tmp_path, bus, secured_nats, api, str(api.make_url("/")), free_port(), signer)

        async def heard(message: Message) -> None:
            place.facts.put_nowait(envelope.unwrap(PublisherFact, message.data))

        await bus.subscribe(subjects.PUBLISHER_FACT, heard)
        await bus.flush()
        yield place


async def test_results_are_taken_over_served_and_kept_through_a_kill(place: Place) -> None:
    async with place.publisher() as process:
        await place.listening()
        assert await place.get("e-0") == (200, RESULTS["e-0"])
        await place.command(PublisherCommand(take=tuple(map(held, RESULTS))))
        assert await place.stored(len(RESULTS)) == {name: digest_of(content) for name, content in RESULTS.items()}
        process.kill()
        await process.wait()
    await place.api.close()
    async with place.publisher():
        await place.listening()
        assert await place.get("e-7") == (200, RESULTS["e-7"])
        status, body = await place.get("e-unknown")
        assert (status, b"cannot be read right now" in body) == (503, True)


async def test_what_is_dropped_is_gone_and_told(place: Place) -> None:
    async with place.publisher():
        await place.listening()
        await place.command(PublisherCommand(take=(held("e-1"),)))
        await place.stored(1)
        await place.command(PublisherCommand(drop=("e-1",)))
        async with asyncio.timeout(SECONDS):
            assert (await place.facts.get()).dropped == ("e-1",)
        assert list((place.root / "data" / "results").rglob("e-1*")) == []


async def test_a_message_that_nobody_can_read_is_skipped(place: Place) -> None:
    async with place.publisher():
        await place.listening()
        await place.bus.publish(subjects.PUBLISHER_COMMAND, b"\x00 not json")
        await place.command(PublisherCommand(take=(held("e-2"),)))
        assert set(await place.stored(1)) == {"e-2"}


async def test_a_second_publisher_on_the_same_store_is_refused_in_one_line(place: Place) -> None:
    async with place.publisher():
        await place.listening()
        async with place.publisher() as second, asyncio.timeout(SECONDS):
            _, said = await second.communicate()
            assert second.returncode == 1
            assert b"Another publisher writes" in said
            assert said.count(b"\n") == 1


async def test_a_stop_is_quick_and_clean(place: Place) -> None:
    async with place.publisher() as process:
        await place.listening()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await process.wait() == 0
