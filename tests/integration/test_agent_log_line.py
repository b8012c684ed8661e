"""The connection on which a node answers who reads logs: one at a time, also when it is made anew."""

import asyncio
from pathlib import Path

from skrei_compute_agent.folders import Folders
from skrei_compute_agent.logs import LogServer
from skrei_domain import subjects
from skrei_domain.envelope import unwrap, wrap
from skrei_domain.messages import LogChunk, LogRequest
from skrei_kit.bus import Bus, Message

NODE = "n-log-line"


async def test_a_line_that_is_made_anew_takes_the_place_of_the_one_before(nats_url: str, tmp_path: Path) -> None:
    server = LogServer(NODE, Folders(tmp_path), live=lambda _: False, known=lambda _: False)
    await server.connect(nats_url, None)
    before = server._bus
    assert before is not None
    await server.connect(nats_url, None)
    async with asyncio.timeout(10):
        await before.ended()
    asker, told = await Bus.connect(nats_url, name="asker"), asyncio.Queue[LogChunk]()

    async def hear(message: Message) -> None:
        told.put_nowait(unwrap(LogChunk, message.data))

    await asker.subscribe(subjects.log(NODE, "r-1"), hear)
    await asker.flush()
    request = LogRequest(request_id="r-1", execution_id="e-none")
    await asker.publish(subjects.rpc(NODE), wrap(request, type_="skrei.log.request.v1", source="test", id_="r-1"))
    async with asyncio.timeout(10):
        chunk = await told.get()
    assert chunk.problem is not None
    assert chunk.problem.code == "not-found"
    await asker.close()
    await server.close()
