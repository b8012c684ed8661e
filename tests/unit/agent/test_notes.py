"""Notes on a preparation: the first at once, then the latest now and then, none when it is over."""

import asyncio

from skrei_compute_agent.notes import Notes


async def test_the_first_line_is_passed_on_at_once_then_the_latest_and_what_repeats_never() -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    with Notes(said.put_nowait, seconds=0.01) as notes:
        for line in ("1 of 3", "2 of 3", "3 of 3"):
            notes.tell(line)
        assert said.qsize() == 1
        assert [await said.get(), await said.get()] == ["1 of 3", "3 of 3"]
        notes.tell("3 of 3")
        notes.tell("unpacking")
        assert await said.get() == "unpacking"


async def test_a_preparation_that_is_over_says_nothing_more() -> None:
    said: list[str] = []
    ticks = asyncio.Event()
    with Notes(said.append, seconds=0.01) as notes:
        notes.tell("1 of 2")
        notes.tell("2 of 2")
    asyncio.get_running_loop().call_later(0.05, ticks.set)
    await ticks.wait()
    assert said == ["1 of 2"]
