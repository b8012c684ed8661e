import asyncio
import errno
import io
import json
import os
import random
import tarfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from skrei import bundles as bundle_module
from skrei import results as module
from skrei.archive import Caps
from skrei.client import AsyncClient
from skrei.errors import ApiError, DownloadFailed, NoPlace, ResultGone, UnsafeArchive
from skrei.results import Fetched, NoMeter, Wish, fetch
from tests.support.door import Body, Door, archive, digest_of, names_below
from tests.support.fake_api import FakeApi, error, execution

BASE = "/api/v1/orchestrator/jobs/x"
DOOR = "http://127.0.0.1:8"
BAD = archive(stdout="x", **{"..__evil": "x"})


def untouched(folder: Path) -> bool:
    return not any(folder.iterdir())


def api_of(*left: bytes, door: Door | None = None, told: bool = True, **params: Any) -> tuple[FakeApi, Door]:
    """An API whose job has one partition for each of `left`."""
    executions = [execution(number, number) for number in range(len(left))]
    door = door or Door({})
    door.contents |= {str(one["ID"]): content for one, content in zip(executions, left, strict=True)}
    items = []
    for number, (one, content) in enumerate(zip(executions, left, strict=True)):
        more = {"ExecutionID": one["ID"], "PartitionIndex": number, "Size": len(content), "Digest": digest_of(content)}
        items.append(
            {
                "Type": "urlDownload",
                "Params": {"URL": f"{DOOR}/results/{one['ID']}.tar.gz?token=t"} | (more if told else {}) | params,
            }
        )
    answers: dict[str, Any] = {
        f"GET {BASE}/results": {"NextToken": "", "Items": items},
        f"GET {BASE}/executions": {"NextToken": "", "Items": executions},
    }
    answers |= {f"GET /results/{one['ID']}.tar.gz": door for one in executions}
    return FakeApi(answers), door


async def fetched(api: FakeApi, target: Path, meter: NoMeter | None = None, **wish: Any) -> Fetched:
    async with AsyncClient("http://127.0.0.1:9", transport=api.transport) as client:
        return await fetch(client, "x", target, Wish(**wish), meter)


async def test_one_result_lies_in_the_folder_itself(tmp_path: Path) -> None:
    api, _ = api_of(archive(stdout="hi", exitCode="0", out__a="1"), KeptUntil="2026-12-01T00:00:00Z")
    got = await fetched(api, tmp_path / "new" / "out")
    assert names_below(tmp_path) == ["new/out/exitCode", "new/out/out/a", "new/out/stdout"]
    assert (got.files, got.total_bytes, got.kept_until) == (3, 4, "2026-12-01T00:00:00Z")


@pytest.mark.row("6.3/merge")
async def test_several_results_lie_together_with_their_output_joined_in_order(tmp_path: Path) -> None:
    api, _ = api_of(
        *(archive(stdout=f"{n}\n", stderr="", exitCode=str(n), **{f"out__part{n}": "x"}) for n in range(12))
    )
    got = await fetched(api, tmp_path / "out")
    assert (tmp_path / "out/stdout").read_text() == "".join(f"{n}\n" for n in range(12))
    assert (tmp_path / "out/exitCode").read_text() == "".join(map(str, range(12)))
    assert len(names_below(tmp_path / "out/out")) == 12
    assert set(got.partitions.values()) == {tmp_path / "out"}
    assert not got.clashes


@pytest.mark.row("6.3/names-of-several-partitions")
async def test_what_cannot_lie_together_keeps_a_folder_for_each_partition(tmp_path: Path) -> None:
    api, _ = api_of(archive(stdout="0", words__top="a"), archive(stdout="1", words__top="b"), archive(stdout="2"),
                    archive(stdout="3", words__top="c"))  # fmt: skip
    got = await fetched(api, tmp_path / "out")
    assert names_below(tmp_path / "out") == ["0/words/top", "1/words/top", "3/words/top", "stdout"]
    assert (tmp_path / "out/stdout").read_text() == "0123"
    assert got.clashes == ("words/top",)
    assert got.partitions["1"] == tmp_path / "out" / "1"


