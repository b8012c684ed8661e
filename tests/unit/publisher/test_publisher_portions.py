"""Results whose paths go to several places: brought once they have won, all of them or none that could refuse."""

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from skrei_compute_agent.upload_errors import PublishFailed
from skrei_compute_agent.uploader import Uploader
from skrei_domain.job_reading import FieldProblem
from skrei_domain.messages import PublisherFact, StagedResult
from skrei_domain.portions import DIVIDED, Placed, Portion, heard
from skrei_domain.uploads import Parcel, UploadPlan
from skrei_kit.tokens import TokenSigner, UploadGrant
from skrei_plugin_api.archives import entries
from skrei_plugin_api.packing import pack_result
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo
from skrei_plugin_api.publisher import (
    NOTHING,
    DestinationAway,
    Forwarder,
    Opened,
    PublishDenied,
    Published,
    Publisher,
    StagedGone,
)
from skrei_publisher import division_notes
from skrei_publisher.destinations import MANAGED_REFUSES
from skrei_publisher.dividing import Divider
from skrei_publisher.done import Done
from skrei_publisher.finaliser import Finaliser, fact_of
from skrei_publisher.on_nodes import OnNodes
from skrei_publisher.source import NodeAway, NodeGone, SourceAway
from skrei_publisher.store import digest_of
from tests.support.publisher_door import Door, a_door


class Shelf(Forwarder):
    """Brings what it is handed into a folder, where it is seen at once."""

    plugin_api, name, version = PLUGIN_API, "shelf", "1"
    fault: Exception | None = None

    async def describe(self) -> PluginInfo:
        return PluginInfo(available=True)

    def validate(self, params: Params) -> list[FieldProblem]:
        return []

    async def forward(self, parcel: Parcel, content: Path, params: Params) -> Published:
        if self.fault is not None:
            raise self.fault
        return _put(self.context.state_dir / str(params["Name"]), content)


class Cellar(Publisher):
    """Takes what is seen only once it is finalised."""

    plugin_api, name, version = PLUGIN_API, "cellar", "1"
    takes_portions: ClassVar[bool] = True
    fault: Exception | None = None
    late: Exception | None = None

    async def describe(self) -> PluginInfo:
        return PluginInfo(available=True)

    def validate(self, params: Params) -> list[FieldProblem]:
        return []

    async def reach(self, params: Params) -> None:
        if params["Name"] == "nowhere":
            raise PublishDenied("there is no such cellar")

    async def take(self, parcel: Parcel, content: Path, params: Params) -> str:
        if self.fault is not None:
            raise self.fault
        _put(self._hidden(parcel.execution_id), content)
        return str(params["Name"])

    async def finalise(self, parcel: Parcel, place: str) -> Published:
        if self.late is not None:
            raise self.late
        if not (hidden := self._hidden(parcel.execution_id)).exists():
            raise StagedGone("it is not there any more.")
        return _put(self.context.state_dir / place, hidden)

    async def abort(self, execution_id: str) -> None:
        self._hidden(execution_id).unlink(missing_ok=True)

    async def plan(
        self, parcel: Parcel, headers: Mapping[str, str], *, node_id: str = "", params: Params = NOTHING
    ) -> UploadPlan:
        return UploadPlan()

    async def stage(self, parcel: Parcel) -> str:
        return ""

    async def open(self, execution_id: str, params: Params = NOTHING) -> Opened | None:
        return None

    def _hidden(self, execution_id: str) -> Path:
        return self.context.state_dir / f".{execution_id}"


def _put(place: Path, content: Path) -> Published:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.read_bytes())
    return Published({"At": place.name})


TO: tuple[Portion, ...] = (
    Portion((), "store", {}),
    Portion(("a",), "cellar", {"Name": "a"}),
    Portion(("b", "c"), "shelf", {"Name": "b"}),
)


@pytest.fixture
def others(tmp_path: Path) -> tuple[Shelf, Cellar]:
    return Shelf(PluginContext(tmp_path / "shelf")), Cellar(PluginContext(tmp_path / "cellar"))


