"""Results that wait on their node for the word that they count: asked for until it is there, through every restart."""

import asyncio
import shutil
from pathlib import Path

import pytest

from skrei_compute_agent import settling
from skrei_compute_agent.input_cache import InputDenied
from skrei_compute_agent.leaving import leave, put
from skrei_compute_agent.settling import Settler
from skrei_compute_agent.upload_errors import ResultMissing
from skrei_domain.errors import Unavailable
from skrei_domain.messages import LEFT_GONE, LeftShow, LeftShown, Problem
from skrei_domain.paths import parse_entry
from skrei_plugin_api.testing import archive
from tests.support.standing import Record


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


@pytest.mark.parametrize("counts", [True, False])
async def test_one_that_waits_while_the_key_of_its_token_is_replaced_can_still_be_shown_by_every_later_process(
    tmp_path: Path, counts: bool
) -> None:
    record, place = Record(e_1=InputDenied("the API does not say: 401")), str(tmp_path / "out" / "e-1")
    left(tmp_path, a_settler(tmp_path, record), "e-1")
    for _ in range(2):
        await settled(a_settler(tmp_path, record))
        assert seen(tmp_path) == ["e-1.e-1"]
    for _ in range(2):
        settler = a_settler(tmp_path, record)
        assert await shown(settler, "e-1") == LeftShown(request_id="r-1", path=place)
        await settled(settler)
        assert seen(tmp_path) == ["e-1"]
    record.says["e-1"] = counts
    await settled(a_settler(tmp_path, record))
    assert seen(tmp_path) == (["e-1"] if counts else [])
    assert not list((tmp_path / "left").iterdir())


@pytest.mark.parametrize("says", [None, True])
async def test_what_is_heard_of_while_it_is_asked_for_is_asked_for_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: bool | None
) -> None:
    monkeypatch.setattr(settling, "AGAIN_SECONDS", 30.0)
    record = Record(e_1=says)
    settler = a_settler(tmp_path, record)
    left(tmp_path, settler, "e-1")
    await settler.find()

    async def standing(execution_id: str, token: str) -> bool | None:
        settler.heard(execution_id)
        return says

    with monkeypatch.context() as patched:
        patched.setattr(record, "standing", standing)
        assert await settler.run_once() == 0.0
    due = await settler.run_once()
    if says is None:
        assert due is not None
        assert record.asked == [("e-1", "token of e-1")]
    else:
        assert (due, record.asked) == (None, [])


async def test_one_that_is_gone_is_forgotten_though_nobody_says_whether_it_counts(tmp_path: Path) -> None:
    record = Record(e_1=InputDenied("the API does not say: 401"))
    left(tmp_path, a_settler(tmp_path, record), "e-1")
    await settled(a_settler(tmp_path, record))
    shutil.rmtree(tmp_path / "out" / "e-1.e-1")
    await settled(a_settler(tmp_path, record))
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


async def shown(settler: Settler, left: str) -> LeftShown:
    return await settler.show(LeftShow(request_id="r-1", left=left))


async def test_what_has_won_is_shown_as_it_is_asked_for_and_looked_after_until_that_is_decided(tmp_path: Path) -> None:
    record, place = Record(e_1=None), str(tmp_path / "out" / "e-1")
    settler = a_settler(tmp_path, record)
    left(tmp_path, settler, "e-1")
    for _ in range(2):
        assert await shown(settler, "e-1") == LeftShown(request_id="r-1", path=place)
        assert seen(tmp_path) == ["e-1"]
    record.says["e-1"] = True
    await settled(a_settler(tmp_path, record))
    assert (await shown(settler, "e-1")).problem == Problem(code=LEFT_GONE, message="what it left there is gone")
    assert seen(tmp_path) == ["e-1"]


async def test_what_was_shown_in_the_moment_in_which_its_job_was_stopped_is_removed(tmp_path: Path) -> None:
    settler = a_settler(tmp_path, Record(e_1=False))
    left(tmp_path, settler, "e-1")
    await shown(settler, "e-1")
    await settled(settler)
    assert seen(tmp_path) == []


async def test_parts_of_one_result_are_shown_by_names_of_their_own_and_asked_for_by_their_execution(
    tmp_path: Path,
) -> None:
    record, told = Record(e_1=None), LeftShown(request_id="", left_bytes=4, digest=f"sha256:{'0' * 64}", size=9)
    settler, entries = a_settler(tmp_path, record), [parse_entry(f"{tmp_path}/**:rw")]
    for number in range(2):
        with archive({"a/x": b"said"}) as (packed, _):
            put(packed, str(tmp_path / "out" / str(number)), f"e-1.{number}", entries, unseen=True)
        place = str(tmp_path / "out" / str(number))
        settler.note(f"e-1.{number}", place, "t", execution_id="e-1", told=told)
    assert seen(tmp_path) == [".skrei-e-1.0", ".skrei-e-1.1"]
    answer = await shown(settler, "e-1.1")
    assert answer == told.model_copy(update={"request_id": "r-1", "path": str(tmp_path / "out" / "1")})
    assert seen(tmp_path) == [".skrei-e-1.0", "1"]
    await settler.find()
    settler.heard("e-1")
    await settler.run_once()
    assert record.asked == [("e-1", "t")] * 2
    record.says["e-1"] = True
    await settled(settler)
    assert seen(tmp_path) == ["0", "1"]


async def test_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    settler = Settler(tmp_path / "left", [], lambda: Record(e_1=None))
    left(tmp_path, settler, "e-1")
    problem = (await shown(settler, "e-1")).problem
    assert problem is not None
    assert (problem.code, "lets no job leave" in problem.message) == ("left-not-shown", True)
    assert ((await shown(settler, "../x")).problem or problem).code == "left-not-shown"
    assert seen(tmp_path) == [".skrei-e-1"]
