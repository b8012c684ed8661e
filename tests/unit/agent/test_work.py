"""Staging and running over the plugin contracts: what an engine is given, and what comes of what it returns."""

import asyncio
import base64
import errno
import gzip
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skrei_compute_agent import disk_watch, settling, work
from skrei_compute_agent.delivery import Delivery
from skrei_compute_agent.env import HostVariableDenied
from skrei_compute_agent.events import Exited, Stage, Upload
from skrei_compute_agent.folders import Folders
from skrei_compute_agent.input_cache import InputCache, InputDenied
from skrei_compute_agent.leaving import check_free, put
from skrei_compute_agent.node_services import NodeServices, ServiceAway
from skrei_compute_agent.staging import Stager
from skrei_compute_agent.upload_errors import PlaceUndecided, PublishFailed, ResultMissing
from skrei_compute_agent.work import InvalidParams, Workshop
from skrei_domain.errors import SkreiError, Unavailable
from skrei_domain.job_reading import FieldProblem
from skrei_domain.messages import LEFT_GONE, DataRead, LeftPart, LeftShow, LeftShown, Problem, Publishing, ResultRef
from skrei_domain.paths import parse_entry
from skrei_domain.resources import Resources
from skrei_domain.source_keys import source_key
from skrei_domain.uploads import Parcel
from skrei_plugin_api.archives import entries
from skrei_plugin_api.engine import (
    Engine,
    EngineFailure,
    FailureCode,
    InPlace,
    Mount,
    Output,
    RunEvents,
    RunOutcome,
    RunRequest,
    ServiceWay,
    Tell,
)
from skrei_plugin_api.packing import pack_result, stream_head
from skrei_plugin_api.pieces import DATA, Piece
from skrei_plugin_api.plugin import Params, PluginContext, PluginInfo
from skrei_plugin_api.storage import BlobReader, SourceSpec, StageFailed, StageLimits, StageProblem, Storage
from skrei_plugin_api.testing import archive
from tests.support.agent_machine import a_stage, a_task
from tests.support.agent_shelves import shelves
from tests.support.standing import Record

BLOB = b"blob of a spec"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"


class PlayedEngine(Engine):
    """An engine that does what the test says."""

    plugin_api = 1
    name = "scripted"
    version = "1"

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self.requests: list[RunRequest] = []
        self.stdout = b"hello\n"
        self.exit_code: int | None = 0
        self.failure: EngineFailure | None = None
        self.trouble: Exception | None = None
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def describe(self) -> PluginInfo:
        return PluginInfo(available=True)

    def validate(self, params: Params) -> list[FieldProblem]:
        return [FieldProblem("Entry", "7", "text")] if params.get("Entry") == 7 else []

    async def run(self, request: RunRequest, events: RunEvents) -> RunOutcome:
        self.requests.append(request)
        (request.workdir / "stdout").write_bytes(self.stdout)
        (request.workdir / "stderr").write_bytes(b"")
        for output in request.outputs:
            folder = request.workdir / "outputs" / output.name
            folder.mkdir(parents=True)
            (folder / "made").write_bytes(b"made")
        self.begun.set()
        events.running()
        if self.exit_code == 137:
            events.ended()
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        names = [output.name for output in request.outputs]
        packed = pack_result(request.workdir, names, self.exit_code, inline_limit=request.inline_result_limit)
        head = stream_head(request.workdir / "stdout")
        code = None if self.failure else self.exit_code
        return RunOutcome(code, self.failure, 0.0, 1.0, stdout_head=head, result=packed)


