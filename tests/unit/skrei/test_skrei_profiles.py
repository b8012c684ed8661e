"""Profiles: which API is meant, as whom, and that a token goes nowhere else."""

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from skrei import profiles
from skrei.credentials import headers_for
from skrei.endpoint import is_named, resolve
from skrei.errors import Rejected
from skrei.profiles import Profile, Profiles

FAR = Profile("far", "https://far.example:1234", token="secret")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("SKREI_API_KEY", "BACALHAU_API_KEY", "BACALHAU_API_USERNAME", "BACALHAU_API_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.row("7.3/profile")
def test_what_is_stored_is_read_back_and_only_its_owner_can() -> None:
    profiles.store(Profiles({}).with_(FAR, select=True))
    assert profiles.load() == Profiles({"far": FAR}, "far")
    assert stat.S_IMODE(profiles.place().stat().st_mode) == 0o600


def test_a_damaged_file_is_told_by_name_and_kept(skrei: Callable[..., int]) -> None:
    profiles.place().parent.mkdir(parents=True)
    texts = ("", "[]", '{"profiles": {"a": 3}}', '{"profiles": {"a": {}}}', '{"profiles": []}', '{"profiles": {"fa')
    for text in texts:
        profiles.place().write_text(text)
        with pytest.raises(Rejected, match=f"{profiles.place()} is damaged"):
            profiles.load()
        assert skrei("profile", "save", "near", "--endpoint", "http://near:1") == 1
        assert profiles.place().read_text() == text


def test_no_file_holds_no_profiles() -> None:
    assert profiles.load() == Profiles({})


def test_another_address_keeps_neither_the_token_nor_the_trust_of_the_one_before(
    skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    profiles.store(Profiles({}).with_(replace(FAR, insecure=True, description="d")))
    assert skrei("profile", "save", "far", "--endpoint", FAR.endpoint, "--timeout", "5s") == 0
    assert profiles.named("far") == replace(FAR, insecure=True, description="d", timeout_seconds=5)
    assert skrei("profile", "save", "far", "--endpoint", "https://other.example:1234") == 0
    assert profiles.named("far") == Profile("far", "https://other.example:1234", "d", timeout_seconds=5)
    assert f"The token was that of {FAR.endpoint}, and is forgotten" in capsys.readouterr().err


@pytest.mark.row("7.1/endpoint", "7.1/profile-env")
def test_an_address_is_said_by_the_call_the_environment_and_then_a_profile() -> None:
    near = Profile("near", "http://near:1")
    profiles.store(Profiles({"near": near}).with_(FAR, select=True))
    assert resolve(None, {}) == FAR.endpoint
    assert resolve(None, {"SKREI_PROFILE": "near"}) == resolve(None, {"BACALHAU_PROFILE": "near"}) == near.endpoint
    assert resolve(None, {"SKREI_API_URL": "http://url:2", "SKREI_PROFILE": "near"}) == "http://url:2"
    assert resolve("given:3", {"SKREI_API_URL": "http://url:2"}) == "http://given:3"
    assert is_named("", {})


def test_a_token_is_shown_to_its_own_api_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    profiles.store(Profiles({}).with_(FAR))
    assert headers_for(FAR.endpoint) == {"Authorization": "Bearer secret"}
    assert headers_for("https://other.example:1234") == {}
    monkeypatch.setenv("BACALHAU_API_KEY", "key")
    assert headers_for(FAR.endpoint) == {"Authorization": "Bearer key"}
    monkeypatch.delenv("BACALHAU_API_KEY")
    monkeypatch.setenv("BACALHAU_API_USERNAME", "u")
    monkeypatch.setenv("BACALHAU_API_PASSWORD", "p")
    assert headers_for(FAR.endpoint) == {"Authorization": "Basic dTpw"}


def test_an_unknown_profile_is_told_with_the_nearest() -> None:
    with pytest.raises(Rejected, match="There is no profile 'fra'") as caught:
        Profiles({"far": FAR}).select("fra")
    assert caught.value.hint == "Did you mean far? skrei profile list shows what there is."


def test_forgetting_the_current_one_leaves_none_current() -> None:
    assert Profiles({"far": FAR}, "far").without("far") == Profiles({})
