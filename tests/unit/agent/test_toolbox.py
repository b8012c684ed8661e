"""What a node keeps of where others are."""

from pathlib import Path

import pytest

from skrei_compute_agent.folders import Folders
from skrei_compute_agent.settings import Settings
from skrei_compute_agent.toolbox import Toolbox
from skrei_domain.messages import HelloReply


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