class PlayedStorage(Storage):
    """A storage that stages what its params say: a file with `text`, a blob, or a refusal."""

    plugin_api = 1
    name = "inline"
    version = "1"

    async def describe(self) -> PluginInfo:
        return PluginInfo(available=True)

    def validate(self, params: Params) -> list[FieldProblem]:
        return []

    async def size(self, source: SourceSpec) -> int | None:
        return None

    async def stage(self, source: SourceSpec, folder: Path, limits: StageLimits, blobs: BlobReader) -> Mount:
        if "deny" in source.params:
            raise StageFailed(StageProblem.DENIED, "not for you", hint="ask the owner")
        if "lies" in source.params:
            return Mount(Path(source.params["lies"]), source.target, in_place=InPlace(61))
        if "piece" in source.params:
            return Mount(await blobs.gather([Piece("", source.params["piece"], 5)], bring_piece), source.target)
        if "digest" in source.params:
            return Mount(await blobs.fetch(source.params["digest"]), source.target)
        return Mount(blobs.keep(source.params["text"].encode()), source.target)


async def bring_piece(piece: Piece, folder: Path) -> None:
    (folder / DATA).write_bytes(b"piece")


class Bench:
    """A workshop with played plugins."""

    def __init__(self, folder: Path) -> None:
        self.tokens: list[str] = []
        self.folders = Folders(folder / "executions")
        self.folders.open([])
        self.cache = InputCache(folder / "cache", self._open, limit_bytes=0, blob_bytes=1000)
        context = PluginContext(state_dir=folder / "state")
        self.engine = PlayedEngine(context)
        storages = {"inline": PlayedStorage(context), "played": PlayedStorage(context)}
        around = shelves(folder, self.cache)
        self.held = around.held
        stager = Stager(storages, around, limits=StageLimits(), parallel=2)
        self.services: dict[str, str] = {}
        self.work = Workshop(
            self.folders,
            stager,
            {"scripted": self.engine},
            host_env={"REGION": "north"},
            allow_env=("REGION",),
            services=NodeServices(self.services),
        )

    @asynccontextmanager
    async def _open(self, digest: str, token: str) -> AsyncIterator[AsyncIterator[bytes]]:
        self.tokens.append(token)

        async def chunks() -> AsyncIterator[bytes]:
            yield BLOB

        yield chunks()


def an_input(target: str, **params: str) -> dict[str, object]:
    return {"Source": {"Type": "Inline", "Params": params}, "Target": target}