async def test_a_folder_for_each_partition_on_demand(tmp_path: Path) -> None:
    api, _ = api_of(archive(stdout="0"), archive(stdout="1"))
    await fetched(api, tmp_path / "out", apart=True)
    assert names_below(tmp_path / "out") == ["0/stdout", "1/stdout"]


@pytest.mark.row("6.3/raw", "7.3/job-get")
async def test_raw_keeps_the_archives_as_they_are(tmp_path: Path) -> None:
    content = b"not even an archive"
    api, _ = api_of(content, archive(stdout="1"))
    await fetched(api, tmp_path / "out", raw=True)
    ids = [str(execution(number)["ID"]) for number in range(2)]
    assert names_below(tmp_path / "out") == [f"raw/{id_}.tar.gz" for id_ in ids]
    assert (tmp_path / "out/raw" / f"{ids[0]}.tar.gz").read_bytes() == content


def apart_api(**more: bytes) -> FakeApi:
    """An API whose job left one result, the paths of which are in several places."""
    api, door = api_of(archive(stdout="said", rest__x="r"), ResultPaths=[])
    (one,) = api.answers[f"GET {BASE}/results"]["Items"]
    for path, content in more.items():
        url = f"{DOOR}/elsewhere/{path}"
        params = one["Params"] | {"URL": url, "Size": len(content), "Digest": digest_of(content)}
        api.answers[f"GET {BASE}/results"]["Items"].append({"Type": "ipfs", "Params": params | {"ResultPaths": [path]}})
        door.contents[path] = content
        api.answers[f"GET /elsewhere/{path}"] = door
    return api


async def test_what_went_to_several_places_lies_together_as_its_task_left_it(tmp_path: Path) -> None:
    api = apart_api(a=archive(a__1="A"), b=archive(b__2="B"))
    got = await fetched(api, tmp_path / "out")
    assert names_below(tmp_path / "out") == ["a/1", "b/2", "rest/x", "stdout"]
    assert (got.files, got.partitions) == (4, {"0": tmp_path / "out"})


async def test_what_went_to_several_places_is_an_archive_from_each(tmp_path: Path) -> None:
    await fetched(apart_api(a=archive(a__1="A")), tmp_path / "out", raw=True)
    id_ = str(execution(0)["ID"])
    assert names_below(tmp_path / "out") == [f"raw/{id_}.a.tar.gz", f"raw/{id_}.tar.gz"]


async def test_one_path_is_fetched_from_the_place_that_has_it(tmp_path: Path) -> None:
    api = apart_api(a=archive(a__1="A"), b=archive(b__2="B"))
    await fetched(api, tmp_path / "out", path="b/2")
    assert names_below(tmp_path / "out") == ["b/2"]
    await fetched(api, tmp_path / "rest", path="stdout")
    assert names_below(tmp_path / "rest") == ["rest/x", "stdout"]


@pytest.mark.parametrize("alone", [True, False])
async def test_of_single_files_one_is_fetched_alone_where_that_can_be(tmp_path: Path, alone: bool) -> None:
    whole, part = archive(stdout="said", a__1="A" * 5_000, a__2="B"), archive(a__2="B")
    api, _ = api_of(whole)
    api.answers[f"GET {BASE}/results"]["Items"][0]["Type"] = "s3"
    if alone:
        headers = {"X-Skrei-Path": "a/2"}
        key = f"GET /results/{execution(0)['ID']}.tar.gz"
        api.answers[key] = lambda _: httpx2.Response(200, headers=headers, stream=Body(part, breaks=False))
    await fetched(api, tmp_path / "out", path="a/2")
    assert names_below(tmp_path / "out") == (["a/2"] if alone else ["a/1", "a/2", "stdout"])
    (asked,) = [one.url.params.get("path") for one in api.requests if "/results/" in one.url.path]
    assert asked == "a/2"


