import asyncio

from skrei_compute_agent.probes import Probe


async def test_an_answer_is_handed_on() -> None:
    async def ask() -> str:
        return "here"

    assert await Probe(ask, str, limit_seconds=5.0).look() == "here"


async def test_a_failure_is_an_answer() -> None:
    async def ask() -> str:
        raise RuntimeError("no such socket")

    assert await Probe(ask, str, limit_seconds=5.0).look() == "its probe failed: RuntimeError: no such socket"


async def test_a_silent_probe_is_not_asked_again_until_it_has_answered() -> None:
    asked = 0
    answer = asyncio.Event()

    async def ask() -> str:
        nonlocal asked
        asked += 1
        await answer.wait()
        return f"answer {asked}"

    probe = Probe(ask, str, limit_seconds=0.01)
    for _ in range(3):
        assert await probe.look() == "its probe has not answered within 0.01 s"
    assert asked == 1
    answer.set()
    assert await probe.look() == "answer 1"
    assert await probe.look() == "answer 2"


async def test_a_silent_probe_is_given_up_at_the_end() -> None:
    ended = asyncio.Event()

    async def ask() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    probe = Probe(ask, str, limit_seconds=0.01)
    await probe.look()
    await probe.close()
    assert ended.is_set()