def nobody(line: str) -> None:
    """Who hears how far a preparation is, and does nothing with it."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.folders.close()


async def test_an_engine_is_given_all_that_the_task_says(bench: Bench) -> None:
    task = a_task(
        Engine={"Type": "Scripted", "Params": {"Entry": "main"}},
        Env={"A": "1", "R": "env:REGION"},
        InputSources=[an_input("/in/text", text="hi"), an_input("/in/blob", digest=DIGEST)],
        ResultPaths=[{"Name": "out", "Path": "/out"}],
        Network={"Type": "Host"},
        StopGrace=90,
    )
    await bench.work.stage(a_stage(task=task, token="the-token"), nobody)
    exited = await bench.work.run("e-1", 2)
    (request,) = bench.engine.requests
    assert (request.execution_id, request.start_number, request.params) == ("e-1", 2, {"Entry": "main"})
    assert (request.env["A"], request.env["R"], request.env["BACALHAU_EXECUTION_ID"]) == ("1", "north", "e-1")
    assert [mount.target for mount in request.mounts] == ["/in/text", "/in/blob"]
    assert request.outputs == (Output("out", "/out"),)
    assert request.resources == Resources(cpu_milli=1000, memory_bytes=100_000_000)
    assert (request.network, request.timeout_seconds) == ("Host", None)
    assert (request.stop_grace_seconds, request.max_stream_bytes) == (90, 1024**3)
    assert bench.tokens == ["the-token"]
    assert exited.exit_code == 0
    assert exited.output is not None
    assert exited.output.stdout == "hello\n"
    assert exited.result is not None
    data = base64.b64decode(exited.result.inline or "")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == [".", "out", "stdout", "stderr", "out/made", "exitCode"]


async def test_a_program_gets_the_services_that_its_node_offers(bench: Bench, tmp_path: Path) -> None:
    bench.services.update(db="127.0.0.1:5432", duck=f"file://{tmp_path}:rw")
    wanted = a_stage(task=a_task(Env={"SKREI_SERVICE_DB": "mine"}))
    wanted = replace(wanted, order=wanted.order.model_copy(update={"node_services": ("db", "duck")}))
    await bench.work.stage(wanted, nobody)
    await bench.work.run("e-1", 1)
    (request,) = bench.engine.requests
    assert request.env["SKREI_SERVICE_DB"] == "127.0.0.1:5432"
    assert request.env["SKREI_SERVICE_DUCK"] == "/skrei/services/duck"
    assert request.mounts == (Mount(tmp_path, "/skrei/services/duck", True),)
    assert request.services == (ServiceWay("SKREI_SERVICE_DB", "127.0.0.1", 5432),)
    bench.services.clear()
    with pytest.raises(ServiceAway):
        await bench.work.stage(wanted, nobody)


async def test_what_lies_here_what_was_fetched_before_and_what_had_to_come_are_counted(bench: Bench) -> None:
    task = a_task(InputSources=[an_input("/in/a", lies="/srv"), an_input("/in/b", piece="site/a@1")])
    staged = await bench.work.stage(a_stage(task=task), nobody)
    assert staged.data == DataRead(local=61, moved=5)
    again = await bench.work.stage(a_stage("e-2", task=task), nobody)
    assert again.data == DataRead(local=66, cached=5, hits=1)


async def test_what_was_fetched_is_held_under_the_key_of_its_input_until_a_file_of_it_goes(bench: Bench) -> None:
    source = {"Type": "Played", "Params": {"piece": "site/a@1"}}
    await bench.work.stage(a_stage(task=a_task(InputSources=[{"Source": source, "Target": "/in"}])), nobody)
    key = source_key("played", {"Piece": "site/a@1"})
    assert key in bench.held
    bench.work.drop("e-1")
    assert key not in bench.held


async def test_what_came_with_the_job_itself_is_no_data_that_was_read(bench: Bench) -> None:
    task = a_task(InputSources=[an_input("/in/text", text="hi"), an_input("/in/blob", digest=DIGEST)])
    assert (await bench.work.stage(a_stage(task=task), nobody)).data is None


@pytest.mark.row("6.1/parallel")
async def test_the_inputs_of_a_task_are_brought_at_the_same_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    meet = asyncio.Barrier(3)
    plain = PlayedStorage.stage

    async def stage(self: PlayedStorage, *asked: Any) -> Mount:
        async with asyncio.timeout(5):
            await meet.wait()  # none of them ends before all have begun
        return await plain(self, *asked)

    monkeypatch.setattr(PlayedStorage, "stage", stage)
    task = a_task(InputSources=[an_input(f"/in/{number}", text="hi") for number in range(3)])
    await bench.work.stage(a_stage(task=task), nobody)
    assert not meet.broken


@pytest.mark.parametrize(("disk", "code"), [("4kb", "disk-limit-exceeded"), ("1mb", None), ("", None)])
async def test_what_is_over_before_anybody_looked_meets_its_disk_limit_all_the_same(
    bench: Bench, disk: str, code: str | None
) -> None:
    bench.engine.stdout = b"x" * 40_000
    resources = {"CPU": "1", "Memory": "100MB"} | ({"Disk": disk} if disk else {})
    await bench.work.stage(a_stage(task=a_task(Resources=resources)), nobody)
    exited = await bench.work.run("e-1", 1)
    assert (None if exited.problem is None else exited.problem.code) == code
    assert exited.exit_code == (0 if code is None else None)
    assert exited.result is not None


async def test_who_writes_too_much_is_cut_off_while_it_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_watch, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(disk_watch, "COUNT_SECONDS", 0.0)
    bench.engine.stdout = b"x" * 40_000
    bench.engine.gate.clear()
    await bench.work.stage(a_stage(task=a_task(Resources={"Disk": "4kb"})), nobody)
    running = asyncio.create_task(bench.work.run("e-1", 1))
    await bench.engine.begun.wait()
    cut = bench.engine.requests[0].cut
    assert cut is not None
    async with asyncio.timeout(20):
        assert (await cut).code is FailureCode.DISK_LIMIT_EXCEEDED
    bench.engine.gate.set()
    await running
    await bench.work.close()


async def test_a_blob_is_kept_while_it_is_used_and_given_back_at_the_end(bench: Bench) -> None:
    await bench.work.stage(a_stage(task=a_task(InputSources=[an_input("/b", digest=DIGEST)])), nobody)
    assert bench.cache.size_bytes == len(BLOB)
    await bench.work.run("e-1", 1)
    assert bench.cache.size_bytes == 0  # the cache of this bench keeps nothing that is not used


async def test_a_staged_one_that_is_never_run_gives_everything_back(bench: Bench) -> None:
    await bench.work.stage(a_stage(task=a_task(InputSources=[an_input("/b", digest=DIGEST)])), nobody)
    bench.work.drop("e-1")
    assert bench.cache.size_bytes == 0


async def test_an_input_that_is_denied_fails_with_the_storages_words_and_gives_everything_back(bench: Bench) -> None:
    task = a_task(InputSources=[an_input("/b", digest=DIGEST), an_input("/x", deny="yes")])
    with pytest.raises(SkreiError, match="not for you") as raised:
        await bench.work.stage(a_stage(task=task), nobody)
    assert raised.value.code == "input-denied"
    assert bench.cache.size_bytes == 0


async def test_params_that_the_engine_refuses_are_named(bench: Bench) -> None:
    task = a_task(Engine={"Type": "scripted", "Params": {"Entry": 7}})
    with pytest.raises(InvalidParams, match="Entry: 7; allowed: text") as raised:
        await bench.work.stage(a_stage(task=task), nobody)
    assert raised.value.code == "invalid-params"


async def test_a_check_by_command_is_refused_where_the_engine_runs_none(bench: Bench) -> None:
    check = {"Exec": {"Command": ["true"]}}
    with pytest.raises(SkreiError, match="runs no command beside a program") as raised:
        await bench.work.stage(a_stage(task=a_task(Check=check)), nobody)
    assert (raised.value.code, raised.value.retryable) == ("no-commands", False)
    assert "Check.HTTP" in raised.value.hint
    bench.engine.commands = True  # type: ignore[misc]
    await bench.work.stage(a_stage(task=a_task(Check=check)), nobody)


async def test_a_host_variable_that_is_not_allowed_fails_before_anything_is_fetched(bench: Bench) -> None:
    task = a_task(Env={"S": "env:SECRET"}, InputSources=[an_input("/b", digest=DIGEST)])
    with pytest.raises(HostVariableDenied):
        await bench.work.stage(a_stage(task=task), nobody)
    assert bench.tokens == []


async def test_a_trap_keeps_what_was_said_until_then(bench: Bench) -> None:
    bench.engine.failure = EngineFailure(FailureCode.TRAP, "unreachable")
    await bench.work.stage(a_stage(), nobody)
    exited = await bench.work.run("e-1", 1)
    assert (exited.exit_code, exited.problem) == (None, Problem(code="trap", message="unreachable"))
    assert exited.result is not None


@pytest.mark.parametrize("how", ["failure", "raised"])
async def test_an_engine_that_is_lost_counts_as_an_interruption(bench: Bench, how: str) -> None:
    if how == "failure":
        bench.engine.failure = EngineFailure(FailureCode.ENGINE_LOST, "the child died")
    else:
        bench.engine.trouble = SkreiError("the child died")
    await bench.work.stage(a_stage(), nobody)
    exited = await bench.work.run("e-1", 1)
    assert exited.problem == Problem(code="interrupted", message="the child died")


class NoGpu(SkreiError):
    code = "gpu-not-given"
    retryable = True


async def test_what_a_node_cannot_give_is_told_by_name_with_what_to_do(bench: Bench) -> None:
    bench.engine.trouble = NoGpu("no GPU for containers", hint="install the toolkit")
    await bench.work.stage(a_stage(), nobody)
    exited = await bench.work.run("e-1", 1)
    assert exited.problem == Problem(code="gpu-not-given", message="no GPU for containers (install the toolkit)")


async def test_a_large_result_is_named_and_lies_ready_for_its_upload(bench: Bench) -> None:
    bench.engine.stdout = noise = hashlib.shake_128(b"noise").digest(100_000)
    await bench.work.stage(a_stage(), nobody)
    exited = await bench.work.run("e-1", 1)
    assert (exited.exit_code, exited.problem) == (0, None)
    assert exited.result is not None
    assert exited.result.inline is None
    places = bench.folders.latest("e-1")
    assert places is not None
    packed = (places.work / "result.tar.gz").read_bytes()
    assert (len(packed), f"sha256:{hashlib.sha256(packed).hexdigest()}") == (exited.result.size, exited.result.digest)
    assert noise in gzip.decompress(packed)


async def test_who_hears_learns_of_an_end_before_it_is_known_what_it_comes_to(bench: Bench) -> None:
    heard: list[tuple[str, int]] = []
    bench.work.hear(lambda execution_id, start: heard.append((execution_id, start)))
    bench.engine.exit_code = 137
    bench.engine.gate.clear()
    await bench.work.stage(a_stage(), nobody)
    run = asyncio.ensure_future(bench.work.run("e-1", 2))
    await bench.engine.begun.wait()
    assert (heard, run.done()) == ([("e-1", 2)], False)
    bench.engine.gate.set()
    assert (await run).exit_code == 137


async def test_one_that_is_ended_leaves_what_it_had_said(bench: Bench) -> None:
    bench.engine.gate.clear()
    await bench.work.stage(a_stage(), nobody)
    running = asyncio.create_task(bench.work.run("e-1", 1))
    await bench.engine.begun.wait()
    running.cancel()
    exited = await running
    assert isinstance(exited, Exited)
    assert exited.problem is not None
    assert exited.problem.code == "killed"
    assert exited.output is not None
    assert exited.output.stdout == "hello\n"
    assert exited.result is not None


async def test_output_that_is_no_text_is_made_into_some(bench: Bench) -> None:
    bench.engine.stdout = b"a\x00b\xff"
    await bench.work.stage(a_stage(), nobody)
    exited = await bench.work.run("e-1", 1)
    assert exited.output is not None
    assert exited.output.stdout == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


@pytest.mark.row("6.1/s3-count")
@pytest.mark.parametrize(
    ("count", "shares", "told"),
    [(1, None, (0, 1)), (4, None, (2, 4)), (0, None, (0, 1)), (0, 3, (2, 3)), (0, 1, (0, 1)), (0, 0, (0, 1))],
)
async def test_an_input_is_told_whose_share_it_is_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, count: int, shares: int | None, told: tuple[int, int]
) -> None:
    seen: list[SourceSpec] = []

    async def stage(self: PlayedStorage, source: SourceSpec, folder: Path, *_: Any) -> Mount:
        seen.append(source)
        return Mount(folder, source.target)

    monkeypatch.setattr(PlayedStorage, "stage", stage)
    task = a_task(InputSources=[an_input("/in/text", text="hi")])
    await bench.work.stage(a_stage(task=task, partition=2, partition_count=count, shares=shares), nobody)
    assert (seen[0].partition, seen[0].partitions) == told


class Settler:
    """Who is asked to look after what is left."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, str, LeftShown | None]] = []

    def note(self, left: str, place: str, token: str, *, execution_id: str = "", told: LeftShown | None = None) -> None:
        self.noted.append((left, place, execution_id, told))


