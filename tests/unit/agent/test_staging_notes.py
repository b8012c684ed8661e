import pytest

from skrei_compute_agent import staging_notes
from skrei_compute_agent.staging_notes import StagingNotes
from skrei_domain.spec import InputSource, SpecConfig
from skrei_plugin_api.storage import SourceSpec
from skrei_plugin_api.testing import eventually


def sources(*targets: str) -> list[InputSource]:
    return [InputSource(source=SpecConfig(type="inline"), target=target) for target in targets]


async def test_inputs_that_take_a_while_are_told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_notes, "FIRST_NOTE_SECONDS", 0.0)
    said: list[str] = []
    wanted = sources("/a", "/b", "/c")
    with StagingNotes(wanted, said.append) as notes:
        await eventually(lambda: bool(said))
        notes.begun()
        notes.came(wanted[0])
        notes.came(wanted[2])
        notes.came(wanted[1])
    assert said == [
        "inputs: waiting, since this node brings those of others",
        "inputs: 0 of 3 here, bringing /a and 2 more",
        "inputs: 1 of 3 here, bringing /b and 1 more",
        "inputs: 2 of 3 here, bringing /b",
    ]


async def test_inputs_that_are_there_at_once_are_not_told() -> None:
    said: list[str] = []
    wanted = sources("/a")
    with StagingNotes(wanted, said.append) as notes:
        notes.begun()
        notes.came(wanted[0])
    assert said == []


async def test_a_listing_is_told_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_notes, "FIRST_NOTE_SECONDS", 0.0)
    said: list[str] = []
    wanted = sources("/a", "/b")
    with StagingNotes(wanted, said.append) as notes:
        notes.begun()
        notes.listed(SourceSpec("s3", target="/b"), 340_000)
        await eventually(lambda: bool(said))
        notes.came(wanted[1])
    assert said == ["inputs: listing /b, 340,000 so far", "inputs: 1 of 2 here, bringing /a"]
