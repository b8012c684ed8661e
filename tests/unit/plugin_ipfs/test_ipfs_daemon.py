"""Daemons that are away, slow, wrong or hostile, and what a job is told of it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from skrei_domain.source_keys import cid_key, source_key
from skrei_plugin_api.pieces import DATA, Piece
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import Near, SourceSpec, StageFailed, StageLimits, StageProblem
from skrei_plugin_api.testing import NoBlobs, apart
from skrei_plugin_ipfs import daemon as daemons
from skrei_plugin_ipfs import storage as storages
from skrei_plugin_ipfs import tree as trees
from skrei_plugin_ipfs.cid import Cid, parse
from skrei_plugin_ipfs.daemon import IpfsAway
from skrei_plugin_ipfs.storage import IpfsStorage
from tests.support.ipfs_blocks import Store, link, number, text
from tests.support.web import serving

MISSING = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


class Speaking:
    """A daemon or gateway that has some blocks; `answers` come first: statuses and texts, None is a cut line."""

    def __init__(self) -> None:
        self.store = Store(piece=1_000)
        self.answers: list[tuple[int, str] | None] = []
        self.asked: list[str] = []
        self.pins = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("cid") or request.query.get("arg", "")
        self.asked.append(name)
        if self.answers:
            if (said := self.answers.pop(0)) is None:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            return web.Response(status=said[0], text=said[1])
        block = self.store.blocks.get(parse(name))
        if block is None:
            return web.json_response({"Message": "block was not found locally (offline)", "Code": 0}, status=500)
        return web.Response(body=block)

    async def pinned(self, request: web.Request) -> web.StreamResponse:
        assert (request.query["type"], request.query["stream"]) == ("recursive", "true")
        return web.Response(text=self.pins, status=200 if self.pins else 500)

    async def version(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"Version": "0.30.0"})


@pytest.fixture
def speaking(monkeypatch: pytest.MonkeyPatch) -> Speaking:
    monkeypatch.setattr(daemons, "PAUSE_SECONDS", 0.0)
    return Speaking()


@pytest.fixture
async def url(speaking: Speaking) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/api/v0/block/get", speaking.answer)
    app.router.add_post("/api/v0/pin/ls", speaking.pinned)
    app.router.add_post("/api/v0/version", speaking.version)
    app.router.add_get("/ipfs/{cid}", speaking.answer)
    async with serving(app) as address:
        yield address


@pytest.fixture(params=["ipfs_api", "ipfs_gateway"])
async def storage(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[IpfsStorage]:
    made = IpfsStorage(PluginContext(tmp_path / "state", options={request.param: url}))
    yield made
    await made.close()


def source(cid: Cid | str) -> SourceSpec:
    return SourceSpec("ipfs", {"CID": str(cid)}, "/in")


def storage_url(storage: IpfsStorage) -> str:
    (url,) = storage.context.options.values()
    return url


async def failure(storage: IpfsStorage, cid: Cid | str, folder: Path, **limits: Any) -> StageFailed:
    with pytest.raises(StageFailed) as raised:
        await storage.stage(source(cid), folder / "in", StageLimits(**limits), NoBlobs(folder))
    return raised.value


async def test_a_file_is_the_target_and_a_directory_is_one(
    storage: IpfsStorage, speaking: Speaking, tmp_path: Path
) -> None:
    whole = speaking.store.add({"a": {"rows.csv": b"1,2\n" * 2_000}, "b": b"B"})
    for named, found in ((f"{whole}/a/rows.csv", None), (f"/ipfs/{whole}/a", "rows.csv"), (f"ipfs://{whole}", "b")):
        mount = await storage.stage(source(named), tmp_path / "in", StageLimits(), NoBlobs(tmp_path))
        path = mount.source / found if found else mount.source
        assert path.read_bytes() == (b"B" if found == "b" else b"1,2\n" * 2_000)


async def test_a_line_that_breaks_is_tried_again(storage: IpfsStorage, speaking: Speaking, tmp_path: Path) -> None:
    cid = speaking.store.add(b"data" * 1_000)
    speaking.answers = [None, None]
    await storage.stage(source(cid), tmp_path / "in", StageLimits(), NoBlobs(tmp_path))
    speaking.answers = [None] * 9  # the client library repeats a GET by itself
    with pytest.raises(IpfsAway, match="does not answer") as raised:
        await storage.pieces(source(cid), StageLimits())
    assert raised.value.retryable


async def test_what_came_before_a_daemon_went_away_is_not_asked_for_again(
    storage: IpfsStorage, speaking: Speaking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skrei_plugin_ipfs.whole.AT_ONCE", 1)
    counted = b"".join(each.to_bytes(4, "big") for each in range(5_000))
    cid = speaking.store.add(counted)
    (piece,) = await storage.pieces(source(cid), StageLimits())
    blocks, kept = speaking.store.blocks, [each for each in speaking.store.blocks if each != cid]
    speaking.store.blocks = {each: blocks[each] for each in (cid, *kept[:12])}
    with pytest.raises(StageFailed):
        await storage.bring(source(cid), StageLimits(), piece, tmp_path)
    assert (tmp_path / DATA).stat().st_size > 0
    speaking.store.blocks, speaking.asked = blocks, []
    await storage.bring(source(cid), StageLimits(), piece, tmp_path)
    assert (tmp_path / DATA).read_bytes() == counted
    assert len(speaking.asked) < len(blocks)


@pytest.mark.row("6.1/ipfs")
@pytest.mark.parametrize(
    "case",
    [
        ([], StageProblem.MISSING, "nobody whom the IPFS daemon at URL knows has CID: block was not found locally"),
        (
            [(500, '{"Message":"context deadline exceeded"}')],
            StageProblem.MISSING,
            "has CID: context deadline exceeded",
        ),
        ([(404, "not here")], StageProblem.MISSING, "has CID: not here"),
        ([(504, "")], StageProblem.MISSING, "has CID: status 504"),
        ([(403, "no")], StageProblem.DENIED, "the IPFS daemon at URL refuses CID: no"),
        ([(200, "something else")], StageProblem.INVALID, "the IPFS daemon at URL sends something else for CID"),
        ([(200, "x" * (4 * 1024**2 + 1))], StageProblem.TOO_LARGE, "the block CID has more than 4,194,304 bytes"),
    ],
)
async def test_what_cannot_be_had_is_told_at_once(
    storage: IpfsStorage, speaking: Speaking, tmp_path: Path, case: tuple[Any, StageProblem, str]
) -> None:
    answers, problem, told = case
    speaking.answers = list(answers)
    error = await failure(storage, MISSING, tmp_path)
    assert error.code == problem
    assert error.message.replace(storage_url(storage), "URL").replace(MISSING, "CID").find(told) >= 0, error.message
    assert speaking.asked == [MISSING], "once: another try would not find it either"


async def test_what_nobody_has_is_not_looked_for_twice_by_a_list_and_who_is_placed_after_it(
    storage: IpfsStorage, speaking: Speaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        with pytest.raises(StageFailed, match="nobody whom the IPFS daemon") as raised:
            await storage.pieces(source(MISSING), StageLimits())
        assert raised.value.code is StageProblem.MISSING
    assert len(speaking.asked) == 1
    monkeypatch.setattr(storages, "MISSED_SECONDS", 0.0)
    with pytest.raises(StageFailed, match="nobody whom the IPFS daemon"):
        await storage.pieces(source(MISSING), StageLimits())
    assert len(speaking.asked) == 2, "by then somebody may have it"


async def test_one_list_of_a_directory_is_for_all_partitions_with_all_sizes(
    storage: IpfsStorage, speaking: Speaking
) -> None:
    cid = speaking.store.add({"a": b"A" * 5_000, "deep": {"b": b"B"}})
    wanted = SourceSpec("ipfs", {"CID": str(cid)}, partitions=4)
    entries = [each async for each in storage.resolve(wanted, StageLimits())]
    assert [(each.partition, each.piece.path, each.piece.size) for each in entries] == [
        (None, "a", 5_000),
        (None, "deep/b", 1),
    ]


async def test_a_daemon_in_trouble_may_be_well_again(storage: IpfsStorage, speaking: Speaking) -> None:
    speaking.answers = [(500, "disk I/O error"), (503, "no")]
    for told in ("cannot give .*: disk I/O error", "cannot give .*: no"):
        with pytest.raises(IpfsAway, match=told):
            await storage.pieces(source(MISSING), StageLimits())


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (
            text(1, number(1, 4) + text(2, b"/etc/passwd")),
            "is no input: it is a symbolic link, which no input may have",
        ),
        (text(1, number(1, 9)), "is no input: it is of a kind that nobody knows (9)"),
        (b"\x08\x01", "is no input: it is no file and no directory"),
        (b"\xff", "is no input: it ends in the middle"),
    ],
)
async def test_what_is_no_file_is_told(
    storage: IpfsStorage, speaking: Speaking, tmp_path: Path, block: bytes, told: str
) -> None:
    cid = speaking.store.put(block)
    assert (await failure(storage, cid, tmp_path)).message == f"{cid} {told}"


async def test_a_directory_within_itself_as_often_as_its_links_say_ends_soon(
    storage: IpfsStorage, speaking: Speaking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty levels of ten links to the same are 10^20 directories in twenty blocks."""
    monkeypatch.setattr(trees, "MOST_NODES", 500)
    cid = speaking.store.put(text(1, number(1, 1)))
    for _ in range(20):
        cid = speaking.store.put(b"".join(link(f"{n}", cid, 0) for n in range(10)) + text(1, number(1, 1)))
    assert "more than 500 blocks say what is in it" in (await failure(storage, cid, tmp_path)).message


