"""What every command takes, before its name or after it."""

import os
from pathlib import Path

import pytest

from skrei import profiles
from skrei.cli import tree
from skrei.cli.flags import UNIVERSAL
from skrei.cli.grammar import Misuse, Values, read
from skrei.cli.universal import before_command, settled, with_universal
from skrei.errors import Rejected
from skrei.profiles import Profile, Profiles

LIST = with_universal(tree.load("job list"))


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SKREI_API_KEY", "SKREI_DATA_DIR", "SKREI_API_KEY_FILE"):
        monkeypatch.setenv(name, "")  # so that what a call sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text("API: {Host: 10.0.0.9, Port: 99, TLS: {UseTLS: true}}\n")
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "two").write_text("a b\n")
    profiles.store(Profiles({"far": Profile("far", "https://far:1234")}))


def said(*words: str) -> Values:
    return settled(read(LIST, words))


@pytest.mark.row("7.1/endpoint", "7.1/host-url")
@pytest.mark.parametrize(
    ("words", "api"),
    [
        ([], ""),
        (["--api", "http://a:1"], "http://a:1"),
        (["--api-host", "h"], "http://h:1234"),
        (["--api-port", "88"], "http://127.0.0.1:88"),
        (["--api-host", "::1", "--api-port", "88"], "http://[::1]:88"),
        (["--api-host", "https://h:7"], "https://h:7"),
        (["--api-host", "127.0.0.1:18234"], "http://127.0.0.1:18234"),
        (["--api-host", "[::1]:88", "-c", "api.tls.usetls=1"], "https://[::1]:88"),
        (["-c", "API.Host=h", "--config=api.port=9"], "http://h:9"),
        (["-c", "settings.yaml"], "https://10.0.0.9:99"),
        (["-c", "settings.yaml", "--api-port", "5"], "https://10.0.0.9:5"),
        (["-c", "settings.yaml", "-c", "api.tls.usetls=false"], "http://10.0.0.9:99"),
        (["-c", "disableanalytics"], ""),
        (["--profile", "far"], "https://far:1234"),
        (["--profile", "far", "--api-port", "5"], "http://127.0.0.1:5"),
    ],
)
def test_an_api_is_named_in_many_ways(words: list[str], api: str) -> None:
    assert said(*words).text("api") == api


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--api-port", "http"], "--api-port http: not a port."),
        (["--api-port", "70000"], "--api-port 70000: not a port."),
        (["--api-host", "h:1", "--api-port", "2"], "h:1 names a port, and it is not 2."),
        (["-c", "none.yaml"], "none.yaml cannot be read: No such file or directory."),
        (["-c", "=x"], "--config =x: not FILE or KEY=VALUE."),
        (["--profile", "fra"], "There is no profile 'fra'."),
        (["--token-file", "none"], "The token's file none cannot be read: No such file or directory."),
        (["--token-file", "two"], "two holds no token."),
    ],
)
def test_what_names_none_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(Rejected) as caught:
        said(*words)
    assert caught.value.message == told
    assert caught.value.hint


@pytest.mark.row("7.1/root-flags")
def test_a_token_and_a_folder_take_effect_on_the_process() -> None:
    said("--token-file", "token", "--data-dir", "/d")
    assert (os.environ["SKREI_API_KEY"], os.environ["SKREI_DATA_DIR"]) == ("secret", "/d")


@pytest.mark.row("7.1/root-flags")
def test_what_stands_before_the_name_counts_as_if_it_stood_behind() -> None:
    words = ["--api-host", "h", "--api-port=1", "-c", "k=v", "list", "--api", "x"]
    assert before_command(words) == (["--api-host", "h", "--api-port=1", "-c", "k=v"], ["list", "--api", "x"])
    with pytest.raises(Misuse, match="--api needs a value: --api URL"):
        before_command(["--api"])


@pytest.mark.parametrize("name", tree.COMMANDS)
def test_every_command_can_be_read_and_its_options_do_not_clash(name: str) -> None:
    command = with_universal(tree.load(name))
    names = [each for option in command.options for each in option.names]
    assert len(names) == len(set(names))
    keys = [option.key for option in command.options] + [argument.name for argument in command.arguments]
    assert len(keys) == len(set(keys))
    assert {option.key for option in UNIVERSAL} <= {option.key for option in command.options}
    module, _, function = command.does.partition(":")
    assert module.startswith("skrei.cli.")
    assert function
