"""Plugins by name: loaded on first use, and every way of not being one told apart."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from skrei_plugin_api.engine import Engine
from skrei_plugin_api.registry import (
    PluginRegistry,
    PluginVersionMismatch,
    UnknownPlugin,
    UnloadablePlugin,
    WrongPluginType,
    engines,
    storages,
)
from skrei_plugin_api.testing import ScriptedEngine

MODULE = """
from skrei_plugin_api.scripted import ScriptedEngine
class Good(ScriptedEngine): pass
class Old(ScriptedEngine): plugin_api = 0
class NoEngine: pass
not_even_a_class = 7
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginRegistry[Engine]:
    (tmp_path / "third_party.py").write_text(MODULE)
    (tmp_path / "broken_party.py").write_text("import something_that_is_not_installed")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "third_party", raising=False)
    values = {
        "Good": "third_party:Good",
        "alias": "third_party:Good",
        "old": "third_party:Old",
        "none": "third_party:NoEngine",
        "seven": "third_party:not_even_a_class",
        "missing": "third_party:Missing",
        "broken": "broken_party:Engine",
    }
    entries = [EntryPoint(name, value, "test.engines") for name, value in values.items()]
    return PluginRegistry("test.engines", Engine, entries=entries, extra={"Extra": ScriptedEngine})  # type: ignore[type-abstract]


def test_names_are_known_without_importing_anything(registry: PluginRegistry[Engine]) -> None:
    assert registry.names == ("alias", "broken", "extra", "good", "missing", "none", "old", "seven")
    assert "third_party" not in sys.modules


@pytest.mark.parametrize("name", ["Good", "good", "GOOD", "alias"])
def test_a_plugin_is_found_in_any_case_and_by_its_alias(registry: PluginRegistry[Engine], name: str) -> None:
    assert registry.load(name) is registry.load("good")
    assert issubclass(registry.load(name), Engine)


def test_given_plugins_are_found_beside_installed_ones(registry: PluginRegistry[Engine]) -> None:
    assert registry.load("EXTRA") is ScriptedEngine


def test_an_unknown_name_lists_what_there_is(registry: PluginRegistry[Engine]) -> None:
    with pytest.raises(UnknownPlugin, match=r"'docker'; installed: alias, broken") as raised:
        registry.load("docker")
    assert raised.value.details == {"group": "test.engines", "name": "docker"}


@pytest.mark.parametrize(("name", "cause"), [("broken", ModuleNotFoundError), ("missing", AttributeError)])
def test_what_cannot_be_imported_says_why(registry: PluginRegistry[Engine], name: str, cause: type) -> None:
    with pytest.raises(UnloadablePlugin, match=cause.__name__) as raised:
        registry.load(name)
    assert isinstance(raised.value.__cause__, cause)


@pytest.mark.parametrize("name", ["none", "seven"])
def test_what_is_no_engine_is_refused(registry: PluginRegistry[Engine], name: str) -> None:
    with pytest.raises(WrongPluginType, match="is not a Engine"):
        registry.load(name)


def test_another_version_of_the_contract_is_refused(registry: PluginRegistry[Engine]) -> None:
    with pytest.raises(PluginVersionMismatch, match="plugin API 0, this is 1"):
        registry.load("old")


@pytest.mark.row("5.4/noop", "6.1/aliases")
def test_the_installed_plugins_all_load() -> None:
    assert set(engines().names) == {"docker", "kubernetes", "wasm"}
    assert {"inline", "local", "localdirectory"} <= set(storages().names)
    for name in engines().names:
        engines().load(name)
    for name in storages().names:
        storages().load(name)
    assert storages().load("localDirectory") is storages().load("local")
