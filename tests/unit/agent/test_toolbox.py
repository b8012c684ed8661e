"""What a node keeps of where others are."""

import asyncio
import threading
from pathlib import Path

import pytest

from skrei_compute_agent.folders import Folders
from skrei_compute_agent.settings import Settings
from skrei_compute_agent.toolbox import Toolbox, _offered
from skrei_domain.errors import Invalid
from skrei_domain.messages import HelloReply
from skrei_domain.node import DataSet
from skrei_plugin_api.engine import Engine
from skrei_plugin_api.plugin import PluginContext, PluginInfo
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


@pytest.mark.parametrize(("own", "wanted"), [("", "http://told"), ("http://mine", "http://mine")])
async def test_results_go_by_the_way_that_this_node_has_to_the_door_where_there_is_one(
    tmp_path: Path, own: str, wanted: str
) -> None:
    folders = Folders(tmp_path / "executions")
    tools = Toolbox(Settings(data_dir=tmp_path, publisher_url=own), folders, {}, {})
    found = []
    for told in ("http://told", ""):
        tools.work.door(told)
        found.append(tools._delivery.url)
    await tools.close()
    folders.close()
    assert found == [wanted, ""], "a leader that knows no publisher has none"


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


class Declaring(ScriptedEngine):
    """Tells of its data as they are when it is asked, and lets who asks wait for that."""

    def __init__(self, folder: Path) -> None:
        super().__init__(PluginContext(folder))
        self.data: tuple[DataSet, ...] = ()
        self.asked, self.answer = threading.Event(), threading.Event()

    async def describe(self) -> PluginInfo:
        found = self.data
        self.asked.set()
        self.answer.wait()
        return PluginInfo(available=True, data=found)


async def test_who_looks_while_another_look_goes_on_sees_what_was_declared_meanwhile(tmp_path: Path) -> None:
    engine, folders = Declaring(tmp_path / "engine"), Folders(tmp_path / "executions")
    tools = Toolbox(Settings(data_dir=tmp_path), folders, {"scripted": engine}, {})
    try:
        first = asyncio.ensure_future(tools.fingerprint("n-1"))
        await asyncio.to_thread(engine.asked.wait)
        engine.data = (DataSet(name="books"),)
        second = asyncio.ensure_future(tools.fingerprint("n-1"))
        await asyncio.sleep(0)  # it looks, too
        engine.answer.set()
        told = [await each for each in asyncio.as_completed([first, second])]
        assert [[one.name for one in info.data] for info in told] == [[], ["books"]]
    finally:
        engine.answer.set()
        await tools.close()
        folders.close()
