"""Settings: each with its source and its explanation, and written without touching what else stands in the file."""

import os
from pathlib import Path

import pytest

from skrei.cli.config_commands import with_setting
from skrei.cli.grammar import Misuse, Values, read
from skrei.cli.serve import SERVE, _settings, log_level
from skrei.cli.universal import with_universal
from skrei.errors import Rejected
from skrei_embedded.settings_table import settings


@pytest.mark.row("7.3/config-set")
@pytest.mark.parametrize(
    ("before", "key", "value", "after"),
    [
        ("", "a", "1", "a: 1\n"),
        ("# mine\nb: 2", "a", "x y", '# mine\nb: 2\na: "x y"\n'),
        ("a: 1\nb: 2\n", "a", "3", "a: 3\nb: 2\n"),
        ("a:\n  - x\n  - y\nb: 2\n", "a", "z", "a: z\nb: 2\n"),
        ("a: 1\nb: 2\n", "a", "", "b: 2\n"),
        ("ab: 1\n", "a", "2", "ab: 1\na: 2\n"),
    ],
)
def test_a_setting_is_written_and_the_rest_of_the_file_stays(before: str, key: str, value: str, after: str) -> None:
    assert with_setting(before, key, value) == after


@pytest.mark.row("7.3/config-list")
def test_every_setting_explains_itself_and_knows_its_services() -> None:
    table = settings()
    assert {one.name for one in table if not one.description} == set()
    by_name = {one.name: one for one in table}
    assert by_name["log_level"].services == ["api", "scheduler", "publisher", "node"]
    assert by_name["database_url"].secret
    assert "valid integer" in by_name["api_port"].wrong("x")
    assert by_name["api_port"].wrong("1235") == ""
    assert by_name["log_level"].wrong("foo").startswith("'foo' is not a log level")
    assert by_name["log_level"].wrong("WARN") == ""


@pytest.fixture
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SKREI_DATA_DIR", "SKREI_ALLOW_ENV", "SKREI_NAME", "SKREI_CONFIG", "SKREI_LOG_SILENCE_SECONDS"):
        monkeypatch.setenv(name, "")  # so that what a call sets is taken back
    monkeypatch.setenv("SKREI_DATA_DIR", str(tmp_path))
    (tmp_path / "config.yaml").write_text("log_level: debug\n")


def serve(*words: str) -> tuple[Values, Path | None]:
    return _settings(read(with_universal(SERVE), words))


@pytest.mark.usefixtures("_own_environment")
def test_serve_takes_settings_as_options_as_the_peer_calls_them_and_from_its_folder(tmp_path: Path) -> None:
    values, file = serve("-c", "api.port=99", "-c", "log_silence_seconds=5", "-c", "Compute.Enabled", "--name", "n")
    assert (values.integer("port"), values.flag("compute")) == (99, True)
    assert (os.environ["SKREI_LOG_SILENCE_SECONDS"], os.environ["SKREI_NAME"]) == ("5", "n")
    assert file == tmp_path / "config.yaml"
    values, file = serve(
        "-c", "api.port=99", "--port", "5", "-c", "compute.allowlistedlocalpaths=/a,/b:rw", "-c", "x.yaml"
    )
    assert (values.integer("port"), values.texts("allow-local"), file) == (5, ("/a", "/b:rw"), Path("x.yaml"))


@pytest.mark.usefixtures("_own_environment")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-c", "a.b.c=1"], "skrei serve: there is no setting a.b.c."),
        (["-c", "log_silence_second=1"], "skrei serve: there is no setting log_silence_second."),
        (["-c", "a.yaml", "-c", "b.yaml"], "skrei serve: -c names more than one file."),
        (["-c", "api.port=http"], "skrei serve: --port http: not a whole number."),
    ],
)
@pytest.mark.row("12/without-effect")
def test_a_setting_that_is_none_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(Misuse) as caught:
        serve(*words)
    assert caught.value.message == told


def test_what_is_logged_is_said_by_the_flag_the_variable_or_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SKREI_CONFIG", raising=False)
    monkeypatch.delenv("SKREI_LOG_LEVEL", raising=False)
    file = tmp_path / "config.yaml"
    file.write_text("log_level: error\n")
    assert [log_level("", None), log_level("", file), log_level("debug", file)] == ["info", "error", "debug"]
    monkeypatch.setenv("SKREI_LOG_LEVEL", "WARN")
    assert [log_level("", file), log_level("debug", None)] == ["WARN", "debug"]
    monkeypatch.setenv("SKREI_LOG_LEVEL", "loud")
    with pytest.raises(Rejected, match="'loud' is not a log level"):
        log_level("", file)
    monkeypatch.delenv("SKREI_LOG_LEVEL")
    monkeypatch.setenv("SKREI_CONFIG", str(file))
    assert log_level("", None) == "error"
