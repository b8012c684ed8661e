"""Commands beside a program, in its container: run to their end or their time, and gone when that is over.

Our runner begins them there, and ends them with all their children when their time is over, or when nobody listens.
"""

import asyncio
import time

from skrei_domain.errors import SkreiError
from skrei_plugin_api.engine import CommandOutcome, CommandRequest
from skrei_plugin_kubernetes.cluster import Cluster, Refused
from skrei_plugin_kubernetes.command import Broken
from skrei_plugin_kubernetes.pod import RUN, RUNNER

KILLED = 137
KILL_SECONDS = 10.0
"""For a command whose time is over to be gone: our runner ends it, and the cluster tells us."""


class CommandFailed(SkreiError):
    """A command could not be begun, or not be ended."""

    code = "command-failed"
    retryable = True


async def run_beside(cluster: Cluster, pod: str, request: CommandRequest) -> CommandOutcome:
    """See `Engine.command`."""
    words = (RUNNER, "within", str(int(request.timeout_seconds * 1000)), *request.command)
    tail = bytearray()
    began = time.monotonic()
    try:
        async with (
            asyncio.timeout(request.timeout_seconds + KILL_SECONDS),
            cluster.command(pod, RUN, words, speaks=True) as command,
        ):
            async for _, data in command.frames():
                tail += data
                del tail[: -request.most_output_bytes]
            code = command.code
    except (Refused, Broken) as error:
        raise CommandFailed(f"nothing can be run in its container: {error}") from error
    except TimeoutError as error:
        raise CommandFailed("the check's command does not end") from error
    if code == KILLED and time.monotonic() - began >= request.timeout_seconds:
        code = None
    return CommandOutcome(code, bytes(tail))