async def test_a_name_that_leads_out_of_the_target_is_refused(
    storage: IpfsStorage, speaking: Speaking, tmp_path: Path
) -> None:
    leaf = speaking.store.add(b"x")
    for name in ("..", "a/../../b", "/etc/passwd", ""):
        cid = speaking.store.put(link(name, leaf, 1) + text(1, number(1, 1)))
        assert (await failure(storage, cid, tmp_path)).code == StageProblem.INVALID


async def test_limits_hold_whatever_links_claim(storage: IpfsStorage, speaking: Speaking, tmp_path: Path) -> None:
    large, many = speaking.store.add(b"x" * 5_000), speaking.store.add({f"{n}": b"" for n in range(5)})
    assert (await failure(storage, large, tmp_path, max_bytes=4_999)).code == StageProblem.TOO_LARGE
    assert (await failure(storage, many, tmp_path, max_files=4)).code == StageProblem.TOO_LARGE
    leaf = speaking.store.add(b"y" * 900)
    lies = speaking.store.put(link("small", leaf, 1) + text(1, number(1, 1)))
    assert (await failure(storage, lies, tmp_path, max_bytes=500)).code == StageProblem.TOO_LARGE
    piece = Piece("", f"ipfs:{large}")
    with pytest.raises(StageFailed, match="larger than the 4,999 bytes"):
        await storage.bring(source(large), StageLimits(max_bytes=4_999), piece, tmp_path)


