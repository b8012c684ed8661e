"""How a scheduler goes: at once, with its lease handed back; and how every service goes that nobody ever let in."""

import asyncio
import functools
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from skrei_embedded.nats import free_port
from skrei_kit.signing_keys import new_key
from skrei_scheduler import lease
from skrei_scheduler.lease import LeaseKeeper
from tests.support.record import connection
from tests.support.servers import SecuredNats

SECONDS = 20.0
"""For anything that a loaded machine does here; reached only by failures."""
SOON = 5.0
"""A service that has nothing left to do is gone long before; the waits that it must not sit out take longer."""
LEASE = 600.0
"""Nobody leads twice in a test unless the lease was handed back."""


@asynccontextmanager
async def a_service(module: str, folder: Path, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    private, public = new_key()
    key, public_key, token = folder / "key", folder / "key.pub", folder / "token"
    key.write_bytes(private)
    public_key.write_bytes(public)
    token.write_text("internal")
    environment = os.environ | {
        "SKREI_TOKEN_KEY": str(key),
        "SKREI_TOKEN_PUBLIC_KEY": str(public_key),
        "SKREI_INTERNAL_TOKEN_FILE": str(token),
        "SKREI_DATA_DIR": str(folder / "data"),
        "SKREI_LEASE_SECONDS": str(LEASE),
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-m", module, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until_held(db: asyncpg.Connection) -> int:
    """Return the epoch of a lease that somebody holds."""
    async with asyncio.timeout(SECONDS):
        while True:
            epoch: int | None = await db.fetchval("SELECT epoch FROM leases WHERE expires_at > clock_timestamp()")
            if epoch is not None:
                return epoch
            await asyncio.sleep(0.02)


async def gone(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(SOON):
        _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_a_leader_that_stops_hands_its_lease_back(
    postgres_url: str, secured_nats: SecuredNats, tmp_path: Path
) -> None:
    creds = str(secured_nats.keys.creds("scheduler"))
    settings = {"SKREI_DATABASE_URL": postgres_url, "SKREI_NATS_URL": secured_nats.url, "SKREI_NATS_CREDS": creds}
    async with connection(postgres_url) as db:
        async with a_service("skrei_scheduler", tmp_path, **settings) as process:
            assert await until_held(db) == 1
            process.send_signal(signal.SIGTERM)
            said = await gone(process)
            assert "Traceback" not in said
        assert await db.fetchval("SELECT count(*) FROM leases WHERE expires_at > clock_timestamp()") == 0
        async with a_service("skrei_scheduler", tmp_path, **settings):
            assert await until_held(db) == 2


class Keeper:
    """A keeper, and what it said, in order."""

    def __init__(self, url: str, holder: str) -> None:
        self.said: asyncio.Queue[int | None] = asyncio.Queue()
        self.keeper = LeaseKeeper(url, holder, LEASE, self.said.put_nowait)
        self.keeper.start()

    async def next(self) -> int | None:
        async with asyncio.timeout(SOON):
            return await self.said.get()


@pytest.mark.row("4.10/two-orchestrators")
async def test_a_standby_leads_as_soon_as_the_leader_stops(postgres_url: str) -> None:
    first = Keeper(postgres_url, "first")
    assert await first.next() == 1
    second = Keeper(postgres_url, "second")
    await first.keeper.stop()
    assert await first.next() is None
    assert await second.next() == 2
    await second.keeper.stop()


async def test_an_epoch_that_was_given_up_is_followed_by_another_and_only_once(postgres_url: str) -> None:
    keeper = Keeper(postgres_url, "only")
    assert await keeper.next() == 1
    keeper.keeper.give_up(1)
    assert [await keeper.next(), await keeper.next()] == [None, 2]
    keeper.keeper.give_up(1)  # late: that epoch is over
    await keeper.keeper.stop()
    assert await keeper.next() is None
    assert keeper.said.empty()
    async with connection(postgres_url) as db:
        assert await db.fetchval("SELECT epoch FROM leases") == 2


async def test_a_leader_whose_loop_stands_still_does_not_lead_for_ever(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "MOST_UNANSWERED", 2)
    loop, stuck, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    async def lead() -> None:
        taken = asyncio.Event()

        def take(epoch: int | None) -> None:
            if epoch is not None:
                go_on.wait()  # the loop goes no further
                taken.set()

        tell = functools.partial(loop.call_soon_threadsafe, stuck.set)
        keeper = LeaseKeeper(postgres_url, "stuck", 0.9, take, stuck=tell)
        keeper.start()
        await taken.wait()
        await keeper.stop()

    leading = asyncio.create_task(asyncio.to_thread(asyncio.run, lead()))
    try:
        async with asyncio.timeout(SECONDS):
            await stuck.wait()
    finally:
        go_on.set()
        await leading


async def test_a_loop_that_takes_its_turns_is_left_alone(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "MOST_UNANSWERED", 2)
    stuck = threading.Event()
    taken = asyncio.Event()
    keeper = LeaseKeeper(postgres_url, "well", 0.9, lambda _: taken.set(), stuck=stuck.set)
    keeper.start()
    await taken.wait()
    ends: set[object] = set()
    async with connection(postgres_url) as db, asyncio.timeout(SECONDS):
        while len(ends) < 6:
            ends.add(await db.fetchval("SELECT expires_at FROM leases"))
    assert not stuck.is_set()
    await keeper.stop()


async def test_a_keeper_without_a_database_stops_at_once(unused_tcp_port: int) -> None:
    keeper = Keeper(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/none", "first")
    async with asyncio.timeout(SOON):
        await keeper.keeper.stop()
    assert keeper.said.empty()


@pytest.fixture
def unused_tcp_port() -> int:
    return free_port()


@pytest.mark.parametrize(
    "module", ["skrei_scheduler", "skrei_publisher", "skrei_orchestrator_api", "skrei_compute_agent"]
)
@pytest.mark.parametrize("silent", [True, False], ids=["silent-server", "no-server"])
async def test_sigterm_is_heard_while_a_service_waits_for_its_transport(
    module: str, silent: bool, postgres_url: str, tmp_path: Path
) -> None:
    """A server that accepts and says nothing stands for every wait in there, none for the wait for the port."""
    links: list[asyncio.StreamWriter] = []
    asked = asyncio.Event()

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.append(writer)
        if len(links) == 2:  # the first one only looks whether somebody listens
            asked.set()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1] if silent else free_port()
        settings = {
            "SKREI_DATABASE_URL": postgres_url,
            "SKREI_NATS_URL": f"nats://127.0.0.1:{port}",
            "SKREI_API_PORT": str(free_port()),
        }
        async with a_service(module, tmp_path, **settings) as process:
            if silent:
                async with asyncio.timeout(SECONDS):
                    await asked.wait()
            else:
                await loaded(process)
            process.send_signal(signal.SIGTERM)
            said = await gone(process)
            assert "Traceback" not in said
            assert "ResourceWarning" not in said
        for link in links:
            link.close()


async def loaded(process: asyncio.subprocess.Process) -> None:
    """Return once the process handles SIGTERM itself (bit 14 of what it catches)."""
    async with asyncio.timeout(SECONDS):
        while True:
            if caught(process.pid) & 1 << signal.SIGTERM - 1:
                return
            await asyncio.sleep(0.02)


def caught(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("SigCgt")).split()[1], 16)
