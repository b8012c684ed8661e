"""The allow-list of local paths: what a glob takes, and that links lead nowhere else."""

import asyncio
import os
from pathlib import Path

import pytest

from skrei_plugin_api.allow import Access, Entry, access, parse_entry, pattern
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits, StageProblem
from skrei_plugin_api.testing import NoBlobs
from skrei_plugin_basic.local import LocalStorage


@pytest.mark.parametrize(
    ("glob", "taken", "refused"),
    [
        ("/data", ["/data"], ["/data/x", "/datax", "/dat"]),
        ("/data/*", ["/data/x"], ["/data", "/data/x/y"]),
        ("/data/**", ["/data", "/data/x", "/data/x/y/z"], ["/datax", "/other"]),
        ("/**/x", ["/x", "/a/x", "/a/b/x"], ["/a/b", "/ax"]),
        ("/data/**/*.csv", ["/data/a.csv", "/data/x/y/a.csv"], ["/data/a.txt", "/a.csv"]),
        ("/d?ta/[ab]", ["/data/a", "/d_ta/b"], ["/data/c", "/d/ta/a"]),
        ("/data/[!a]", ["/data/b"], ["/data/a", "/data//"]),
        ("/{mnt,srv}/x", ["/mnt/x", "/srv/x"], ["/x", "/opt/x"]),
        ("/a.b+c", ["/a.b+c"], ["/axb+c", "/a.bbc"]),
        (r"/a\*", ["/a*"], ["/ab"]),
        ("/**", ["/a", "/a/b"], ["a"]),
    ],
)
@pytest.mark.row("6.1/allow-list")
def test_a_glob_takes_whole_paths(glob: str, taken: list[str], refused: list[str]) -> None:
    for path in taken:
        assert pattern(glob).fullmatch(path), path
    for path in refused:
        assert not pattern(glob).fullmatch(path), path


@pytest.mark.row("6.1/allow-list")
def test_a_suffix_says_what_is_allowed_and_reading_is_the_default() -> None:
    assert parse_entry("/data") == Entry("/data", Access.READ)
    assert parse_entry(" /data/**:ro ") == Entry("/data/**", Access.READ)
    assert parse_entry("/data:rw") == Entry("/data", Access.WRITE)
    with pytest.raises(ValueError, match="absolute path or glob"):
        parse_entry("data")


def test_the_most_generous_entry_counts(tmp_path: Path) -> None:
    path = str(tmp_path.resolve())
    assert access(path, [parse_entry(f"{path}:rw"), parse_entry("/**")]) is Access.WRITE
    assert access(path, []) is Access.NONE


def stage(tmp_path: Path, path: Path, *allowed: str, **params: object) -> Path:
    storage = LocalStorage(PluginContext(tmp_path, allow_local=allowed))
    source = SourceSpec("local", {"SourcePath": str(path)} | params, "/in")
    return asyncio.run(storage.stage(source, tmp_path, StageLimits(), NoBlobs(tmp_path))).source


def refusal(tmp_path: Path, path: Path, *allowed: str, **params: object) -> StageFailed:
    with pytest.raises(StageFailed) as raised:
        stage(tmp_path, path, *allowed, **params)
    return raised.value


@pytest.mark.row("6.1/local")
def test_a_refusal_names_the_path_and_the_setting(tmp_path: Path) -> None:
    error = refusal(tmp_path, tmp_path)
    assert error.code is StageProblem.DENIED
    assert str(tmp_path) in error.message
    place = tmp_path.resolve()
    assert f"SKREI_ALLOW_LOCAL={place} or `skrei serve --allow-local '{place}'`" in error.hint
    assert "/**" in error.hint


@pytest.mark.row("6.1/local")
def test_a_link_out_of_an_allowed_directory_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "secret")
    allowed = f"{tmp_path}/allowed/**"
    for path in (tmp_path / "allowed" / "link", tmp_path / "allowed" / ".." / "secret"):
        error = refusal(tmp_path, path, allowed)
        assert error.code is StageProblem.DENIED
        assert str(tmp_path.resolve() / "secret") in error.message
    assert stage(tmp_path, tmp_path / "allowed" / "link", allowed, f"{tmp_path}/secret").name == "secret"


def test_an_owner_may_name_a_directory_by_way_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert stage(tmp_path, tmp_path / "link", f"{tmp_path}/link") == tmp_path.resolve() / "real"
    assert stage(tmp_path, tmp_path / "real", f"{tmp_path}/link/**") == tmp_path.resolve() / "real"


@pytest.mark.row("6.1/local")
def test_writing_and_creating_need_an_entry_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for params in ({"ReadWrite": True}, {"CreateAs": "dir"}):
        error = refusal(tmp_path, path, f"{tmp_path}/**", **params)
        assert (error.code, "out:rw" in error.hint) == (StageProblem.DENIED, True)
        assert not path.exists()
    assert stage(tmp_path, path, f"{tmp_path}/**:rw", CreateAs="dir").is_dir()
    assert stage(tmp_path, tmp_path / "a" / "file", f"{tmp_path}/**:rw", createas="File").is_file()


def test_what_is_allowed_but_not_there_says_so(tmp_path: Path) -> None:
    error = refusal(tmp_path, tmp_path / "none", f"{tmp_path}/**")
    assert (error.code, "none is not on this node" in error.message) == (StageProblem.MISSING, True)


def owners(tmp_path: Path, path: Path, *allowed: str, node: bool = True, job: bool = True, **params: object) -> Path:
    storage = LocalStorage(PluginContext(tmp_path, allow_local=allowed, owner_paths=node))
    source = SourceSpec("local", {"SourcePath": str(path)} | params, "/in", owner_reads=job)
    return asyncio.run(storage.stage(source, tmp_path, StageLimits(), NoBlobs(tmp_path))).source


@pytest.mark.row("6.1/allow-list")
def test_the_owner_reads_what_no_entry_names_on_a_node_of_his_own(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert owners(tmp_path, tmp_path / "data") == tmp_path.resolve() / "data"
    for node, job in ((False, True), (True, False), (False, False)):
        with pytest.raises(StageFailed) as raised:
            owners(tmp_path, tmp_path / "data", node=node, job=job)
        assert raised.value.code is StageProblem.DENIED


def test_the_owner_writes_and_creates_by_entries_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for params in ({"ReadWrite": True}, {"CreateAs": "dir"}):
        with pytest.raises(StageFailed) as raised:
            owners(tmp_path, tmp_path / ("data" if "ReadWrite" in params else "new"), **params)
        assert raised.value.code is StageProblem.DENIED
    assert owners(tmp_path, tmp_path / "data", CreateAs="dir").name == "data"  # it is there: nothing is created
    assert owners(tmp_path, tmp_path / "data", f"{tmp_path}/data:rw", ReadWrite=True).name == "data"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_the_nodes_user_cannot_read_the_owner_does_not_either(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    with pytest.raises(StageFailed, match="cannot read it"):
        owners(tmp_path, tmp_path / "closed")