@pytest.mark.parametrize("counts", [True, False])
async def test_parts_of_a_result_stay_here_and_the_rest_is_what_is_brought(
    bench: Bench, tmp_path: Path, counts: bool
) -> None:
    brought: list[tuple[list[str], Parcel]] = []
    settler = Settler()

    class Post(Delivery):
        async def upload(self, packed: Path, parcel: Parcel, token: str, tell: Tell) -> str:
            brought.append(([each.path for each in entries(packed)], parcel))
            return "signed"

    bench.work._delivery, bench.work._settler = Post(), settler  # type: ignore[assignment]
    bench.work._entries = (parse_entry(f"{tmp_path}/**:rw"),)
    await bench.work.stage(a_stage(task=a_task(ResultPaths=[{"Name": "out", "Path": "/out"}])), nobody)
    exited = await bench.work.run("e-1", 1)
    assert exited.result is not None
    parcel = Parcel(execution_id="e-1", digest=exited.result.digest, size=exited.result.size, counts=counts)
    place = tmp_path / "srv" / "here"
    left = (LeftPart(paths=("out",), place=str(place)),)
    uploaded = await bench.work.upload(Upload(parcel, "t", exited.result.inline, left=left), nobody)
    ((names, rest),) = brought
    assert names == [".", "stdout", "stderr", "exitCode"]
    assert uploaded.rest == ResultRef(digest=rest.digest, size=rest.size)
    assert (uploaded.receipt, rest.counts) == ("signed", counts)
    assert sorted(each.name for each in place.parent.iterdir()) == ([".skrei-e-1.0"] if counts else ["here"])
    assert [(each[:3], (each[3] or LeftShown(request_id="")).left_bytes) for each in settler.noted] == (
        [(("e-1.0", str(place), "e-1"), 4)] if counts else []
    )


