"""Sites of a cluster: what is made for one, what stays, what its server may, and how it ends."""

import io
import json
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from skrei_cluster_init import site_command, sites
from skrei_cluster_init.__main__ import main, read
from skrei_cluster_init.dealing import Cluster, deal
from skrei_cluster_init.sites import SiteWanted
from skrei_cluster_init.trust import Trust
from skrei_domain.errors import Invalid, NotFound
from skrei_kit import nats_auth
from skrei_kit.sites import read_site

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TRUST = Trust(("nats",), NOW)
SHIP = SiteWanted("ship", ("nats-ship", "10.0.0.7"), "tls://nats:7422", "/run/skrei", places=3)


def texts(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def revoked(cluster: Cluster) -> str:
    text = texts(cluster.of("nats"))["trust.conf"].splitlines()[-2].partition(": ")[2]
    return json.dumps(nats_auth.claims(text)["nats"]["revocations"])


def test_a_site_has_a_key_a_certificate_and_places_of_its_own(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    deal(cluster, TRUST, (SHIP,))
    server, nodes = texts(cluster.of("site-ship")), texts(cluster.of("site-ship-nodes"))
    assert set(server) == set(sites.SERVER_FILES)
    assert set(nodes) == {"site.json", "join.token"}
    assert server["server.key"] != texts(cluster.of("nats"))["server.key"]
    user, _ = nats_auth.read_creds(server["site.creds"])
    told = read_site(cluster.of("site-ship-nodes") / "site.json")
    assert (user.name, told.nats_url, told.nats_domain) == ("ship", "tls://nats-ship:4222", "skrei")
    assert len(set(told.places)) == 3
    assert sorted(told.in_order("a key")) == sorted(told.places)


def test_its_server_may_say_and_hear_what_its_nodes_may_and_nothing_else(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    deal(cluster, TRUST, (SHIP,))
    token = texts(cluster.of("site-ship"))["site.creds"].splitlines()[1]
    may = nats_auth.claims(token)["nats"]
    places = read_site(cluster.of("site-ship-nodes") / "site.json").places
    assert sorted(may["sub"]["allow"]) == sorted(
        subject for each in places for subject in (f"skrei.v1.down.{each}.>", f"_INBOX_{each}.>")
    )
    assert all(any(each in subject for each in places) for subject in may["pub"]["allow"])


def test_what_was_made_for_a_site_stays_and_places_may_be_added(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    keys = deal(cluster, TRUST)
    first = sites.make(keys, TRUST, SHIP)
    later = Trust(("nats",), NOW + timedelta(days=200))
    again = sites.make(keys, later, SiteWanted("ship", SHIP.hosts, SHIP.hub, SHIP.folder, places=5))
    for same in ("server.pem", "server.key", "nats-ca.pem", "nats.conf"):
        assert again[same] == first[same]
    before, after = (json.loads(each["site.json"])["Places"] for each in (first, again))
    assert (after[:3], len(after)) == (before, 5)
    assert nats_auth.read_creds(first["site.creds"])[1] == nats_auth.read_creds(again["site.creds"])[1]
    fewer = sites.make(keys, later, SHIP)
    assert json.loads(fewer["site.json"])["Places"] == after, "a node may have any of them"


def test_a_site_that_is_taken_away_is_let_in_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(tmp_path)
    keys = deal(cluster, TRUST, (SHIP,))
    key = nats_auth.read_creds(texts(cluster.of("site-ship"))["site.creds"])[0].key
    assert key not in revoked(cluster)
    site_command.run(["site", "ship", "--remove"], cluster, NOW, accounts_folder="/accounts")
    assert "within seconds" in capfd.readouterr().err
    assert key in revoked(cluster)
    assert '{ type: full, dir: "/accounts"' in texts(cluster.of("nats"))["trust.conf"], "as it was founded with"
    assert sites.known(keys) == []
    deal(cluster, TRUST, (SHIP,))
    assert key in revoked(cluster), "what is made under its name again is another site"
    assert nats_auth.read_creds(texts(cluster.of("site-ship"))["site.creds"])[0].key not in revoked(cluster)
    monkeypatch.setattr(sys, "argv", ["skrei-cluster-init", "site", "farm", "--remove"])
    monkeypatch.setenv("SKREI_CLUSTER_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main()
    assert "there is no site farm" in str(ended.value)
    assert "ship" in str(ended.value)


def test_sites_that_are_said_anew_each_time_have_an_archive_each_and_others_are_let_in_no_more(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    ship, farm = sites.read("ship=ship.lan,farm=farm.lan+10.1.0.1", "/etc/skrei/{site}", "tls://hub:7422")
    assert (farm.hosts, farm.folder) == (("farm.lan", "10.1.0.1"), "/etc/skrei/farm")
    keys = deal(cluster, TRUST, (ship, farm), archives=True)
    assert {each.name for each in cluster.of("sites").iterdir()} == {"ship.tar", "farm.tar"}
    with tarfile.open(cluster.of("sites") / "farm.tar") as tar:
        assert {each.name for each in tar} == {f"farm/{file}" for file in (*sites.SERVER_FILES, "site.json")}
    seed = (keys.folder / "sites/ship/site.seed").read_text()
    deal(cluster, TRUST, (farm,), archives=True)
    assert {each.name for each in cluster.of("sites").iterdir()} == {"farm.tar"}
    assert nats_auth.public_key(seed) in revoked(cluster)
    assert sites.known(keys) == ["farm"]


def test_the_command_writes_an_archive_with_one_folder(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cluster = Cluster(tmp_path)
    with pytest.raises(NotFound, match="no cluster was founded"):
        site_command.run(["site", "farm"], cluster, NOW)
    deal(cluster, TRUST)
    site_command.run(["site", "farm", "--host", "farm.lan", "--hub", "tls://10.0.0.1:7422"], cluster, NOW)
    written = capfdbinary.readouterr()
    with tarfile.open(fileobj=io.BytesIO(written.out)) as tar:
        assert {each.name for each in tar} == {f"farm/{file}" for file in (*sites.SERVER_FILES, "site.json")}
        assert {each.name for each in tar if each.mode != 0o600} == {"farm/site.json"}, "nothing of it is secret"
        conf = tar.extractfile("farm/nats.conf")
        assert conf is not None
        assert b'credentials: "/etc/skrei/farm/site.creds"' in conf.read()
    assert b"64 nodes at most" in written.err
    with pytest.raises(Invalid, match="needs --host and --hub"):
        site_command.run(["site", "farm"], cluster, NOW)


def test_a_node_that_was_revoked_since_then_is_in_what_a_site_is_given(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cluster = Cluster(tmp_path)
    deal(cluster, TRUST, (SHIP,))
    key = nats_auth.public_key(nats_auth.new_user_seed())
    (cluster.of("orchestrator-api") / "revoked").write_text(f"{key}\n")
    site_command.run(["site", "farm", "--host", "farm.lan", "--hub", "tls://10.0.0.1:7422"], cluster, NOW)
    with tarfile.open(fileobj=io.BytesIO(capfdbinary.readouterr().out)) as tar:
        trust = tar.extractfile("farm/trust.conf")
        assert trust is not None
        token = trust.read().decode().splitlines()[-2].partition(": ")[2]
    assert key in nats_auth.claims(token)["nats"]["revocations"]
    site_command.run(["site", "ship", "--remove"], cluster, NOW)
    assert key in revoked(cluster)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "The Ship"}, "no site can be called so"),
        ({"name": "../ship"}, "no site can be called so"),
        ({"hosts": ("a b",)}, "a b: that is no host"),
        ({"hub": "nats:7422"}, "--hub nats:7422"),
        ({"hub": 'tls://a:1" b'}, "--hub"),
        ({"folder": "here"}, "--folder here"),
        ({"folder": '/a" b'}, "--folder"),
        ({"places": 0}, "--places 0"),
        ({"places": 251}, "--places 251"),
    ],
)
def test_rubbish_is_refused_before_anything_is_made(changed: dict[str, object], said: str) -> None:
    told: dict[str, object] = {name: getattr(SHIP, name) for name in SHIP.__slots__}
    with pytest.raises(Invalid, match=said):
        sites.check(SiteWanted(**(told | changed)))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["ship", "ship=", "=nats", "Ship=nats", "ship=a b"])
def test_the_variable_takes_names_with_hosts(text: str) -> None:
    with pytest.raises(Invalid):
        read({"SKREI_SITES": text})


def test_sites_are_read_from_it() -> None:
    assert [
        (each.name, each.hosts, each.hub) for each in read({"SKREI_SITES": "ship=nats-ship, farm=10.0.0.2"}).sites
    ] == [
        ("ship", ("nats-ship",), "tls://nats:7422"),
        ("farm", ("10.0.0.2",), "tls://nats:7422"),
    ]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"Name": "a"}', "\x00"])
def test_a_file_that_is_no_sites_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "site.json"
    with pytest.raises(Invalid, match=f"--site {file}: No such file"):
        read_site(file)
    file.write_text(content)
    with pytest.raises(Invalid, match=f"--site {file}: that is no file of a site"):
        read_site(file)
    rubbish: list[dict[str, object]] = [{"Places": []}, {"Places": [1]}, {"Places": "ab"}, {"NATSURL": 1}]
    for wrong in rubbish:
        whole = {"Name": "a", "NATSURL": "tls://a:1", "NATSDomain": "skrei", "NATSCA": "", "Places": ["n-1"]}
        file.write_text(json.dumps(whole | wrong))
        with pytest.raises(Invalid, match="that is no file of a site"):
            read_site(file)
