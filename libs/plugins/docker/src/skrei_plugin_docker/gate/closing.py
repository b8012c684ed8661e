"""Ends of connections: what was written is taken by the other side, or is lost with the connection in time."""

import asyncio
import contextlib

FLUSH_SECONDS = 60.0
"""How long the other side may take for what was written last, a buffer at most: a frozen one takes it never."""


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and return when it is closed: at once where we are cancelled."""
    task = asyncio.current_task()
    try:
        if task is None or not task.cancelling():
            writer.close()
            with contextlib.suppress(OSError):  # TimeoutError is one
                async with asyncio.timeout(FLUSH_SECONDS):
                    await writer.wait_closed()
    finally:
        writer.transport.abort()