async def test_parts_that_this_node_may_not_leave_end_it_and_nothing_is_brought(bench: Bench) -> None:
    await bench.work.stage(a_stage(task=a_task(ResultPaths=[{"Name": "out", "Path": "/out"}])), nobody)
    exited = await bench.work.run("e-1", 1)
    assert exited.result is not None
    parcel = Parcel(execution_id="e-1", digest=exited.result.digest, size=exited.result.size)
    left = (LeftPart(paths=("out",), place="/srv/here"),)
    with pytest.raises(PublishFailed, match="lets no job leave"):
        await bench.work.upload(Upload(parcel, "t", exited.result.inline, left=left), nobody)


async def test_a_place_that_is_taken_is_told_before_anything_runs(bench: Bench, tmp_path: Path) -> None:
    bench.work._entries = (parse_entry(f"{tmp_path}/srv/**:rw"),)
    (tmp_path / "srv" / "taken").mkdir(parents=True)
    (tmp_path / "srv" / "taken" / "precious").touch()

    def wanted(whole: str | None = None, *parts: str) -> Stage:
        left = tuple(LeftPart(paths=("out",), place=str(tmp_path / "srv" / each)) for each in parts)
        place = None if whole is None else str(tmp_path / "srv" / whole)
        order = a_stage().order.model_copy(update={"publishing": Publishing(to="store", place=place, left=left)})
        return replace(a_stage(), order=order)

    for order in (wanted("taken"), wanted(None, "new/one", "taken")):
        with pytest.raises(PublishFailed, match="is there already, and is not replaced"):
            await bench.work.stage(order, nobody)
    with pytest.raises(PublishFailed, match="lets no job leave"):
        await bench.work.stage(wanted("../other"), nobody)
    await bench.work.stage(wanted(None, "new/one"), nobody)
    assert [each.name for each in (tmp_path / "srv").iterdir()] == ["taken"]