async def test_single_files_that_are_packed_otherwise_than_by_their_node_are_a_result(tmp_path: Path) -> None:
    whole = archive(stdout="said")
    api, _ = api_of(archive(stdout="said", x="y"))
    api.answers[f"GET {BASE}/results"]["Items"][0]["Type"] = "s3"
    key = f"GET /results/{execution(0)['ID']}.tar.gz"
    api.answers[key] = lambda _: httpx2.Response(200, headers={"X-Skrei-Path": ""}, stream=Body(whole, breaks=False))
    got = await fetched(api, tmp_path / "out")
    assert names_below(tmp_path / "out") == ["stdout"]
    assert [one.execution_id for one in got.doubtful] == [execution(0)["ID"]]


@pytest.mark.parametrize("sends", [True, False])
async def test_what_stays_on_its_node_comes_from_there_if_that_lets_it_go(tmp_path: Path, sends: bool) -> None:
    whole = archive(stdout="all of it", out__a="A")
    api, door = api_of(archive(stdout="the beginning"))
    (one,) = api.answers[f"GET {BASE}/results"]["Items"]
    one["Type"] = "localDirectory"
    one["Params"] |= {"Path": "/srv/e-1", "Bytes": 10}
    one["Params"]["Archive"] = {"URL": f"{DOOR}/whole", "Size": len(whole), "Digest": digest_of(whole)}
    door.contents["whole"] = whole
    api.answers["GET /whole"] = door if sends else error(409, "its owner lets nothing of it leave that node")
    got = await fetched(api, tmp_path / "out")
    assert names_below(tmp_path / "out") == (["out/a", "stdout"] if sends else ["stdout"])
    assert (len(got.left), "lets nothing" in got.unsent) == ((0, False) if sends else (1, True))


async def test_two_places_that_have_the_same_name_are_no_result(tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive, match="'rest' is in two of the archives"):
        await fetched(apart_api(a=archive(rest__x="another")), tmp_path / "out")
    assert untouched(tmp_path)


async def test_one_execution_s_result_is_asked_for_by_its_id(tmp_path: Path) -> None:
    api, _ = api_of(archive(stdout="x"))
    await fetched(api, tmp_path / "out", execution_id="e-1")
    (asked,) = [one for one in api.requests if one.url.path.endswith("/results")]
    assert asked.url.params["execution_id"] == "e-1"


async def test_partitions_that_the_api_does_not_name_are_found_by_their_executions(tmp_path: Path) -> None:
    api, _ = api_of(archive(stdout="0"), archive(stdout="1"), told=False)
    await fetched(api, tmp_path / "out", apart=True)
    assert (tmp_path / "out/1/stdout").read_text() == "1"


async def test_at_most_so_many_are_downloaded_at_once(tmp_path: Path) -> None:
    door = Door({})
    api, _ = api_of(*(archive(stdout=str(n)) for n in range(6)), door=door)
    running, most = 0, 0

    async def one(request: httpx2.Request) -> httpx2.Response:
        nonlocal running, most
        if not request.url.path.startswith("/results/"):
            return api(request)
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return door(request)

    async with AsyncClient("http://127.0.0.1:9", transport=httpx2.MockTransport(one)) as client:
        await fetch(client, "x", tmp_path / "out", Wish(parallel=2))
    assert most == 2


class Watcher(NoMeter):
    def __init__(self) -> None:
        self.said: list[object] = []
        self.bytes = 0

    def expect(self, total_bytes: int | None, count: int) -> None:
        self.said.append((total_bytes, count))

    def add(self, count: int) -> None:
        self.bytes += count

    def done(self) -> None:
        self.said.append("done")


async def test_whoever_watches_is_told_how_far_it_is(tmp_path: Path) -> None:
    left = [archive(stdout="0" * 9000), archive(stdout="1")]
    api, _ = api_of(*left, door=Door({}, [{"breaks": 20}]))
    watcher = Watcher()
    await fetched(api, tmp_path / "out", watcher, parallel=1)
    assert watcher.said == [(sum(map(len, left)), 2), "done", "done"]
    assert watcher.bytes == sum(map(len, left))


