"""Results that wait on their node for the word that they count: asked for until it is there, through every restart."""

import asyncio
from pathlib import Path

import pytest

from skrei_compute_agent import settling
from skrei_compute_agent.input_cache import InputDenied
from skrei_compute_agent.leaving import leave
from skrei_compute_agent.settling import Settler
from skrei_compute_agent.upload_errors import ResultMissing
from skrei_domain.errors import SkreiError, Unavailable
from skrei_domain.paths import parse_entry
from skrei_plugin_api.testing import archive


class Record:
    """What the record says of each execution, and who asked."""

    def __init__(self, **says: bool | SkreiError | None) -> None:
        self.says = {name.replace("_", "-"): each for name, each in says.items()}
        self.asked: list[tuple[str, str]] = []
        self.called = asyncio.Event()

    async def standing(self, execution_id: str, token: str) -> bool | None:
        self.asked.append((execution_id, token))
        self.called.set()
        said = self.says[execution_id]
        if isinstance(said, SkreiError):
            raise said
        return said


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    monkeypatch.setattr(settling, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(settling, "LONGEST_SECONDS", 0.0)


def a_settler(folder: Path, record: Record) -> Settler:
    return Settler(folder / "left", [parse_entry(f"{folder}/**:rw")], lambda: record)


def left(folder: Path, settler: Settler, *names: str) -> None:
    """Let executions have left results that are not seen yet."""
    for name in names:
        with archive({"stdout": b"said"}) as (packed, _):
            leave(packed, str(folder / "out" / name), name, [parse_entry(f"{folder}/**:rw")], unseen=True)
        settler.note(name, str(folder / "out" / name), f"token of {name}")


def seen(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "out").iterdir())


async def settled(settler: Settler) -> None:
    """Let another process ask until nothing is left to be settled."""
    await settler.find()
    while await settler.run_once() is not None:
        pass


async def test_what_counts_is_shown_what_does_not_is_removed_and_what_is_forgotten_lies_beside(tmp_path: Path) -> None:
    record = Record(e_1=True, e_2=False, e_3=ResultMissing("no such execution"))
    left(tmp_path, a_settler(tmp_path, record), "e-1", "e-2", "e-3")
    await settled(a_settler(tmp_path, record))
    assert seen(tmp_path) == ["e-1", "e-3.e-3"]
    assert record.asked[0] == ("e-1", "token of e-1")
    assert not list((tmp_path / "left").iterdir())


async def test_it_is_asked_until_it_is_decided_and_the_api_is_there(tmp_path: Path) -> None:
    record = Record(e_1=None, e_2=Unavailable("the API is away"))
    settler = a_settler(tmp_path, record)
    left(tmp_path, settler, "e-1", "e-2")
    await settler.find()
    for _ in range(3):
        assert await settler.run_once() is not None
    assert seen(tmp_path) == [".skrei-e-1", ".skrei-e-2"]
    assert len(record.asked) == 6
    record.says |= {"e-1": True, "e-2": True}
    assert await settler.run_once() is None
    assert seen(tmp_path) == ["e-1", "e-2"]


async def test_one_of_which_the_api_will_never_say_lies_beside_in_the_end(tmp_path: Path) -> None:
    record = Record(e_1=InputDenied("the API does not say: 401"))
    settler = a_settler(tmp_path, record)
    left(tmp_path, settler, "e-1")
    await settler.find()
    for _ in range(settling.REFUSALS - 1):
        assert await settler.run_once() is not None
    assert seen(tmp_path) == [".skrei-e-1"]
    assert await settler.run_once() is None
    assert seen(tmp_path) == ["e-1.e-1"]
    assert not list((tmp_path / "left").iterdir())


async def test_a_note_that_cannot_be_read_is_told_once_and_kept(tmp_path: Path) -> None:
    record = Record(e_1=True)
    settler = a_settler(tmp_path, record)
    left(tmp_path, settler, "e-1")
    note = tmp_path / "left" / "e-1.json"
    whole = note.read_text()
    note.write_text("{")
    await settler.find()
    assert await settler.run_once() is None
    assert record.asked == []
    assert seen(tmp_path) == [".skrei-e-1"]
    note.write_text(whole)
    await settled(a_settler(tmp_path, record))
    assert seen(tmp_path) == ["e-1"]


async def test_what_is_left_while_it_runs_is_asked_for_at_once_as_its_end_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "AGAIN_SECONDS", 3_600.0)
    record = Record(e_1=None)
    settler = a_settler(tmp_path, record)
    running = asyncio.create_task(settler.run())
    async with asyncio.timeout(10):
        await asyncio.to_thread(left, tmp_path, settler, "e-1")
        await record.called.wait()
        record.called.clear()
        record.says["e-1"] = True
        settler.heard("e-9")
        settler.heard("e-1")
        await record.called.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await settled(a_settler(tmp_path, record))
    assert seen(tmp_path) == ["e-1"]


async def test_what_is_gone_from_its_disk_is_not_asked_for_for_ever(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    settler = a_settler(tmp_path, Record(e_1=True))
    settler.note("e-1", str(tmp_path / "out" / "e-1"), "t")
    await settled(settler)
    assert seen(tmp_path) == []


async def test_who_reads_a_path_waits_for_what_is_about_to_be_shown_there(tmp_path: Path) -> None:
    record = Record(e_1=None)
    settler = a_settler(tmp_path, record)
    left(tmp_path, settler, "e-1")
    await settler.find()
    await settler.run_once()
    await settler.arrived([str(tmp_path / "elsewhere")])
    waiting = asyncio.create_task(settler.arrived([str(tmp_path / "out" / "e-1" / "outputs")]))
    await settler.run_once()
    assert not waiting.done()
    record.says["e-1"] = True
    await settler.run_once()
    await waiting
    assert seen(tmp_path) == ["e-1"]


async def test_who_reads_a_path_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "ARRIVAL_SECONDS", 0.0)
    settler = a_settler(tmp_path, Record(e_1=None))
    left(tmp_path, settler, "e-1")
    await settler.find()
    await settler.run_once()
    await settler.arrived([str(tmp_path / "out")])
    assert seen(tmp_path) == [".skrei-e-1"]


async def test_what_has_not_been_decided_for_long_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "AGAIN_SECONDS", 2 * settling.ARRIVAL_SECONDS)
    monkeypatch.setattr(settling, "LONGEST_SECONDS", 2 * settling.ARRIVAL_SECONDS)
    settler = a_settler(tmp_path, Record(e_1=None))
    left(tmp_path, settler, "e-1")
    await settler.find()
    await settler.run_once()
    reader = asyncio.create_task(settler.arrived([str(tmp_path / "out")]))
    for _ in range(10):
        await asyncio.sleep(0)
    assert reader.done()