@pytest.fixture
async def door(tmp_path: Path, others: tuple[Shelf, Cellar]) -> AsyncIterator[Door]:
    async with a_door(tmp_path / "store", shelf=others[0], cellar=others[1]) as made:
        yield made


async def upload(door: Door, to: tuple[Portion, ...] = TO) -> StagedResult:
    work = door.root / "work"
    for name, content in {"a/x": b"A" * 9_000, "b/y": b"B", "c/z": b"C", "d/rest": b"D"}.items():
        (work / "outputs" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "outputs" / name).write_bytes(content)
    (work / "stdout").write_bytes(b"said")
    packed = pack_result(work, ("a", "b", "c", "d"), 0, inline_limit=0)
    assert packed.path is not None
    parcel = Parcel(execution_id="e-1", digest=packed.digest, size=packed.size)
    grant = UploadGrant(to[0].publisher, 1 << 40, 600.0, portions=to)
    token = TokenSigner(door.keys[0]).run("e-1", "n-1", (), seconds=60, upload=grant)
    uploader = Uploader()
    uploader.door(door.url)
    receipt = door.read(await uploader.upload(packed.path, parcel, token))
    return StagedResult(
        execution_id="e-1",
        digest=receipt.digest,
        size=receipt.size,
        publisher=receipt.publisher,
        place=receipt.place,
        destination=receipt.destination,
    )


async def told_of(door: Door, staged: StagedResult, *, counts: bool = True) -> PublisherFact:
    """What another process would tell of a result, by the notes of those before it."""
    divider = Divider(door.destinations, Done(door.root / "divided"))
    finaliser = Finaliser(door.destinations, Done(door.root / "done"), divider)
    return fact_of([await finaliser.one(staged, counts)])


def names(path: Path) -> list[str]:
    return [entry.path for entry in entries(path) if entry.content is not None]


def seen(*places: Publisher) -> list[str]:
    folders = [each.context.state_dir for each in places]
    return sorted(path.name for folder in folders if folder.is_dir() for path in folder.iterdir())


async def test_each_portion_is_brought_to_its_place_and_the_rest_is_kept(
    door: Door, others: tuple[Shelf, Cellar]
) -> None:
    staged = await upload(door)
    assert staged.publisher == DIVIDED
    assert seen(*others) == []
    fact = await told_of(door, staged)
    assert fact.finalised == (("e-1", staged.digest),)
    (at,) = fact.published
    rest, first, second = heard(at.params)
    kept = door.publisher.store.path("e-1")
    assert names(kept) == ["stdout", "stderr", "d/rest", "exitCode"]
    assert rest == Placed((), "store", {}, door_digest(kept), kept.stat().st_size)
    assert (first.paths, first.publisher, first.params) == (("a",), "cellar", {"At": "a"})
    assert (second.paths, second.publisher, second.params) == (("b", "c"), "shelf", {"At": "b"})
    assert names(others[1].context.state_dir / "a") == ["a/x"]
    assert names(others[0].context.state_dir / "b") == ["b/y", "c/z"]
    assert door_digest(others[0].context.state_dir / "b") == second.digest
    assert not list((door.root / "portions").iterdir())
    assert door.publisher.staging.held_bytes == 0
    assert await told_of(door, staged) == fact, "a leader that did not hear is told the same"


def door_digest(path: Path) -> str:
    return digest_of(path.read_bytes())


async def test_one_that_is_away_holds_up_the_rest_and_nothing_is_brought_twice(
    door: Door, others: tuple[Shelf, Cellar]
) -> None:
    shelf, cellar = others
    staged, shelf.fault = await upload(door), DestinationAway("the shelf is away")
    assert (await told_of(door, staged)).waits
    assert seen(shelf, cellar) == [".e-1.1"], "what can be unseen is, while another is waited for"
    shelf.fault, cellar.fault = None, RuntimeError("it is not taken again")
    fact = await told_of(door, staged)
    assert len(fact.published) == 1