async def test_a_result_that_is_over_its_time_says_until_when_it_was_kept(tmp_path: Path) -> None:
    api, _ = api_of(archive(stdout="x"), door=Door({}, [{"status": 404}]), KeptUntil="2026-11-01T10:00:00Z")
    with pytest.raises(ResultGone, match="partition 0 is not there any more: they were kept until 2026-11-01"):
        await fetched(api, tmp_path / "out")
    kept = {"Digest": "sha256:0", "Size": 1, "KeptUntil": "2026-11-01T10:00:00Z", "Kept": False}
    gone = execution(1, PublishedResult={"Type": "skrei", "Params": kept})
    api = FakeApi({f"GET {BASE}/results": {"Items": []}, f"GET {BASE}/executions": {"Items": [gone]}})
    with pytest.raises(ResultGone, match="not kept any more: they were kept until 2026-11-01") as failed:
        await fetched(api, tmp_path / "out")
    assert "Run the job again" in failed.value.hint


async def test_a_job_that_left_nothing_makes_no_folder(tmp_path: Path) -> None:
    api = FakeApi({f"GET {BASE}/results": {"Items": []}, f"GET {BASE}/executions": {"Items": []}})
    assert (await fetched(api, tmp_path / "out")).partitions == {}
    assert not (tmp_path / "out").exists()


@pytest.mark.row("6.3/other-types")
async def test_a_result_of_another_kind_is_named_not_fetched(tmp_path: Path) -> None:
    item = {"Type": "s3", "Params": {"Bucket": "b", "URL": "s3://b/key"}}
    api = FakeApi({f"GET {BASE}/results": {"Items": [item]}, f"GET {BASE}/executions": {"Items": []}})
    (unknown,) = (await fetched(api, tmp_path / "out")).unknown
    assert (unknown.url, unknown.kind, unknown.document) == ("", "s3", item)


# ---------------------------------------------------------------- several at once


class Bundles:
    """A door that sends several results at once; `plan` says what is special about each answer, in order."""

    def __init__(self, door: Door, *plan: dict[str, Any]) -> None:
        self._door = door
        self._plan = list(plan)
        self.asked: list[list[int]] = []
        """The numbers of the executions in each question."""

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert "Authorization" not in request.headers
        question = json.loads(request.content)
        assert {each["token"] for each in question} == {"t"}
        names = [each["execution_id"] for each in question]
        self.asked.append([int(name[2:10]) for name in names])
        step = self._plan.pop(0) if self._plan else {}
        if "status" in step:
            return error(step["status"], "no")
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name in names:
                if int(name[2:10]) not in step.get("without", ()):
                    content = step.get("content", self._door.contents[name])
                    entry = tarfile.TarInfo(f"{name}.tar.gz")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        cut = step.get("cut")
        return httpx2.Response(200, stream=Body(out.getvalue()[:cut], cut is not None))


def several(count: int, *plan: dict[str, Any], **params: Any) -> tuple[FakeApi, Door, Bundles]:
    """An API whose job has so many partitions, and a door that sends their results together."""
    api, door = api_of(*(archive(stdout=f"{number}\n") for number in range(count)), **params)
    bundles = Bundles(door, *plan)
    api.answers["POST /results"] = bundles
    return api, door, bundles


def joined(folder: Path) -> list[int]:
    return list(map(int, (folder / "stdout").read_text().split()))


async def test_small_results_come_together(tmp_path: Path) -> None:
    api, door, bundles = several(5)
    watcher = Watcher()
    got = await fetched(api, tmp_path / "out", watcher)
    assert (joined(tmp_path / "out"), got.files, got.total_bytes) == ([0, 1, 2, 3, 4], 5, 10)
    assert (bundles.asked, door.ranges) == ([[0, 1, 2, 3, 4]], [])
    assert watcher.said == [(sum(map(len, door.contents.values())), 5), *["done"] * 5]
    assert watcher.bytes == sum(map(len, door.contents.values()))


async def test_their_archives_are_kept_where_those_are_wanted(tmp_path: Path) -> None:
    api, door, _ = several(2)
    await fetched(api, tmp_path / "out", raw=True)
    raw = {path.name.removesuffix(".tar.gz"): path.read_bytes() for path in (tmp_path / "out" / "raw").iterdir()}
    assert raw == door.contents
    assert door.ranges == []


