"""The `data` storage: what its node declares, and nothing else of its disk."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from skrei_domain.node import DataSet
from skrei_plugin_api.engine import InPlace, Mount
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits, StageProblem
from skrei_plugin_basic import data_sets, sizes
from skrei_plugin_basic.data import DataAway, DataStorage
from skrei_plugin_basic.data_sets import DataSets


class Nobody:
    """A reader that nothing is asked of."""


class Site:
    """A folder with a set of books, and a storage that knows it."""

    def __init__(self, folder: Path) -> None:
        self.books = folder / "books"
        (self.books / "2024").mkdir(parents=True)
        (self.books / "2024" / "may.txt").write_text("in may")
        (self.books / "cod.txt").write_text("the cod")
        (folder / "secret").write_text("nobody's business")
        self.file = folder / "data-sets.json"
        self.folder = folder

    def storage(self, **told: str) -> DataStorage:
        return DataStorage(PluginContext(self.folder / "state", data=told, data_file=self.file))

    async def stage(self, storage: DataStorage, **params: Any) -> Mount:
        source = SourceSpec("data", params, "/in")
        nobody: Any = Nobody()
        return await storage.stage(source, self.folder / "x", StageLimits(), nobody)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_a_set_is_handed_out_in_place_with_its_size(site: Site) -> None:
    storage = site.storage(books=str(site.books))
    assert await site.stage(storage, Name="books") == Mount(site.books, "/in", in_place=InPlace(13))
    assert await site.stage(storage, name="books", path="2024/") == Mount(
        site.books / "2024", "/in", in_place=InPlace(6)
    )
    may = await site.stage(storage, Name="books", Path="2024/may.txt")
    assert (may.source, may.read_write) == (site.books / "2024" / "may.txt", False)


async def test_a_node_tells_what_it_has_and_why_it_has_not_the_rest(site: Site) -> None:
    site.file.write_text(json.dumps({"logs": f"{site.folder}/none", "books": f"{site.books}:rw", "Bad": "/x"}))
    info = await site.storage(books=str(site.books), out=f"{site.folder}:rw").describe()
    assert info.available
    assert [(each.name, each.read_write) for each in info.data] == [("books", False), ("out", True)]
    assert info.data[0].size_bytes == 13
    assert info.missing_data == (("logs", f"{site.folder}/none is not there"),)
    assert "'Bad' is no name of a data set" in info.reason


async def test_what_is_declared_while_it_runs_is_there_with_the_next_look(site: Site) -> None:
    storage = site.storage()
    assert (await storage.describe()).data == ()
    site.file.write_text(json.dumps({"books": f"{site.books}:ro"}))
    assert (await storage.describe()).data == (DataSet(name="books", size_bytes=13),)
    assert (await site.stage(storage, Name="books")).source == site.books
    site.file.unlink()
    assert (await storage.describe()).data == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"books": 1}', ""])
async def test_a_file_that_cannot_be_read_takes_nothing_from_the_settings(site: Site, text: str) -> None:
    site.file.write_text(text)
    info = await site.storage(books=str(site.books)).describe()
    assert [each.name for each in info.data] == ["books"]
    assert str(site.file) in info.reason


async def test_a_set_that_is_not_here_may_be_elsewhere(site: Site) -> None:
    with pytest.raises(DataAway) as raised:
        await site.stage(site.storage(books=str(site.books)), Name="boks")
    assert raised.value.retryable
    assert "no data set boks; did you mean books?" in raised.value.message
    assert "skrei node data add boks PATH" in raised.value.hint
    with pytest.raises(DataAway, match="is gone"):
        await site.stage(site.storage(books=f"{site.folder}/gone"), Name="books")


async def test_no_path_and_no_link_leads_out(site: Site) -> None:
    (site.books / "out").symlink_to(site.folder / "secret")
    (site.books / "round").symlink_to(site.books / "2024")
    storage = site.storage(books=str(site.books))
    for path in ("out", "../secret", "2024/../../secret", "/../secret"):
        with pytest.raises(StageFailed) as raised:
            await site.stage(storage, Name="books", Path=path)
        assert raised.value.code in (StageProblem.DENIED, StageProblem.INVALID), path
    assert (await site.stage(storage, Name="books", Path="round")).source == site.books / "2024"


async def test_an_owner_may_name_a_set_by_way_of_a_link(site: Site) -> None:
    (site.folder / "link").symlink_to(site.books)
    assert (await site.stage(site.storage(books=f"{site.folder}/link"), Name="books")).source == site.books


async def test_nothing_is_written_where_only_reading_was_said(site: Site) -> None:
    with pytest.raises(StageFailed, match="be read, not written") as raised:
        await site.stage(site.storage(books=str(site.books)), Name="books", ReadWrite=True)
    assert raised.value.code is StageProblem.DENIED
    mount = await site.stage(site.storage(books=f"{site.books}:rw"), Name="books", ReadWrite=True)
    assert mount.read_write


async def test_a_part_that_is_not_there_is_the_jobs_own_mistake(site: Site) -> None:
    with pytest.raises(StageFailed, match="holds no '2025'") as raised:
        await site.stage(site.storage(books=str(site.books)), Name="books", Path="2025")
    assert (raised.value.code, raised.value.retryable) == (StageProblem.MISSING, False)


async def test_a_large_set_is_counted_beside_all_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "AT_ONCE_SECONDS", 0.0)  # too little for any set
    sets = DataSets({"books": str(site.books)}, None)
    sets.look()
    for thread in threading.enumerate():
        if thread.name == "count-data":
            thread.join(60)
    assert sets.look().here == (DataSet(name="books", size_bytes=13),)


async def test_no_more_sets_are_told_than_a_node_may_have(site: Site) -> None:
    site.file.write_text(json.dumps({f"set{number:03d}": str(site.books) for number in range(70)}))
    info = await site.storage().describe()
    assert len(info.data) == data_sets.MAX_DATA_SETS
    assert "70 data sets are declared" in info.reason
