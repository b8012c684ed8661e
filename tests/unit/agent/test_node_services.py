"""What a node offers of itself: looked at, told, and given to the programs that use it."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from skrei_compute_agent import node_services
from skrei_compute_agent.node_services import NodeServices, ServiceAway
from skrei_compute_agent.settings import Settings
from skrei_domain.node import NodeService
from skrei_domain.node_services import MAX_SERVICES
from skrei_embedded.nats import free_port
from skrei_kit.settings import load
from skrei_plugin_api.engine import Mount, ServiceWay


@pytest.fixture
def listening() -> Iterator[int]:
    """A port of this machine where something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_service_is_offered_while_something_listens_or_lies_there(tmp_path: Path, listening: int) -> None:
    (tmp_path / "x.duckdb").touch()
    told = {
        "db": f"127.0.0.1:{listening}",
        "gone": f"127.0.0.1:{free_port()}",
        "duckdb": f"file://{tmp_path}/x.duckdb:rw",
        "none": "file:///nowhere",
    }
    found = await NodeServices(told).look()
    assert found.here == (NodeService(name="db"), NodeService(name="duckdb", kind="file", read_write=True))
    assert [(each.name, each.reason.partition(":")[0]) for each in found.away] == [
        ("gone", "nothing answers at its address"),
        ("none", "its file is not there"),
    ]


async def test_an_address_is_looked_at_now_and_then(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(node_services.time, "monotonic", lambda: now)
    looks = 0

    async def silent(_: object) -> str:
        nonlocal looks
        looks += 1
        return ""

    monkeypatch.setattr(node_services, "_silent", silent)
    offered = NodeServices({"db": f"127.0.0.1:{listening}"})
    for _ in range(3):
        await offered.look()
    assert looks == 1
    now += node_services.LOOK_SECONDS
    await offered.look()
    assert looks == 2


async def test_what_is_declared_in_the_file_counts_until_it_is_spoiled(tmp_path: Path, listening: int) -> None:
    file = tmp_path / "services.json"
    offered = NodeServices({"db": f"127.0.0.1:{listening}"}, file)
    assert [each.name for each in (await offered.look()).here] == ["db"]
    file.write_text(json.dumps({"here": f"file://{tmp_path}", "db": "127.0.0.1:1", "bad": "x"}))
    found = await offered.look()
    assert [each.name for each in found.here] == ["db", "here"], "the settings count more"
    assert "'x' is not where a service is" in found.away[0].reason
    file.write_text("{")
    assert "cannot be read" in (await offered.look()).away[0].reason
    file.write_text(json.dumps({f"s{number}": f"file://{tmp_path}" for number in range(MAX_SERVICES + 9)}))
    assert len((await offered.look()).here) <= MAX_SERVICES


def test_a_program_gets_a_variable_for_each_and_the_files(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    used = NodeServices({"my-db": "[::1]:5432", "files": f"file://{tmp_path}/link:rw"}).use(["my-db", "files"])
    assert used.env == {"SKREI_SERVICE_MY_DB": "[::1]:5432", "SKREI_SERVICE_FILES": "/skrei/services/files"}
    assert used.ways == (ServiceWay("SKREI_SERVICE_MY_DB", "::1", 5432),)
    assert used.mounts == (Mount(tmp_path / "real", "/skrei/services/files", True),)


def test_what_is_offered_no_more_may_be_had_elsewhere(tmp_path: Path) -> None:
    offered = NodeServices({"duckdb": f"file://{tmp_path}/gone"})
    with pytest.raises(ServiceAway, match="does not offer service db any more") as raised:
        offered.use(["db"])
    assert raised.value.retryable
    assert "skrei node service add db ADDRESS" in raised.value.hint
    with pytest.raises(ServiceAway, match="service duckdb is not there now: its file is not there"):
        offered.use(["duckdb"])
    assert offered.ways(["db", "duckdb"]) == ()


def test_services_come_from_the_environment_by_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_SERVICES", "db=127.0.0.1:5432, duck=file:///srv/x.duckdb")
    settings = load(Settings)
    assert settings.services == {"db": "127.0.0.1:5432", "duck": "file:///srv/x.duckdb:ro"}
    assert settings.services_file == settings.data_dir / "services.json"
    with pytest.raises(ValidationError, match="is not where a service is"):
        Settings(services={"db": "nowhere"})


async def test_a_service_that_hangs_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_services, "CONNECT_SECONDS", 0.01)

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(node_services.asyncio, "open_connection", hang)
    (away,) = (await NodeServices({"db": "127.0.0.1:5432"}).look()).away
    assert "nothing answers at its address within" in away.reason