async def test_a_node_says_what_of_ipfs_it_has(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPFS_PATH", str(tmp_path / "none"))
    none = await apart(IpfsStorage(PluginContext(tmp_path)).describe)
    assert (none.available, "start one (ipfs daemon)" in none.reason) == (False, True)
    here = await apart(IpfsStorage(PluginContext(tmp_path, options={"ipfs_api": url})).describe)
    assert (here.available, here.version) == (True, "0.30.0")
    other = await apart(IpfsStorage(PluginContext(tmp_path, options={"ipfs_api": f"{url}/other"})).describe)
    assert (other.available, other.reason.endswith("it answers 404: 404: Not Found")) == (False, True)
    gone = await apart(IpfsStorage(PluginContext(tmp_path, options={"ipfs_api": "http://127.0.0.1:9"})).describe)
    assert (gone.available, "does not answer" in gone.reason) == (False, True)
    wrong = await apart(IpfsStorage(PluginContext(tmp_path, options={"ipfs_api": "5001"})).describe)
    assert (wrong.available, "is no address of an IPFS daemon" in wrong.reason) == (False, True)


async def test_what_a_daemon_has_pinned_is_known_by_its_key(storage: IpfsStorage, speaking: Speaking) -> None:
    cid = speaking.store.add({"a": b"A"})
    if "ipfs_gateway" in storage.context.options:
        return  # nobody's pins are asked of a gateway
    assert await storage.near() == Near()
    speaking.pins = f'{{"Cid":"{cid}","Type":"recursive"}}\nnonsense\n[]\n{{"Cid":"{MISSING}","Type":"recursive"}}\n'
    assert set((await storage.near()).holds) == {cid_key(str(cid)), cid_key(MISSING)}
    speaking.pins = json.dumps({"Keys": {str(cid): {"Type": "recursive"}, "no cid": {}}})
    assert (await storage.near()).holds == (cid_key(str(cid)),)
    speaking.pins = "x" * 1_000_000
    assert await storage.near() == Near()
    assert source_key("ipfs", {"CID": f"ipfs://{cid}"}) == cid_key(str(cid))
