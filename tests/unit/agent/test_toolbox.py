"""What a node keeps of where others are."""

from pathlib import Path

import pytest

from skrei_compute_agent.folders import Folders
from skrei_compute_agent.settings import Settings
from skrei_compute_agent.toolbox import Toolbox, _offered
from skrei_domain.errors import Invalid
from skrei_domain.messages import HelloReply
from skrei_plugin_api.engine import Engine
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.scripted import ScriptedEngine


@pytest.mark.parametrize(
    ("set_to", "wanted"),
    [("", ["", "http://told", "http://told", "http://moved"]), ("http://mine", ["http://mine"] * 4)],
)
async def test_where_the_api_is_stays_known_through_an_answer_that_does_not_say(
    tmp_path: Path, set_to: str, wanted: list[str]
) -> None:
    folders = Folders(tmp_path / "executions")
    tools = Toolbox(Settings(data_dir=tmp_path, api_url=set_to), folders, {}, {})
    found = [tools.api_url]
    for url in ("http://told", "", "http://moved"):
        tools.told(HelloReply(api_url=url))
        found.append(tools.api_url)
    await tools.close()
    folders.close()
    assert found == wanted


def test_an_engine_stands_in_for_another_by_its_name_alone(tmp_path: Path) -> None:
    own, other = ScriptedEngine(PluginContext(tmp_path / "a")), ScriptedEngine(PluginContext(tmp_path / "b"))
    made: dict[str, Engine] = {"scripted": own, "docker": other}
    assert _offered(made, Settings(engine_aliases={"Docker": "scripted"})) == {"scripted": own, "docker": own}
    assert _offered(made, Settings()) == made
    assert _offered(made, Settings(engines=("Docker", "nope"))) == {"docker": other}


def test_an_engine_that_is_not_here_stands_in_for_none(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no engine 'kubernetes' to stand in for 'docker'") as error:
        _offered(
            {"scripted": ScriptedEngine(PluginContext(tmp_path))}, Settings(engine_aliases={"docker": "kubernetes"})
        )
    assert "scripted" in error.value.hint
