"""What is asked to remove what a stopped node left at its engines: those that the node itself had."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from skrei_compute_agent.settings import Settings
from skrei_embedded import leftovers
from skrei_embedded.leftovers import remove_runs
from skrei_plugin_api.engine import Engine
from skrei_plugin_api.registry import ENGINES, PluginRegistry
from skrei_plugin_api.scripted import ScriptedEngine


class Lasting(ScriptedEngine):
    """Leaves what ran where it is, and says where and for whom it was asked to take it away."""

    adopts = True
    swept: ClassVar[list[tuple[Path, str]]] = []

    async def sweep(self, owned: Callable[[str], bool]) -> int:
        self.swept.append((self.context.state_dir, self.context.node_id))
        return 1


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    Lasting.swept.clear()
    found = PluginRegistry(ENGINES, Engine, entries=(), extra={"lasting": Lasting})  # type: ignore[type-abstract]
    monkeypatch.setattr(leftovers, "engines", lambda: found)


async def test_an_engine_is_asked_with_the_folder_and_the_id_that_it_had_at_the_node(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "node.id").write_text("n-1\n")
    assert await remove_runs(tmp_path) == []
    node = Settings(data_dir=tmp_path / "agent", node_id="n-1")
    assert Lasting.swept == [(node.plugin_dir("engine", "lasting"), "n-1")]
    assert Lasting.swept[0][0] == tmp_path / "agent" / "plugins" / "engines" / "lasting"


async def test_a_folder_without_a_node_has_nothing(tmp_path: Path) -> None:
    assert (await remove_runs(tmp_path), Lasting.swept) == ([], [])
