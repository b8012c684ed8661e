"""Logs over a WebSocket: JSON text frames, errors as frames, and close code 1000 at the end, as log readers expect."""

import asyncio
import contextlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from skrei_domain.spec import MAX_COUNT
from skrei_kit.observability import get_logger
from skrei_orchestrator_api import problems, queries, schemas
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import NAMESPACE, Query, described
from skrei_orchestrator_api.log_pieces import MOST_LINES
from skrei_orchestrator_api.logs import Selection, read_logs
from skrei_orchestrator_api.problems import HttpProblem

log = get_logger()

LOGS = "/api/v1/orchestrator/jobs/{job_id}/logs"

FRAME_CHARACTERS = 32 * 1024
"""Text in one frame: well below what readers accept, large enough that a long output is not many frames."""
SEND_SECONDS = 30.0
"""A reader that takes nothing for that long is gone."""


async def logs(socket: WebSocket) -> None:
    """Send the output of one execution, then close."""
    await socket.accept()
    with deps_of(socket).log_readers.one() as admitted:
        reader = asyncio.create_task(_until_gone(socket))
        sender = asyncio.create_task(_send(socket) if admitted else _turn_away(socket))
        try:
            await asyncio.wait({reader, sender}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            sender.cancel()
            await asyncio.gather(reader, sender, return_exceptions=True)


async def _turn_away(socket: WebSocket) -> None:
    """Say that there are too many readers: after the upgrade that is a frame, as every error is."""
    most = deps_of(socket).log_readers.most
    with contextlib.suppress(WebSocketDisconnect, TimeoutError):
        await _error(socket, f"{most} log readers are served already (SKREI_LOG_READERS); try again in a moment")
        async with asyncio.timeout(SEND_SECONDS):
            await socket.close(1000)


async def _until_gone(socket: WebSocket) -> None:
    """Return when the reader has closed; what it sends means nothing."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _send(socket: WebSocket) -> None:
    try:
        try:
            selection = Selection(
                job_id=socket.path_params["job_id"],
                namespace=queries.text(socket, "namespace"),
                execution_id=queries.text(socket, "execution_id"),
                follow=queries.flag(socket, "follow"),
                tail=queries.flag(socket, "tail"),
                version=queries.version(socket),
                all_versions=queries.flag(socket, "all_job_versions"),
                task=queries.text(socket, "task") or None,
                partition=_number(socket, "partition", MAX_COUNT - 1),
                lines=_number(socket, "lines", MOST_LINES),
            )
            async for stream, text in read_logs(deps_of(socket), selection):
                for start in range(0, len(text), FRAME_CHARACTERS):
                    line = text[start : start + FRAME_CHARACTERS]
                    await _frame(socket, {"value": {"Type": stream, "Line": line}})
        except WebSocketDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - after the upgrade every error is a frame; the table logs it
            await _error(socket, problems.problem_of(error).message)
        async with asyncio.timeout(SEND_SECONDS):
            await socket.close(1000)
    except (WebSocketDisconnect, TimeoutError):
        log.debug("log_reader_gone", job_id=socket.path_params["job_id"])


async def _error(socket: WebSocket, message: str) -> None:
    await _frame(socket, {"error": message, "value": {"Type": 0, "Line": ""}})


def _number(socket: WebSocket, name: str, high: int) -> int | None:
    return queries.number(socket, name, high=high) if socket.query_params.get(name) else None


async def _frame(socket: WebSocket, frame: dict[str, object]) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await socket.send_text(schemas.dump(frame))


@described(
    status=101,
    query=(
        NAMESPACE,
        Query("execution_id", "Of this execution; of the latest that says most where none is named."),
        Query("follow", "Go on until it has ended.", "boolean", True),
        Query("tail", "Only what is said from now on.", "boolean", False),
        Query("lines", "Of what was said before only so many lines of each stream, and then on.", "integer", 100),
        Query("task", "Of this task.", example="main"),
        Query("partition", "Of this partition.", "integer", 0),
    ),
)
async def not_upgraded(request: Request) -> Response:
    """Read output: a WebSocket (`Upgrade: websocket`); a plain GET is 400.

    Each frame is JSON text: `{"value": {"Type": 1, "Line": "text"}}`, where `Type` is 1 for stdout and 2 for stderr.
    An error is a frame too: `{"error": "message", "value": {"Type": 0, "Line": ""}}`. The close code is 1000.
    """
    raise HttpProblem(400, "logs are a WebSocket: send `Upgrade: websocket`", code="BadRequest")


ROUTES: list[BaseRoute] = [WebSocketRoute(LOGS, logs), Route(LOGS, not_upgraded)]