async def test_one_that_refuses_is_heard_before_anything_is_seen(door: Door, others: tuple[Shelf, Cellar]) -> None:
    shelf, cellar = others
    staged, cellar.fault = await upload(door), PublishDenied("the cellar is locked")
    fact = await told_of(door, staged)
    assert [each.problem.message for each in fact.refused] == ["a: the cellar is locked"]
    assert seen(shelf, cellar) == []
    assert door.publisher.staging.held_bytes == door.publisher.store.used_bytes == 0
    assert not list((door.root / "portions").iterdir())


async def test_what_another_has_is_dropped_where_one_refuses(door: Door, others: tuple[Shelf, Cellar]) -> None:
    shelf, cellar = others
    staged, shelf.fault = await upload(door), PublishDenied("the shelf is full")
    fact = await told_of(door, staged)
    assert [each.problem.message for each in fact.refused] == ["b, c: the shelf is full"]
    assert seen(shelf, cellar) == []


async def test_of_several_places_the_owner_s_bucket_alone_is_not_named(
    door: Door, others: tuple[Shelf, Cellar]
) -> None:
    shelf, cellar = others
    door.destinations._made["s3managed"] = cellar
    to = (TO[0], Portion(("a",), "s3managed", {"Name": "a"}), Portion(("b",), "shelf", {"Name": "b"}))
    staged, cellar.fault = await upload(door, to), PublishDenied("no bucket secret at http://inside:9000")
    fact = await told_of(door, staged)
    assert [each.problem.message for each in fact.refused] == [f"a: {MANAGED_REFUSES}"]
    staged, cellar.fault, shelf.fault = await upload(door, to), None, PublishDenied("the shelf is full")
    fact = await told_of(door, staged)
    assert [each.problem.message for each in fact.refused] == ["b: the shelf is full"]


async def test_one_that_is_no_more_keeps_no_other_from_letting_go(door: Door, others: tuple[Shelf, Cellar]) -> None:
    shelf, cellar = others
    to = (TO[0], TO[2], TO[1])
    staged, shelf.fault = await upload(door, to), DestinationAway("the shelf is away")
    assert (await told_of(door, staged)).waits
    assert [each.name for each in cellar.context.state_dir.iterdir()] == [".e-1.2"]
    divider = Divider(door.destinations, Done(door.root / "divided"))
    await divider.drop("e-1", (TO[0], Portion(("b", "c"), "moon", {}), TO[1]))
    assert not list(cellar.context.state_dir.iterdir())


async def test_what_takes_more_room_packed_again_than_the_disk_has_waits_and_leaves_nothing(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = await upload(door)

    class Disk:
        f_bavail, f_frsize = division_notes.SPARE_BYTES + staged.size, 1

    monkeypatch.setattr(os, "statvfs", lambda _: Disk)
    fact = await told_of(door, staged)
    assert [each.reason.partition(":")[2][:20] for each in fact.waits] == [" there is no room to"]
    assert not list((door.root / "portions").iterdir())


async def test_what_is_gone_before_it_was_seen_is_sent_again(door: Door, others: tuple[Shelf, Cellar]) -> None:
    shelf, cellar = others
    staged, shelf.fault = await upload(door), DestinationAway("the shelf is away")
    assert (await told_of(door, staged)).waits
    await cellar.abort("e-1.1")
    shelf.fault = None
    assert (await told_of(door, staged)).waits
    fact = await told_of(door, staged)
    assert fact.published


async def test_a_beaten_one_stays_whole_and_leaves_nothing_elsewhere(door: Door, others: tuple[Shelf, Cellar]) -> None:
    staged, others[0].fault = await upload(door), DestinationAway("the shelf is away")
    assert (await told_of(door, staged)).waits
    fact = await told_of(door, staged, counts=False)
    assert fact == PublisherFact(finalised=(("e-1", staged.digest),))
    assert seen(*others) == []
    assert door_digest(door.publisher.store.path("e-1")) == staged.digest


async def test_what_nobody_goes_on_with_is_dropped(door: Door, others: tuple[Shelf, Cellar]) -> None:
    staged, others[0].fault = await upload(door), DestinationAway("the shelf is away")
    await told_of(door, staged)
    divider = Divider(door.destinations, Done(door.root / "divided"))
    await divider.tidy(-60)
    assert list((door.root / "portions").iterdir()), "it is still to be brought"
    await door.publisher.abort("e-1")
    await divider.tidy(-60)
    assert not list((door.root / "portions").iterdir())


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ((*TO[:1], Portion(("a",), "cellar", {"Name": "nowhere"})), "a: there is no such cellar"),
        ((*TO[:1], Portion(("a",), "moon", {})), "there is no publisher 'moon'"),
        ((*TO, Portion(("d",), "shelf", {"Name": "x" * 4_000})), "more params than a receipt can name"),
    ],
)
async def test_a_place_that_cannot_be_is_told_before_anything_is_sent(
    door: Door, to: tuple[Portion, ...], said: str
) -> None:
    with pytest.raises(PublishFailed) as raised:
        await upload(door, to)
    assert said in raised.value.message
    assert door.parts() == 0


