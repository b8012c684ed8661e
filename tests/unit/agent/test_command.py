"""`skrei-compute-agent`: what a call and the environment say, and what becomes of the token."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from skrei_compute_agent import command
from skrei_domain.errors import Invalid
from skrei_kit import join
from skrei_kit.sites import Site


class Began(Exception):
    """Stands in for the program that takes this one's place."""


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SKREI_JOIN",
        command.TOKEN,
        f"{command.TOKEN}_FILE",
        command.SITE,
        "SKREI_NATS_URL",
        "SKREI_DATA_DIR",
        "SKREI_NAME",
    ):
        monkeypatch.delenv(name, raising=False)


def given(*words: str) -> dict[str, object]:
    return command._given(command._parser().parse_args(words))


@pytest.mark.parametrize("words", [["--token", "secret"], ["--token=secret"]])
def test_a_token_among_the_arguments_is_not_left_there(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    called: list[list[str]] = []

    def execv(_path: str, arguments: list[str]) -> None:
        called.append(arguments)
        raise Began

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "argv", ["skrei-compute-agent", "--join", "http://10.0.0.1:1234", *words])
    with pytest.raises(Began):
        command.main()
    assert called[0][-2:] == ["--join", "http://10.0.0.1:1234"]
    assert "secret" not in str(called)
    assert os.environ[command.TOKEN] == "secret"


def test_who_joined_goes_on_with_what_was_kept_and_what_is_said_wins(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    kept = join.Joined("n-1", "http://cp:1234", "nats://cp:4222", "/creds", "http://cp:1234", "http://cp:1235")
    told = {field: getattr(kept, field) for field in kept.__slots__}
    (tmp_path / "keys/joined.json").write_text(json.dumps(told))
    found = given("--data-dir", str(tmp_path), "--labels", "site=a", "--allow-local", "/a", "--allow-local", "/b:rw")
    assert found == {
        "data_dir": str(tmp_path),
        "labels": "site=a",
        "allow_local": "/a,/b:rw",
        "node_id": "n-1",
        "nats_url": "nats://cp:4222",
        "nats_creds": "/creds",
        "api_url": "http://cp:1234",
    }
    nearer = given("--data-dir", str(tmp_path), "--nats-url", "nats://leaf:4222")
    assert nearer["nats_url"] == "nats://leaf:4222"


def test_a_token_comes_from_its_file_and_a_file_without_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    kept = join.Joined("n-1", "http://cp:1234", "nats://cp:4222", "/creds", "http://cp:1234", "http://cp:1235")

    def settle(folder: Path, url: str, token: str, **how: object) -> join.Joined:
        asked.append((folder, url, token, how))
        return kept

    monkeypatch.setattr(join, "settle", settle)
    (tmp_path / "token").write_text("of-a-file\n")
    words = ["--join", "http://cp:1234/", "--data-dir", str(tmp_path / "data"), "--token-file", str(tmp_path / "token")]
    assert given(*words)["node_id"] == "n-1"
    assert asked == [
        (tmp_path / "data", "http://cp:1234", "of-a-file", {"take_over": False, "nats_url": "", "site": None})
    ]
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv(command.TOKEN, "of-the-environment")
    given(*words)
    assert asked[1][2] == "of-the-environment"  # type: ignore[index]
    assert command.TOKEN not in os.environ  # nothing that the node starts is told
    with pytest.raises(Invalid, match=r"--token-file .*none: No such file"):
        given("--join", "http://cp:1234", "--token-file", str(tmp_path / "none"))


def test_agents_that_share_a_folder_have_one_each_and_a_name_by_it(tmp_path: Path) -> None:
    words = ("--data-dir", str(tmp_path), "--data-slots", "2", "--name", "wasm", "--nats-url", "nats://x")
    assert given(*words) == {"data_dir": str(tmp_path / "1"), "name": "wasm-1", "nats_url": "nats://x"}


def test_a_machine_that_nobody_told_anything_is_told_how_to_become_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Invalid, match="nothing says whose node") as told:
        given("--data-dir", str(tmp_path))
    assert "--join" in told.value.hint
    monkeypatch.setenv("SKREI_NATS_URL", "nats://cp:4222")
    assert given("--data-dir", str(tmp_path)) == {"data_dir": str(tmp_path)}


@pytest.mark.parametrize("slots", ["-1", "many", "1001"])
def test_a_number_of_folders_that_is_none_is_refused(tmp_path: Path, slots: str) -> None:
    with pytest.raises(Invalid, match=f"--data-slots {slots}: that is no such number"):
        given("--data-dir", str(tmp_path), f"--data-slots={slots}")


@pytest.mark.parametrize("token", ["", "t"])
def test_a_node_that_joined_without_a_site_does_not_take_one_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv(command.TOKEN, token)
    kept = join.Joined("n-1", "http://cp:1234", "nats://cp:4222", "/creds", "http://cp:1234", "http://cp:1235")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/joined.json").write_text(json.dumps(asdict(kept)))
    (tmp_path / "keys/node.id").write_text("n-1")
    (tmp_path / "site.json").write_text(Site("farm", "tls://farm:4222", "skrei", "pem", ("n-9",)).text())
    with pytest.raises(join.NotOfSite, match=r"this machine is node n-1 already, which .* site") as told:
        given("--data-dir", str(tmp_path), "--join", "http://cp:1234", "--site", str(tmp_path / "site.json"))
    assert "--data-dir" in told.value.hint


def test_a_site_is_read_when_a_node_joins_and_tells_what_the_transport_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site("ship", "tls://ship:4222", "skrei", "pem", ("n-1",))
    asked: list[object] = []
    joined = join.Joined("n-1", "http://cp", "tls://ship:4222", "/creds", "http://cp", "http://cp", "/ca", "skrei")

    def settle(*_who: object, site: Site | None, **_how: object) -> join.Joined:
        asked.append(site)
        return joined

    monkeypatch.setattr(join, "settle", settle)
    file = tmp_path / "site.json"
    words = ["--data-dir", str(tmp_path / "data"), "--site", str(file)]
    with pytest.raises(Invalid, match="--site goes with --join"):
        given(*words)
    words += ["--join", "http://cp"]
    given(*words)  # it joined before: the file may be gone
    monkeypatch.setenv(command.TOKEN, "t")
    with pytest.raises(Invalid, match="No such file"):
        given(*words)
    file.write_text(site.text())
    monkeypatch.setenv(command.TOKEN, "t")
    found = given(*words)
    assert asked == [None, site]
    assert (found["nats_url"], found["nats_ca"], found["nats_domain"]) == ("tls://ship:4222", "/ca", "skrei")
    monkeypatch.setenv(command.TOKEN, "t")
    with pytest.raises(Invalid, match="--site and --nats-url"):
        given(*words, "--nats-url", "nats://x:4222")
