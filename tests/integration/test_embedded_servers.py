"""The embedded Postgres and nats-server: real, durable, ours alone, and never beside an earlier life of theirs."""

import asyncio
import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from structlog.testing import capture_logs

from skrei_domain.errors import Invalid
from skrei_embedded import installs, servers
from skrei_embedded.nats import ROOM_BYTES, NatsFailed, NatsOptions, NatsServer, free_port
from skrei_embedded.postgres import LONGEST_SOCKET, Postgres
from skrei_embedded.processes import Spawner, unprivileged
from skrei_embedded.servers import end_if_it_stores_no_more
from skrei_embedded.whereabouts import StackOptions, Whereabouts
from skrei_kit import cluster_keys as keys
from skrei_kit import nats_auth, topology
from skrei_kit.bus import Bus
from skrei_kit.health_check import ask as ask_health
from skrei_plugin_api.testing import eventually
from tests.support.servers import as_root, server_folder, spawner

needs_root = pytest.mark.skipif(not as_root(), reason="only root runs Postgres under another account")


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


@pytest.fixture
def children() -> Iterator[Spawner]:
    with spawner() as made:
        yield made


@pytest.fixture
def postgres(folder: Path, children: Spawner) -> Iterator[Postgres]:
    made = Postgres(folder, children)
    yield made
    made.stop()


async def ask(url: str, question: str) -> object:
    link = await asyncpg.connect(url)
    try:
        return await link.fetchval(question)
    finally:
        await link.close()


async def test_what_was_committed_is_there_after_a_kill(postgres: Postgres) -> None:
    postgres.start()
    link = await asyncpg.connect(postgres.url)
    await link.execute("CREATE TABLE kept (n int)")
    await link.execute("INSERT INTO kept VALUES (7)")
    assert postgres.process is not None
    postgres.process.kill()
    postgres.process.wait()
    link.terminate()
    postgres.start()
    assert await ask(postgres.url, "SELECT n FROM kept") == 7


async def test_it_is_durable_and_listens_on_its_socket_alone(postgres: Postgres) -> None:
    postgres.start()
    assert await ask(postgres.url, "SELECT current_setting('fsync')") == "on"
    assert await ask(postgres.url, "SELECT current_setting('synchronous_commit')") == "on"
    assert await ask(postgres.url, "SELECT current_setting('listen_addresses')") == ""


async def test_a_server_that_outlived_its_supervisor_makes_room(folder: Path, postgres: Postgres) -> None:
    postgres.start()
    first = postgres.process
    assert first is not None
    with spawner() as others:
        successor = Postgres(folder, others)
        try:
            successor.start()
            assert first.poll() is not None
            assert await ask(successor.url, "SELECT 1") == 1
        finally:
            successor.stop()