def test_what_this_execution_has_left_at_a_place_is_no_other_s(tmp_path: Path) -> None:
    entries = (parse_entry(f"{tmp_path}/**:rw"),)
    with archive({"stdout": b""}) as (packed, _):
        put(packed, str(tmp_path / "mine"), "e-1", entries, unseen=False)
    check_free(str(tmp_path / "mine"), "e-1", entries)
    with pytest.raises(PublishFailed):
        check_free(str(tmp_path / "mine"), "e-2", entries)


HERE, SHARED = "left", "left elsewhere"
"""Where the node keeps its notes that has shown the first part: this one, or another that shares the folder."""
OWN = {HERE: ("e-1", "token of e-1"), SHARED: ("e-1", "token of e-2")}
"""How this node asks whether that counts."""


async def shown_part(bench: Bench, folder: Path, record: Record, by: str = HERE) -> tuple[Path, Stage]:
    """Return where e-1 has left a part that was shown while the rest of it went elsewhere, and an order for the next
    attempt, whose place is the same."""
    entries, place = (parse_entry(f"{folder}/srv/**:rw"),), folder / "srv" / "latest"
    settler = settling.Settler(folder / by, entries, lambda: record)
    bench.work._entries = entries
    bench.work._settler = settling.Settler(folder / HERE, entries, lambda: record) if by is SHARED else settler
    with archive({"out/made": b"first"}) as (packed, _):
        put(packed, str(place), "e-1.0", entries, unseen=True)
    settler.note("e-1.0", str(place), "token of e-1", execution_id="e-1")
    assert (await settler.show(LeftShow(request_id="r-1", left="e-1.0"))).path == str(place)
    publishing = Publishing(to="s3", left=(LeftPart(paths=("out",), place=str(place)),))
    stage = a_stage("e-2")
    order = stage.order.model_copy(update={"publishing": publishing, "token": "token of e-2"})
    return place, replace(stage, order=order)