async def test_a_publisher_that_takes_whole_results_alone_is_no_place_for_a_path(
    door: Door, others: tuple[Shelf, Cellar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cellar, "takes_portions", False)
    told = await door.destinations.check("cellar", {"Name": "a"}, of_path=True)
    assert [(each.path, each.allowed) for each in told] == [("Type", "a publisher that takes portions of results")]
    assert await door.destinations.check("cellar", {"Name": "a"}) == []
    with pytest.raises(PublishDenied, match="takes whole results alone"):
        await Publisher.take(others[1], Parcel(execution_id="e", digest="sha256:" + "0" * 64, size=1), Path(), {})


class Nodes:
    """What nodes have unseen, by the name that they know it by, and what they show of it."""

    def __init__(self) -> None:
        self.unseen = {"e-1.0": "/srv/a", "e-1.1": "/srv/b"}
        self.seen: list[str] = []
        self.fault: Exception | None = None

    async def show(self, execution_id: str, left: str) -> dict[str, object]:
        if self.fault is not None:
            raise self.fault
        self.seen.append(place := self.unseen[left])
        return {"NodeID": "n-1", "Path": place, "Bytes": 3, "Archive": {"Digest": f"sha256:{left}", "Size": 7}}


HERE = (
    TO[0],
    Portion(("z",), "localdirectory", {"NodeID": "n-1", "Path": "/srv/a"}),
    TO[1],
    Portion(("y",), "localdirectory", {"NodeID": "n-1", "Path": "/srv/b"}),
)


@pytest.fixture
def nodes(door: Door) -> Nodes:
    made = Nodes()
    door.destinations._made["localdirectory"] = OnNodes(PluginContext(door.root / "here"), made.show)
    return made


async def test_what_stays_on_its_node_is_shown_once_the_others_have_theirs_unseen_and_told_as_its_node_tells_it(
    door: Door, others: tuple[Shelf, Cellar], nodes: Nodes
) -> None:
    staged = await upload(door, HERE)
    assert staged.destination == "node n-1 and cellar"
    others[1].fault = DestinationAway("the cellar is away")
    assert (await told_of(door, staged)).waits
    assert nodes.seen == []
    others[1].fault, nodes.fault = None, NodeAway("node n-1 is not connected")
    (waits,) = (await told_of(door, staged)).waits
    assert waits.reason == "node n-1 and cellar: node n-1 is not connected"
    nodes.fault = None
    (at,) = (await told_of(door, staged)).published
    assert nodes.seen == ["/srv/a", "/srv/b"]
    rest, first, there, second = heard(at.params)
    assert (there.paths, there.publisher) == (("a",), "cellar")
    assert first == Placed(
        ("z",),
        "localDirectory",
        {"NodeID": "n-1", "Path": "/srv/a", "Bytes": 3, "Archive": {"Digest": "sha256:e-1.0", "Size": 7}},
        "sha256:e-1.0",
        7,
    )
    assert (second.paths, second.params["Path"]) == (("y",), "/srv/b")
    assert names(door.publisher.store.path("e-1")) == ["stdout", "stderr", "b/y", "c/z", "d/rest", "exitCode"]
    assert rest.paths == ()


async def test_what_its_node_does_not_have_any_more_is_lost_and_nothing_of_the_rest_stays(
    door: Door, nodes: Nodes
) -> None:
    staged, nodes.fault = await upload(door, HERE[:2]), NodeGone("it is gone")
    (refused,) = (await told_of(door, staged)).refused
    assert refused.problem.code == "result-lost"
    assert door.publisher.staging.held_bytes == door.publisher.store.used_bytes == 0
    assert not list((door.root / "portions").iterdir())


async def test_of_what_its_node_has_lost_nothing_lies_where_nobody_takes_it_back(
    door: Door, others: tuple[Shelf, Cellar], nodes: Nodes
) -> None:
    staged, nodes.fault = await upload(door, (*TO, HERE[1])), NodeGone("it is gone")
    (refused,) = (await told_of(door, staged)).refused
    assert refused.problem.code == "result-lost"
    assert seen(*others) == []


async def test_what_its_node_has_shown_is_not_asked_for_again_while_another_is_away(
    door: Door, others: tuple[Shelf, Cellar], nodes: Nodes
) -> None:
    shelf, _ = others
    staged, shelf.fault = await upload(door, (*TO, HERE[1])), DestinationAway("the shelf is away")
    assert (await told_of(door, staged)).waits
    assert (nodes.seen, seen(*others)) == (["/srv/a"], [".e-1.1"])
    shelf.fault, nodes.fault = None, NodeGone("its machine was taken away")
    assert len((await told_of(door, staged)).published) == 1


async def test_what_was_to_stay_on_a_node_that_sent_it_is_kept_by_nobody(door: Door, nodes: Nodes) -> None:
    to = (TO[0], Portion(("a",), "localdirectory", {"NodeID": "n-1", "Path": "/srv/a"}))
    (refused,) = (await told_of(door, await upload(door, to))).refused
    assert "'a' was to stay on its node" in refused.problem.message
    assert door.publisher.staging.held_bytes == door.publisher.store.used_bytes == 0
    assert not list((door.root / "portions").iterdir())


async def test_nothing_of_what_stays_on_a_node_is_uploaded(door: Door, nodes: Nodes) -> None:
    publisher = await door.destinations.find("localDirectory")
    parcel = Parcel(execution_id="e-1", digest=f"sha256:{'0' * 64}", size=1)
    for step in (publisher.plan(parcel, {}), publisher.stage(parcel)):
        with pytest.raises(PublishDenied, match="stay on their node; nothing of them is uploaded"):
            await step


async def test_all_of_a_result_that_stays_on_its_node_is_shown_there_and_told_where(door: Door, nodes: Nodes) -> None:
    staged = StagedResult(
        execution_id="e-1.0",
        digest=f"sha256:{'0' * 64}",
        size=1,
        publisher="localDirectory",
        place="/srv/a",
        destination="node n-1",
    )
    for fault, told in (
        (SourceAway("the API is away"), "node n-1: the API is away"),
        (NodeAway("node n-1 is not connected"), "node n-1 is not connected"),
    ):
        nodes.fault = fault
        assert [each.reason for each in (await told_of(door, staged)).waits] == [told]
    nodes.fault = None
    fact = await told_of(door, staged)
    assert fact.finalised == ((staged.execution_id, staged.digest),)
    assert [(each.type, each.params["Path"]) for each in fact.published] == [("localDirectory", "/srv/a")]