async def test_a_pid_file_that_names_another_process_today_stops_nothing(folder: Path, postgres: Postgres) -> None:
    postgres.start()
    assert postgres.process is not None
    lines = (folder / "postgres" / "postmaster.pid").read_text().splitlines()
    postgres.stop()
    lines[0] = str(os.getpid())
    (folder / "postgres" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    postgres.start()
    assert await ask(postgres.url, "SELECT 1") == 1


def test_a_half_made_database_is_made_again(folder: Path, postgres: Postgres) -> None:
    (folder / "postgres.new").mkdir()
    (folder / "postgres.new" / "PG_VERSION").write_text("15\n")
    postgres.start()
    assert not (folder / "postgres.new").exists()


async def test_a_deep_data_folder_gets_its_socket_elsewhere(folder: Path, children: Spawner) -> None:
    deep = folder / ("d" * 100)
    deep.mkdir(mode=0o711)
    deep.chmod(0o711)
    postgres = Postgres(deep, children)
    try:
        postgres.start()
        assert postgres.process is not None
        sockets = Path(str(await ask(postgres.url, "SELECT current_setting('unix_socket_directories')")))
        assert len(os.fsencode(sockets)) < LONGEST_SOCKET
        assert stat.S_IMODE(os.stat(sockets).st_mode) == 0o700  # noqa: PTH116
    finally:
        postgres.stop()
    with pytest.raises(FileNotFoundError):
        os.stat(sockets)  # noqa: PTH116


@needs_root
def test_a_folder_that_the_database_user_cannot_pass_is_refused_and_left_as_it_was(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    data = closed / "data"
    data.mkdir(mode=0o711)
    with spawner() as children, pytest.raises(Invalid, match=rf"cannot pass {closed}, on the way to --data-dir {data}"):
        Postgres(data, children).start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
async def test_programs_that_the_database_user_cannot_read_are_copied_once(
    folder: Path, children: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = next(path for path in installs._postgres_folders() if path.parent.name == "pginstall")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    package = wheel.parent.parent
    (closed / package.name).mkdir()
    (closed / package.name / "pginstall").symlink_to(wheel.parent)
    (closed / f"{package.name}.libs").symlink_to(package.with_name(f"{package.name}.libs"))
    monkeypatch.setattr(installs, "_postgres_folders", lambda: [closed / package.name / "pginstall" / "bin"])
    postgres = Postgres(folder, children)
    try:
        postgres.start()
        assert await ask(postgres.url, "SELECT 1") == 1
        assert "postgres-16" in os.listdir(folder)  # noqa: PTH208
    finally:
        postgres.stop()


@needs_root
def test_another_account_cannot_connect_as_us(folder: Path, postgres: Postgres) -> None:
    psql = installs.find_postgres().binaries / "psql"
    if not psql.exists():
        pytest.skip("this Postgres comes without psql")
    postgres.start()
    account = unprivileged()  # the server's own, the only other one that passes its folder
    assert account is not None
    done = subprocess.run(
        [psql, postgres.url, "-c", "SELECT 1"],
        user=account.name,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "eer authentication failed" in done.stderr


def test_nats_names_the_port_that_is_taken(folder: Path, children: Spawner, nats_url: str) -> None:
    server = NatsServer(folder, NatsOptions(int(nats_url.rpartition(":")[2])), children)
    with pytest.raises(NatsFailed, match="port"):
        server.start()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets timers be late")
def test_a_child_s_timers_may_be_late_where_it_is_told_so(folder: Path, children: Spawner) -> None:
    for asked, told in ((0.0, Path("/proc/self/timerslack_ns").read_text().strip()), (0.002, "2000000")):
        with (folder / "slack").open("wb") as log:
            script = "print(open('/proc/self/timerslack_ns').read().strip())"
            child = children.start(
                [sys.executable, "-I", "-c", script], environment={}, log=log, timer_slack_seconds=asked
            )
        assert child.wait(30) == 0
        assert (folder / "slack").read_text().strip() == told


async def test_streams_outlive_a_killed_nats_server(folder: Path, children: Spawner) -> None:
    server = NatsServer(folder, NatsOptions(free_port()), children)
    server.start()
    try:
        bus = await Bus.connect(server.url, name="test")
        made = await bus.ensure_stream(topology.facts())
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        server.start()
        await bus.close()
        bus = await Bus.connect(server.url, name="test")
        again = await bus.stream_info("FACTS")
        await bus.close()
        assert again is not None
        assert again.created == made.created
    finally:
        server.stop()


def test_children_die_with_a_killed_parent(folder: Path) -> None:
    program = (
        "import os, sys, signal, pathlib\n"
        "from skrei_embedded.processes import Spawner\n"
        "from skrei_embedded.postgres import Postgres\n"
        "from skrei_embedded.nats import NatsServer, NatsOptions, free_port\n"
        "folder, children = pathlib.Path(sys.argv[1]), Spawner()\n"
        "postgres, nats = Postgres(folder, children), NatsServer(folder, NatsOptions(free_port()), children)\n"
        "postgres.start(); nats.start()\n"
        "print(postgres.process.pid, nats.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    for pid in pids:
        gone(pid)


def gone(pid: int) -> None:
    """Return once a process that is not our child has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(10)


def test_keys_are_made_once_and_are_ours_to_read_alone(folder: Path) -> None:
    made = keys.load_or_make(folder)
    again = keys.load_or_make(folder)
    assert made == again
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.folder.iterdir()} == {0o600}


@contextlib.contextmanager
def no_file_larger(pid: int, most_bytes: int) -> Iterator[None]:
    """What a process writes beyond these bytes of a file is refused, as by a full disk."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


async def test_a_nats_server_that_could_not_store_is_ended_once_there_is_room(folder: Path, children: Spawner) -> None:
    health = free_port()
    server = NatsServer(folder, NatsOptions(free_port(), trust=f"http: 127.0.0.1:{health}\n"), children)
    server.start()
    first = server.process
    assert first is not None
    back = asyncio.Event()

    async def on_reconnect() -> None:
        back.set()

    bus = await Bus.connect(server.url, name="test", on_reconnect=on_reconnect, wait_seconds=5)
    await bus.ensure_stream(topology.feed())
    publish = bus.jetstream.publish
    await publish("skrei.v1.feed.a", b"stored")
    end_if_it_stores_no_more(server)
    assert not server.stores_no_more()
    with no_file_larger(first.pid, 64 * 1024):
        await bus.publish("skrei.v1.feed.a", bytes(128 * 1024))
        await eventually(server.stores_no_more)
        with no_file_larger(os.getpid(), ROOM_BYTES // 2):
            end_if_it_stores_no_more(server)
        await bus.flush()
        assert first.poll() is None, "the next one would have no room either"
    stored = await bus.stream_info("FEED")
    await bus.publish("skrei.v1.feed.a", b"lost, though there is room")
    assert await bus.stream_info("FEED") == stored
    assert " 503 " in ask_health("127.0.0.1", health, "/healthz"), "by which the chart has it started anew"
    end_if_it_stores_no_more(server)
    assert first.wait(10) == 0
    server.spawn()
    async with asyncio.timeout(10):
        await back.wait()
    assert not server.stores_no_more()
    assert (await publish("skrei.v1.feed.a", b"stored")).seq == 2
    await bus.close()
    server.stop()


async def test_keys_are_revoked_as_soon_as_that_can_be_written_down(
    folder: Path, children: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "NATS_LOOK_SECONDS", 0.01)
    made = keys.load_or_make(folder)
    options = StackOptions(data_dir=folder)
    ours = servers.Servers(folder, options, Whereabouts(options), children)
    ours.nats = NatsServer(folder, NatsOptions(free_port()), children)
    ours.nats.prepare()
    obstacle = folder / "nats" / "nats.conf.new"  # refuses it as a full disk does
    obstacle.mkdir()
    user = nats_auth.public_key(nats_auth.new_user_seed())
    made.revoked_file.write_text(user)
    with capture_logs() as logs:
        looking = asyncio.create_task(ours.look_after_nats(made))
        await eventually(lambda: looking.done() or any(line["event"] == "keys_not_revoked" for line in logs))
        assert not looking.done()
        obstacle.rmdir()
        await eventually(lambda: any(line["event"] == "keys_revoked" for line in logs))
    assert user in nats_auth.revoked_in((folder / "nats" / "nats.conf").read_text(), made.authority.account_id)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