@pytest.mark.parametrize("by", [HERE, SHARED])
async def test_the_next_attempt_takes_a_place_where_one_was_shown_that_was_lost_before_it_had_won(
    bench: Bench, tmp_path: Path, by: str
) -> None:
    record = Record(e_1=False)
    place, wanted = await shown_part(bench, tmp_path, record, by)
    assert (await bench.work.stage(wanted, nobody)).execution_id == "e-2"
    assert not place.exists()
    assert record.asked == [OWN[by]]


@pytest.mark.parametrize("by", [HERE, SHARED])
async def test_what_has_won_stays_at_its_place_whoever_wants_that_next(bench: Bench, tmp_path: Path, by: str) -> None:
    record = Record(e_1=True)
    place, wanted = await shown_part(bench, tmp_path, record, by)
    for _ in range(2):  # noted as undecided, and then known by its mark alone
        with pytest.raises(PublishFailed, match="is there already, and is not replaced") as raised:
            await bench.work.stage(wanted, nobody)
        assert not raised.value.retryable
    assert (place / "out" / "made").read_bytes() == b"first"
    assert record.asked == [OWN[by], OWN[SHARED]]


@pytest.mark.parametrize("says", [InputDenied("the API does not say: 401"), ResultMissing("no such execution")])
async def test_what_another_job_has_left_stays_and_the_place_is_taken(
    bench: Bench, tmp_path: Path, says: SkreiError
) -> None:
    place, wanted = await shown_part(bench, tmp_path, Record(e_1=says), SHARED)
    with pytest.raises(PublishFailed, match="is there already, and is not replaced"):
        await bench.work.stage(wanted, nobody)
    assert (place / "out" / "made").read_bytes() == b"first"


