"""A child is told what it needs and nothing that it must not know."""

from dataclasses import replace
from pathlib import Path

import pytest

from skrei_domain.errors import Invalid
from skrei_embedded.environment import OWN_STREAM_BYTES, Addresses, config_settings, for_child
from skrei_kit.cluster_keys import Keys
from skrei_kit.nats_auth import Authority

ADDRESSES = Addresses(
    database_url="postgresql://somewhere",
    nats_url="nats://127.0.0.1:1",
    api_host="127.0.0.1",
    api_port=2,
    api_url="http://127.0.0.1:2",
    publisher_host="127.0.0.1",
    publisher_port=3,
    publisher_url="http://127.0.0.1:3",
)


def told(service: str, **settings: str) -> dict[str, str]:
    keys = Keys(Path("/data/keys"), Authority.new(), "n-1")
    everything = for_child(
        service,
        ADDRESSES,
        keys,
        data_dir=Path("/data"),
        log_level="info",
        settings=settings,
        creds=Path(f"/data/keys/{service}.creds"),
        node_id="n-1",
        allow_local=("/texts", "/out:rw"),
    )
    return {name: value for name, value in everything.items() if name.startswith("SKREI_")}


def test_a_node_learns_no_secret_of_the_control_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_DATABASE_URL", "postgresql://from-the-shell")
    monkeypatch.setenv("SKREI_TOKEN_KEY", "/from/the/shell")
    assert told("agent", internal_token_file="/from/the/file", labels="zone=a") == {
        "SKREI_NATS_URL": "nats://127.0.0.1:1",
        "SKREI_NATS_CREDS": "/data/keys/agent.creds",
        "SKREI_LOG_LEVEL": "info",
        "SKREI_API_URL": "http://127.0.0.1:2",
        "SKREI_DATA_DIR": "/data/agent",
        "SKREI_NODE_ID": "n-1",
        "SKREI_ALLOW_LOCAL": "/texts,/out:rw",
        "SKREI_LABELS": "zone=a",
    }


def test_only_the_control_plane_reaches_the_record() -> None:
    assert {
        service for service in ("api", "scheduler", "publisher", "agent") if "SKREI_DATABASE_URL" in told(service)
    } == {
        "api",
        "scheduler",
    }


def test_a_childs_pipe_and_config_file_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_PARENT_PIPE", "7")
    monkeypatch.setenv("SKREI_CONFIG", "/somewhere.yaml")
    assert not {"SKREI_PARENT_PIPE", "SKREI_CONFIG"} & told("api").keys()


def test_streams_of_a_transport_of_our_own_are_small_unless_its_owner_says_otherwise() -> None:
    places = {"data_dir": Path("/data"), "log_level": "info", "creds": None}
    own = replace(ADDRESSES, own_nats=True)
    assert for_child("scheduler", own, None, **places, settings={})["SKREI_STREAM_BYTES"] == str(OWN_STREAM_BYTES)
    larger = {"stream_bytes": "1000000000"}
    assert for_child("scheduler", own, None, **places, settings=larger)["SKREI_STREAM_BYTES"] == "1000000000"
    unsaid = {"stream_bytes": ""}
    assert for_child("scheduler", own, None, **places, settings=unsaid)["SKREI_STREAM_BYTES"] == str(OWN_STREAM_BYTES)
    assert "SKREI_STREAM_BYTES" not in for_child("api", own, None, **places, settings={})
    assert "SKREI_STREAM_BYTES" not in for_child("scheduler", ADDRESSES, None, **places, settings={})


def test_a_setting_that_no_service_knows_is_refused_with_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "skrei.yaml"
    config.write_text("lables: {zone: a}\n")
    with pytest.raises(Invalid, match="unknown setting 'lables'; did you mean 'labels'"):
        config_settings(config)


def test_lists_and_pairs_of_a_config_file_reach_services_as_they_read_them(tmp_path: Path) -> None:
    config = tmp_path / "skrei.yaml"
    config.write_text("labels: {zone: a, disk: ssd}\nallow_local: [/a, '/b:rw']\nheartbeat_seconds: 2\n")
    assert config_settings(config) == {
        "labels": "zone=a,disk=ssd",
        "allow_local": "/a,/b:rw",
        "heartbeat_seconds": "2",
    }


def test_only_a_node_beside_its_control_plane_trusts_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_OWNER_PATHS", "true")
    places = {"data_dir": Path("/data"), "log_level": "info", "settings": {"owner_paths": "true"}, "creds": None}
    assert "SKREI_OWNER_PATHS" not in for_child("agent", ADDRESSES, None, **places)
    assert for_child("agent", ADDRESSES, None, **places, owner_paths=True)["SKREI_OWNER_PATHS"] == "true"
    assert "SKREI_OWNER_PATHS" not in for_child("api", ADDRESSES, None, **places, owner_paths=True)
