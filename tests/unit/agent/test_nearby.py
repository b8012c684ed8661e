"""What is near a node is looked for rarely, beside everything else, and told where it has changed."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_compute_agent import nearby
from skrei_compute_agent.cached_files import CachedFiles
from skrei_compute_agent.held_inputs import HeldInputs
from skrei_compute_agent.nearby import MOST_SERVERS, Nearby, steady
from skrei_domain.errors import Unavailable
from skrei_domain.node import NearServer
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import Near
from skrei_plugin_basic.inline import InlineStorage
from skrei_plugin_basic.url import UrlStorage

KEY = "00000000000000aa"
near_servers = st.builds(
    NearServer, url=st.sampled_from(["http://a", "http://b", "http://c"]), latency_micros=st.integers(1, 10**7)
)


class Looks(InlineStorage):
    """A storage that says what is near."""

    def __init__(self, folder: Path, *answers: Near | Exception | None) -> None:
        super().__init__(PluginContext(folder))
        self.answers = list(answers)

    async def near(self) -> Near:
        answer = self.answers.pop(0)
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer


def server(micros: int, url: str = "http://a") -> NearServer:
    return NearServer(url=url, latency_micros=micros)


def held(folder: Path) -> HeldInputs:
    return HeldInputs(CachedFiles(folder, 10**6), folder / "inputs")


async def test_what_all_storages_find_is_told_and_what_is_about_as_it_was_stays(tmp_path: Path) -> None:
    told = held(tmp_path)
    one = Looks(tmp_path, Near((server(1_000),), (KEY,)), Near((server(1_200),)), Near((server(9_000),)))
    found = Nearby([one, one, UrlStorage(PluginContext(tmp_path))], told, seconds=600)
    await found.look()
    assert (found.servers, told.state().pinned) == ((server(1_000),), 1)
    await found.look()
    assert (found.servers, told.state().pinned) == ((server(1_000),), 0)
    await found.look()
    assert found.servers == (server(9_000),)
    await found.close()


async def test_one_that_fails_or_hangs_takes_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearby, "LOOK_SECONDS", 0.05)
    silent, broken = Looks(tmp_path, None), Looks(tmp_path, Unavailable("it is away"))
    found = Nearby([silent, broken, Looks(tmp_path, Near((server(7),)))], held(tmp_path), seconds=600)
    await found.look()
    assert found.servers == (server(7),)


@pytest.mark.parametrize(("seconds", "looks"), [(600.0, 1), (0.0, 0)])
async def test_nobody_waits_for_a_look_and_none_follows_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, looks: int
) -> None:
    monkeypatch.setattr(nearby, "FIRST_SECONDS", 0.0)
    one = Looks(tmp_path, *[Near()] * 3)
    found = Nearby([one], held(tmp_path), seconds=seconds)
    for _ in range(3):
        found.look_if_due()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(one.answers) == 3 - looks
    await found.close()


@given(st.lists(near_servers, max_size=30), st.lists(near_servers, max_size=30))
def test_what_is_told_is_never_far_from_what_was_measured(before: list[NearServer], now: list[NearServer]) -> None:
    known = {each.url: each for each in before}
    told = steady(tuple(known.values()), now)
    assert len(told) == min(len({each.url for each in now}), MOST_SERVERS)
    measured = [each.latency_micros for each in now]
    for each in told:
        assert any(
            abs(each.latency_micros - one) <= max(nearby.STEADY_MICROS, nearby.STEADY_SHARE * each.latency_micros)
            for one in measured
        )
    assert steady(told, list(told)) == told