@pytest.mark.parametrize("by", [HERE, SHARED])
@pytest.mark.parametrize("says", [None, Unavailable("the API is away")])
async def test_a_place_is_asked_for_again_while_nobody_knows_whether_what_lies_there_has_won(
    bench: Bench, tmp_path: Path, says: SkreiError | None, by: str
) -> None:
    record = Record(e_1=says)
    place, wanted = await shown_part(bench, tmp_path, record, by)
    with pytest.raises(PlaceUndecided, match="is not known yet") as raised:
        await bench.work.stage(wanted, nobody)
    assert raised.value.retryable
    assert place.exists()
    record.says["e-1"] = False
    await bench.work.stage(wanted, nobody)
    assert not place.exists()


async def test_who_waits_for_what_this_node_cannot_take_back_is_told_why(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, wanted = await shown_part(bench, tmp_path, Record(e_1=False), SHARED)

    def refused(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", "stdout")

    monkeypatch.setattr(settling, "settle", refused)
    with pytest.raises(PlaceUndecided, match="has not won, and this node cannot take it back: Permission denied"):
        await bench.work.stage(wanted, nobody)
    assert place.exists()


async def test_a_mark_that_names_no_result_is_looked_for_nowhere(bench: Bench, tmp_path: Path) -> None:
    record = Record(e_1=False)
    place, wanted = await shown_part(bench, tmp_path, record)
    (place / ".skrei").write_text("../left/e-1.0")
    with pytest.raises(PublishFailed, match="is there already"):
        await bench.work.stage(wanted, nobody)
    assert record.asked == []


@pytest.mark.parametrize("by", [HERE, SHARED])
async def test_what_has_run_waits_for_its_place_while_what_was_shown_there_meanwhile_may_be_taken_back(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(work, "AGAIN_SECONDS", 0.0)
    await bench.work.stage(a_stage("e-2"), nobody)
    exited = await bench.work.run("e-2", 1)
    assert exited.result is not None
    record, told = Record(e_1=None), list[str]()
    place, _ = await shown_part(bench, tmp_path, record, by)

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 3:
            record.says["e-1"] = False

    parcel = Parcel(execution_id="e-2", digest=exited.result.digest, size=exited.result.size)
    uploaded = await bench.work.upload(Upload(parcel, "token of e-2", exited.result.inline, place=str(place)), tell)
    assert uploaded.left is not None
    assert uploaded.left.left_at == str(place)
    assert set(told) == {f"{place} is there already: whether that has won is not known yet"}
    assert record.asked == [OWN[by]] * 4
    assert [each.name for each in place.parent.iterdir()] == [".skrei-e-2"]


async def test_what_has_run_fails_where_its_place_was_won_meanwhile(bench: Bench, tmp_path: Path) -> None:
    await bench.work.stage(a_stage("e-2"), nobody)
    exited = await bench.work.run("e-2", 1)
    assert exited.result is not None
    place, _ = await shown_part(bench, tmp_path, Record(e_1=True), SHARED)
    parcel = Parcel(execution_id="e-2", digest=exited.result.digest, size=exited.result.size)
    with pytest.raises(PublishFailed, match="is there already, and is not replaced"):
        await bench.work.upload(Upload(parcel, "token of e-2", exited.result.inline, place=str(place)), nobody)
    assert (place / "out" / "made").read_bytes() == b"first"


async def test_a_node_that_comes_back_takes_nothing_from_who_has_its_place_by_then(
    bench: Bench, tmp_path: Path
) -> None:
    record = Record(e_1=False, e_2=True)
    place, wanted = await shown_part(bench, tmp_path, record, SHARED)
    await bench.work.stage(wanted, nobody)
    with archive({"out/made": b"second"}) as (packed, _):
        put(packed, str(place), "e-2.0", bench.work._entries, unseen=False)
    other = settling.Settler(tmp_path / SHARED, bench.work._entries, lambda: record)
    late = await other.show(LeftShow(request_id="r-2", left="e-1.0"))
    assert late.problem is not None
    assert late.problem.code == LEFT_GONE
    await other.find()
    assert await other.run_once() is None
    assert [each.name for each in place.parent.iterdir()] == [place.name]
    assert (place / "out" / "made").read_bytes() == b"second"