@pytest.mark.parametrize("parallel", [1, 4])
async def test_no_more_are_asked_for_at_once_than_the_door_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    monkeypatch.setattr(bundle_module, "MOST_RESULTS", 2)
    api, door, bundles = several(7)
    await fetched(api, tmp_path / "out", parallel=parallel)
    assert joined(tmp_path / "out") == list(range(7))
    assert (sorted(bundles.asked), len(door.ranges)) == ([[0, 1], [2, 3], [4, 5]], 1)


async def test_what_a_bundle_lacks_is_asked_for_again_while_any_comes_and_then_by_itself(tmp_path: Path) -> None:
    api, door, bundles = several(5, {"without": (1, 3)}, {"without": (3,)}, {"without": (3,)})
    await fetched(api, tmp_path / "out")
    assert joined(tmp_path / "out") == [0, 1, 2, 3, 4]
    assert (bundles.asked, len(door.ranges)) == ([[0, 1, 2, 3, 4], [1, 3], [3]], 1)


@pytest.mark.parametrize(("cut", "whole"), [(0, 0), (512, 0), (1_100, 1), (2_500, 2), (4_608, 4), (5_119, 5)])
async def test_after_a_cut_only_the_rest_is_asked_for(tmp_path: Path, cut: int, whole: int) -> None:
    api, door, bundles = several(5, {"cut": cut})
    await fetched(api, tmp_path / "out")
    assert joined(tmp_path / "out") == [0, 1, 2, 3, 4]
    assert bundles.asked[1:] == ([list(range(whole, 5))] if 0 < whole < 5 else [])
    assert len(door.ranges) == (0 if whole else 5)


@pytest.mark.parametrize("step", [{"status": 404}, {"status": 401}, {"status": 503}, {"content": b"x" * 5_000_000}])
async def test_a_door_that_sends_none_together_is_asked_once_and_then_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: dict[str, Any]
) -> None:
    monkeypatch.setattr(bundle_module, "MOST_RESULTS", 4)
    api, door, bundles = several(8, step, step)
    await fetched(api, tmp_path / "out", parallel=1)
    assert joined(tmp_path / "out") == list(range(8))
    assert (len(bundles.asked), len(door.ranges)) == (1, 8)


async def test_what_is_damaged_in_a_bundle_is_not_taken(tmp_path: Path) -> None:
    api, door, _ = several(2, {"content": archive(stdout="another")})
    await fetched(api, tmp_path / "out")
    assert joined(tmp_path / "out") == [0, 1]
    assert len(door.ranges) == 2


def header(**facts: Any) -> bytes:
    entry = tarfile.TarInfo(f"{execution(0)['ID']}.tar.gz")
    for name, value in facts.items():
        setattr(entry, name, value)
    return entry.tobuf(tarfile.PAX_FORMAT if entry.pax_headers else tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "begins",
    [
        header(type=tarfile.LNKTYPE, linkname="nowhere"),
        header(type=tarfile.SYMTYPE, linkname=f"{execution(0)['ID']}.tar.gz"),
        header(pax_headers={"GNU.sparse.map": "a,b", "GNU.sparse.size": "1"}),
        header(pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 62)}),
        header(type=tarfile.GNUTYPE_LONGNAME, size=1 << 40),
        header(size=-512),
    ],
)
async def test_what_no_door_sends_costs_nobody_more_than_it_has(tmp_path: Path, begins: bytes) -> None:
    api, door, _ = several(2)
    api.answers["POST /results"] = lambda _: httpx2.Response(200, stream=Body(begins + bytes(1_024), False))
    await fetched(api, tmp_path / "out")
    assert joined(tmp_path / "out") == [0, 1]
    assert len(door.ranges) == 2


