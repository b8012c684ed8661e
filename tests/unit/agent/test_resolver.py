"""A node lists what the leader asks about, says how far it is, and brings the list to the store."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest

from skrei_compute_agent import resolver
from skrei_compute_agent.listings import Listings
from skrei_compute_agent.manifest_client import ManifestClient, ManifestRefused
from skrei_compute_agent.resolver import Resolver
from skrei_domain.errors import Unavailable
from skrei_domain.listing import InputListed, InputWanted
from skrei_plugin_api.manifest import load
from skrei_plugin_api.pieces import Entry, Piece
from skrei_plugin_api.storage import SourceSpec, StageLimits, Storage
from skrei_plugin_api.testing import eventually


class Store:
    """Where lists are brought."""

    def __init__(self) -> None:
        self.held: list[tuple[str, str]] = []
        self.full = False

    async def bring(self, path: Path, digest: str, token: str) -> None:
        if self.full:
            raise ManifestRefused("the store of lists answers 507: no room")
        self.held.append((load(path).digest, token))
        assert self.held[-1][0] == digest


class Lister:
    """A storage of made-up objects."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def resolve(self, source: SourceSpec, limits: StageLimits) -> AsyncGenerator[Entry, None]:
        return self._entries(source)

    async def _entries(self, source: SourceSpec) -> AsyncGenerator[Entry, None]:
        self.begun += 1
        for number in range(250):
            yield Entry(Piece(f"k/{number}", f"b/{number}@1", 2), number % source.partitions)
        await self.go_on.wait()
        if self.error is not None:
            raise self.error


class Plain:
    """A storage that lists nothing."""

    def resolve(self, source: SourceSpec, limits: StageLimits) -> None:
        return None


class Node:
    def __init__(self, folder: Path) -> None:
        self.listings = Listings(folder / "listings")
        self.listings.open()
        self.store, self.lister = Store(), Lister()
        storages = cast("dict[str, Storage]", {"s3": self.lister, "inline": Plain()})
        store = cast("ManifestClient", self.store)
        self.resolver = Resolver(storages, self.listings, lambda: store, StageLimits())
        self.said: list[InputListed] = []

    def ask(self, request: str = "r-1", type_: str = "S3", job: str = "j-1") -> None:
        wanted = InputWanted(
            request_id=request, job_id=job, job_version=1, source_type=type_, params={"Key": "k/"}, partitions=2,
            token="the token",
        )  # fmt: skip
        self.resolver.take(wanted, self.said.append)

    async def answer(self) -> InputListed:
        await eventually(lambda: bool(self.said) and (self.said[-1].manifest or self.said[-1].problem) is not None)
        return self.said[-1]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_a_list_is_in_the_store_before_it_is_told(node: Node) -> None:
    node.ask()
    told = await node.answer()
    assert told.manifest is not None
    assert (told.request_id, told.manifest.parts, told.manifest.files, told.manifest.size_bytes) == ("r-1", 2, 250, 500)
    assert node.store.held == [(told.manifest.digest, "the token")]
    await node.resolver.close()


async def test_asked_again_while_it_goes_on_it_is_one_and_later_the_same(node: Node) -> None:
    node.lister.go_on.clear()
    node.ask()
    node.ask()
    node.ask("r-2")
    await eventually(lambda: node.lister.begun == 1)
    node.lister.go_on.set()
    await eventually(lambda: len(node.said) == 2)
    node.ask("r-3")
    await eventually(lambda: len(node.said) == 3)
    assert [told.request_id for told in node.said] == ["r-1", "r-2", "r-3"]
    assert len({told.manifest.digest for told in node.said if told.manifest}) == 1
    assert node.lister.begun == 1
    await node.resolver.close()


async def test_how_far_it_is_is_told_while_it_lasts(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "TELL_SECONDS", 0.01)
    node.lister.go_on.clear()
    node.ask()
    await eventually(lambda: any(told.files == 250 for told in node.said))
    assert all(told.manifest is None and told.problem is None for told in node.said)
    node.lister.go_on.set()
    assert (await node.answer()).manifest is not None
    await node.resolver.close()


@pytest.mark.parametrize("error", [Unavailable("the server went away"), OSError("no space left")])
async def test_why_there_is_none_is_told(node: Node, error: Exception) -> None:
    node.lister.error = error
    node.ask()
    told = await node.answer()
    assert told.problem is not None
    assert str(error) in told.problem.message
    assert node.store.held == []
    await node.resolver.close()


async def test_a_store_that_refuses_is_why_there_is_none(node: Node) -> None:
    node.store.full = True
    node.ask()
    told = await node.answer()
    assert told.problem is not None
    assert "no room" in told.problem.message
    await node.resolver.close()


@pytest.mark.parametrize("type_", ["inline", "nothing"])
async def test_what_this_node_does_not_list_is_told(node: Node, type_: str) -> None:
    node.ask(type_=type_)
    told = await node.answer()
    assert told.problem is not None
    assert type_ in told.problem.message
    await node.resolver.close()


async def test_more_than_so_many_are_refused_at_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST_WAITING", 1)
    node.lister.go_on.clear()
    node.ask()
    node.ask("r-2", job="j-2")
    assert [told.request_id for told in node.said] == ["r-2"]
    assert node.said[0].problem is not None
    await node.resolver.close()


async def test_one_that_waits_too_long_for_its_turn_is_refused_and_not_listed_later(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "TURN_SECONDS", 0.01)
    node.lister.go_on.clear()
    for number in range(resolver.AT_ONCE):
        node.ask(f"r-{number}", job=f"j-{number}")
    await eventually(lambda: node.lister.begun == resolver.AT_ONCE)
    node.ask("late", job="late")
    await eventually(lambda: any(told.request_id == "late" and told.problem is not None for told in node.said))
    node.lister.go_on.set()
    await eventually(lambda: sum(told.manifest is not None for told in node.said) == resolver.AT_ONCE)
    assert node.lister.begun == resolver.AT_ONCE
    await node.resolver.close()


async def test_an_agent_that_ends_gives_up_what_it_lists(node: Node) -> None:
    node.lister.go_on.clear()
    node.ask()
    await eventually(lambda: node.lister.begun == 1)
    await node.resolver.close()
    assert node.said == []
