"""What a cluster is given before it starts: who has which file, what stays, and what is refused."""

import base64
import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from skrei_cluster_init import doors
from skrei_cluster_init.__main__ import found, read
from skrei_cluster_init.dealing import AGENT, API, DEALT, FOUNDER, Cluster, deal
from skrei_cluster_init.trust import Trust
from skrei_domain.errors import Invalid, Unavailable
from skrei_embedded.nats import free_port
from skrei_kit import nats_auth

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TRUST = Trust(("nats",), NOW)


def texts(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_each_is_given_its_own_files_and_nobody_what_the_founder_keeps(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    deal(cluster, TRUST)
    for name, files in DEALT.items():
        assert set(texts(cluster.of(name))) == set(files)
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in cluster.of(name).iterdir())
    dealt = [text for name in DEALT for text in texts(cluster.of(name)).values()]
    for kept in ("authority.json", "nats-ca.key"):
        assert (cluster.of(FOUNDER) / "keys" / kept).read_text() not in dealt
    owner = (cluster.of(API) / "owner.token").read_text()
    assert [text for name in DEALT if name != API for text in texts(cluster.of(name)).values() if owner in text] == []


def test_what_was_made_stays(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    deal(cluster, TRUST)
    before = {name: texts(cluster.of(name)) for name in DEALT}
    deal(cluster, Trust(("nats",), NOW + timedelta(days=200)))
    after = {name: texts(cluster.of(name)) for name in DEALT}
    signed_anew = {"trust.conf", "node.signer.json"} | {f"{user}.creds" for user in ("api", "scheduler", "publisher")}
    for name, files in DEALT.items():
        assert {file for file in files if before[name][file] != after[name][file]} <= signed_anew


@pytest.mark.parametrize(
    ("hosts", "days", "stays"), [(("nats",), 260, True), (("nats",), 270, False), (("nats", "hub"), 0, False)]
)
def test_a_servers_certificate_is_made_anew_for_other_names_and_in_time(
    tmp_path: Path, hosts: tuple[str, ...], days: int, stays: bool
) -> None:
    TRUST.settle(tmp_path)
    before = texts(tmp_path)
    Trust(hosts, NOW + timedelta(days=days)).settle(tmp_path)
    after = texts(tmp_path)
    assert (after["server.pem"] == before["server.pem"]) is stays
    assert (after["nats-ca.pem"], after["server.key"]) == (before["nats-ca.pem"], before["server.key"])


def test_what_the_api_changed_holds_from_then_on(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    deal(cluster, TRUST)
    user = nats_auth.public_key(nats_auth.new_user_seed())
    (cluster.of(API) / "join.token").write_text("rotated")
    (cluster.of(API) / "revoked").write_text(f"{user}\n")
    keys = deal(cluster, TRUST)
    assert (cluster.of(AGENT) / "join.token").read_text() == "rotated"
    assert keys.revoked == (user,)
    account = texts(cluster.of("nats"))["trust.conf"].splitlines()[-2].partition(": ")[2]
    body = account.split(".")[1]
    assert user in json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["nats"]["revocations"]


def test_a_link_that_the_api_left_is_not_followed(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    deal(cluster, TRUST)
    before = (cluster.of(AGENT) / "join.token").read_text()
    (cluster.of(API) / "join.token").unlink()
    (cluster.of(API) / "join.token").symlink_to(cluster.of(FOUNDER) / "keys/authority.json")
    deal(cluster, TRUST)
    assert (cluster.of(AGENT) / "join.token").read_text() == before
    assert (cluster.of(API) / "join.token").read_text() == before


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9", "::1", "[::1]"])
def test_loopback_may_be_published_on(address: str) -> None:
    doors.check_published(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.1", "::", "192.168.1.4"])
def test_any_other_address_is_refused_with_the_reason(address: str) -> None:
    with pytest.raises(Invalid, match="is refused as long as no user authentication is configured") as told:
        read({"SKREI_PUBLISH": address})
    assert f"SKREI_PUBLISH={address}" in told.value.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SKREI_API_PORT", "0"), ("SKREI_API_PORT", "eins"), ("SKREI_PUBLISHER_PORT", "70000"), ("SKREI_PUBLISH", "here")],
)
def test_rubbish_is_refused_by_the_name_of_its_variable(variable: str, value: str) -> None:
    with pytest.raises(Invalid, match=f"{variable}={value}"):
        read({variable: value})


def ports(folder: Path, *taken: int) -> dict[str, str]:
    return {
        "SKREI_CLUSTER_DIR": str(folder),
        "SKREI_API_PORT": str(free_port()),
        "SKREI_PUBLISHER_PORT": str(taken[0] if taken else free_port()),
    }


def test_a_taken_port_is_told_with_its_variable_and_a_way_out(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} of 127.0.0.1 cannot be had for results") as refused:
            found(read(ports(tmp_path, port)), NOW)
    assert "SKREI_PUBLISHER_PORT=" in refused.value.hint


def test_a_port_that_the_cluster_was_given_before_may_be_its_own(tmp_path: Path) -> None:
    told = ports(tmp_path)
    assert "is in use" not in found(read(told), NOW)
    with socket.socket() as running:
        running.bind(("127.0.0.1", int(told["SKREI_API_PORT"])))
        running.listen()
        said = found(read(told), NOW)
        assert f"Port {told['SKREI_API_PORT']} is in use: by this cluster, if it runs" in said
        with pytest.raises(Unavailable, match="cannot be had for results"):
            found(read(told | {"SKREI_PUBLISHER_PORT": told["SKREI_API_PORT"]}), NOW)
    assert "is in use" not in found(read(told), NOW)


def test_buckets_are_folders_and_the_way_to_use_the_cluster_is_told(tmp_path: Path) -> None:
    for folder in ("s3", "eu"):
        (tmp_path / folder).mkdir()
    environment = ports(tmp_path / "cluster") | {
        "SKREI_S3_DIRS": f"{tmp_path}/s3,{tmp_path}/eu",
        "SKREI_S3_BUCKETS": "data, results",
    }
    said = found(read(environment), NOW)
    for folder in ("s3", "eu"):
        assert {one.name for one in (tmp_path / folder).iterdir()} == {"data", "results"}
    assert (
        f"skrei profile save compose --endpoint http://127.0.0.1:{environment['SKREI_API_PORT']} --token-file" in said
    )
    assert (tmp_path / "cluster/orchestrator-api/owner.token").read_text() not in said
