"""Settings come from the environment and one file, refuse what nobody knows, and cannot be changed."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from skrei_domain.errors import Invalid
from skrei_kit.settings import Settings, items, load, pairs


class Sample(Settings):
    nats_url: str = "nats://here"
    lease_seconds: float = 3.0
    password: SecretStr = SecretStr("")


def a_file(folder: Path, text: str) -> Path:
    path = folder / "skrei.yaml"
    path.write_text(text)
    return path


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKREI_NATS_URL", "nats://environment")
    config = a_file(tmp_path, "nats_url: nats://file\nlease_seconds: 4\n")
    settings = load(Sample, config=config)
    assert (settings.nats_url, settings.lease_seconds) == ("nats://environment", 4.0)


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="unknown setting 'nats_ulr'; did you mean 'nats_url'"):
        load(Sample, config=a_file(tmp_path, "nats_ulr: x\n"))


def test_each_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_LEASE_SECONDS", "soon")
    with pytest.raises(Invalid, match=r"SKREI_LEASE_SECONDS: .*'soon'"):
        load(Sample)


def test_settings_are_frozen_and_keep_secrets_out_of_their_text() -> None:
    settings = Sample(password=SecretStr("hush"))
    assert "hush" not in repr(settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.nats_url = "other"  # type: ignore[misc]


def test_items_and_pairs_come_by_comma() -> None:
    assert items("10.0.0.0/8, fd00::/8 ,") == ("10.0.0.0/8", "fd00::/8")
    assert items(["a, b"]) == ["a, b"]
    assert pairs("results=7d, team:history = 30d ,") == {"results": "7d", "team:history": "30d"}
    assert pairs({"results": "7d"}) == {"results": "7d"}


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_NATS_URL", "")
    assert load(Sample).nats_url == "nats://here"
    assert load(Sample, config=a_file(tmp_path, "nats_url: nats://file\n")).nats_url == "nats://file"