async def test_where_such_questions_go_unanswered_none_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "MOST_RESULTS", 2)
    api, door, bundles = several(6, {"cut": 0}, {"cut": 0}, {"cut": 0})
    await fetched(api, tmp_path / "out", parallel=1)
    assert joined(tmp_path / "out") == list(range(6))
    assert (len(bundles.asked), len(door.ranges)) == (1, 6)


async def test_an_archive_that_is_unsafe_is_refused_in_a_bundle_too(tmp_path: Path) -> None:
    api, door, _ = several(3)
    bad = str(execution(1)["ID"])
    door.contents[bad] = BAD
    params = api.answers[f"GET {BASE}/results"]["Items"][1]["Params"]
    params |= {"Digest": digest_of(BAD), "Size": len(BAD)}
    with pytest.raises(UnsafeArchive):
        await fetched(api, tmp_path / "out")
    assert untouched(tmp_path)


async def test_what_is_large_lies_elsewhere_or_has_no_digest_comes_by_itself(tmp_path: Path) -> None:
    api, door, bundles = several(7)
    items = api.answers[f"GET {BASE}/results"]["Items"]
    items[1]["Type"] = "s3PreSigned"
    items[2]["Type"] = "ipfs"
    items[3]["Params"]["Digest"] = ""
    items[4]["Params"]["URL"] = items[4]["Params"]["URL"].replace("token=t", "other=t")
    large = archive(stdout="5\n", noise=random.Random(0).randbytes(70_000).hex())
    items[5]["Params"] |= {"Digest": digest_of(large), "Size": len(large)}
    door.contents[str(execution(5)["ID"])] = large
    await fetched(api, tmp_path / "out")
    assert joined(tmp_path / "out") == list(range(7))
    assert (bundles.asked, len(door.ranges)) == ([[0, 6]], 5)


# ---------------------------------------------------------------- what is there already


@pytest.mark.row("6.3/target")
async def test_what_lies_beside_stays_and_nothing_is_replaced_unless_told(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    await fetched(api_of(archive(stdout="1", out__a="1"))[0], tmp_path)
    assert names_below(tmp_path) == ["mine", "out/a", "stdout"]
    api, door = api_of(archive(stdout="2", out__b="2"))
    with pytest.raises(NoPlace, match=r"stdout is in .* already") as refused:
        await fetched(api, tmp_path)
    assert "--overwrite" in refused.value.hint
    assert door.ranges == [], "refused before anything was downloaded"
    await fetched(api, tmp_path, overwrite=True)
    assert names_below(tmp_path) == ["mine", "out/a", "out/b", "stdout"]
    assert (tmp_path / "stdout").read_text() == "2"


async def test_a_name_below_a_folder_is_in_the_way_too(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("mine")
    with pytest.raises(NoPlace, match="out/a is in"):
        await fetched(api_of(archive(stdout="1", out__a="1"))[0], tmp_path)
    assert (tmp_path / "out" / "a").read_text() == "mine"
    assert names_below(tmp_path) == ["out/a"]


async def test_links_in_the_target_are_replaced_not_followed(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "t"
    outside.mkdir()
    (outside / "a").write_text("mine")
    target.mkdir()
    (target / "stdout").symlink_to(outside / "a")
    (target / "out").symlink_to(outside)
    api, _ = api_of(archive(stdout="theirs", out__a="theirs"))
    with pytest.raises(NoPlace):
        await fetched(api, target)
    await fetched(api, target, overwrite=True)
    assert (outside / "a").read_text() == "mine"
    assert (target / "out" / "a").read_text() == (target / "stdout").read_text() == "theirs"


async def test_a_folder_in_the_place_of_a_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "stdout").mkdir()
    with pytest.raises(NoPlace, match="is a folder, and a file of the result has its name"):
        await fetched(api_of(archive(stdout="x"))[0], tmp_path, overwrite=True)


async def test_a_target_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NoPlace, match="is a file"):
        await fetched(api_of(archive(stdout="x"))[0], tmp_path / "file", overwrite=True)


# ---------------------------------------------------------------- nothing is left behind


@pytest.mark.parametrize(
    ("left", "plan", "kind"),
    [
        (BAD, [], UnsafeArchive),
        (b"rubbish", [], UnsafeArchive),
        (archive(stdout="x"), [{"status": 401}, {"status": 401}, {"status": 401}], ApiError),
        (archive(stdout="x"), [{"status": 400}, {"status": 400}], ApiError),
        (archive(stdout="x"), [{"content": archive(stdout="y" * 5000)}] * 2, DownloadFailed),
    ],
    ids=["unsafe", "damaged", "expired", "refused", "too-long"],
)
async def test_whatever_fails_is_one_error_and_leaves_the_disk_as_it_was(
    tmp_path: Path, left: bytes, plan: list[dict[str, Any]], kind: type[Exception]
) -> None:
    api, _ = api_of(left, archive(stdout="fine"), door=Door({}, list(plan)))
    with pytest.raises(kind):
        await fetched(api, tmp_path / "new" / "out", parallel=1)
    assert untouched(tmp_path)


@pytest.mark.parametrize(
    ("number", "said", "todo"),
    [
        (errno.ENOSPC, "The disk under .* is full", "Free some space"),
        (errno.EACCES, "cannot be written", "--output-dir"),
        (errno.EROFS, "cannot be written", "--output-dir"),
        (errno.EIO, "cannot be written", "--output-dir"),
    ],
)
async def test_what_a_disk_refuses_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, todo: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))

    monkeypatch.setattr(module, "unpack", refuse)
    with pytest.raises(NoPlace, match=said) as failed:
        await fetched(api_of(archive(stdout="x"))[0], tmp_path / "out")
    assert todo in failed.value.hint
    assert untouched(tmp_path)


