"""What the local storage says of the paths that its owner allows."""

from pathlib import Path

import pytest

from skrei_plugin_api.allow import root
from skrei_plugin_api.plugin import PluginContext, PluginInfo
from skrei_plugin_basic.local import LocalStorage


async def told(folder: Path, *allowed: str) -> PluginInfo:
    return await LocalStorage(PluginContext(state_dir=folder / "state", allow_local=allowed)).describe()


async def test_without_an_allow_list_it_is_there_to_say_so(tmp_path: Path) -> None:
    assert await told(tmp_path) == PluginInfo(available=True, version="0.5.0")


async def test_it_goes_when_every_allowed_path_has_gone(tmp_path: Path) -> None:
    info = await told(tmp_path, f"{tmp_path}/a/**", f"{tmp_path}/b/*.csv")
    assert (info.available, info.reason) == (False, f"not on this node: {tmp_path}/a, {tmp_path}/b")
    assert info.missing_paths == (f"{tmp_path}/a", f"{tmp_path}/b")


async def test_it_stays_and_names_what_is_missing_while_one_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    info = await told(tmp_path, f"{tmp_path}/a/**", f"{tmp_path}/b")
    assert (info.available, info.reason, info.missing_paths) == (True, "", (f"{tmp_path}/b",))


async def test_a_path_that_jobs_may_create_need_not_be_there(tmp_path: Path) -> None:
    assert await told(tmp_path, f"{tmp_path}/out/**:rw") == PluginInfo(available=True, version="0.5.0")


async def test_it_says_how_much_lies_below_what_it_hands_out(tmp_path: Path) -> None:
    for name, size in (("a/x", 3), ("a/deep/y", 4), ("b", 5)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"." * size)
    info = await told(tmp_path, f"{tmp_path}/a/**", f"{tmp_path}/b:rw", f"{tmp_path}/none", "/**")
    assert {each.path: (each.size_bytes, each.at_least) for each in info.path_sizes} == {
        f"{tmp_path}/a": (7, False),
        f"{tmp_path}/b": (5, False),
    }


@pytest.mark.parametrize(
    ("glob", "path"),
    [("/a/b", "/a/b"), ("/a/b/**", "/a/b"), ("/a/b*/c", "/a"), ("/**", "/"), ("/a/{b,c}", "/a"), ("/a/x?", "/a")],
)
def test_a_glob_begins_with_a_plain_path(glob: str, path: str) -> None:
    assert root(glob) == path