async def test_results_that_will_not_fit_are_not_begun(tmp_path: Path) -> None:
    api, door = api_of(archive(stdout="x"), Size=10**18)
    with pytest.raises(NoPlace, match="no room"):
        await fetched(api, tmp_path / "out")
    assert door.ranges == []
    assert untouched(tmp_path)


async def test_the_caps_of_the_caller_count(tmp_path: Path) -> None:
    api, _ = api_of(archive(stdout="x" * 100))
    with pytest.raises(UnsafeArchive, match="more than 99 bytes"):
        await fetched(api, tmp_path / "out", caps=Caps(total_bytes=99))


async def test_who_gives_up_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(archive: Path, target: Path, caps: Caps, *, folds: bool, wanted: Any) -> None:
        target.mkdir()
        loop.call_soon_threadsafe(begun.set)
        while wanted():
            (target / "half").write_text("x")
        (target / "half").write_text("the folder is still there")

    monkeypatch.setattr(module, "unpack", slowly)
    task = asyncio.create_task(fetched(api_of(archive(stdout="x"))[0], tmp_path / "out"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert untouched(tmp_path)


@pytest.mark.parametrize("sends", [True, False])
async def test_a_path_that_stays_on_its_node_comes_from_there_or_is_told_of(tmp_path: Path, sends: bool) -> None:
    content = archive(a__1="A")
    api = apart_api(a=content)
    there = api.answers[f"GET {BASE}/results"]["Items"][1]
    del there["Params"]["URL"]
    there |= {"Type": "localDirectory"}
    whole = {"URL": f"{DOOR}/elsewhere/a", "Size": len(content), "Digest": digest_of(content)}
    there["Params"] |= {"Path": "/srv/a", "Bytes": 1, "Archive": whole}
    if not sends:
        api.answers["GET /elsewhere/a"] = error(409, "its owner lets nothing of it leave that node")
    got = await fetched(api, tmp_path / "out")
    assert names_below(tmp_path / "out") == [*(["a/1"] if sends else []), "rest/x", "stdout"]
    assert [one.left_at for one in got.left] == ([] if sends else ["/srv/a"])
    assert ("lets nothing" in got.unsent, got.unknown) == (not sends, ())
    await fetched(api, tmp_path / "raw", raw=True)
    id_ = str(execution(0)["ID"])
    files = [*([f"{id_}.a"] if sends else []), id_]
    assert names_below(tmp_path / "raw") == [f"raw/{name}.tar.gz" for name in files]
