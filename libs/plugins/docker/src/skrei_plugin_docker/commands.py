"""Commands beside a program, in its container: run to their end or their time, and gone when that is over.

The daemon can begin a command and say how it ended, but not end one. So each carries a mark in its environment, which
whatever it starts inherits, and a second command, by the same user, kills all that has it. Where the image has no shell
for that the command's own process is killed from outside, if this agent may.
"""

import asyncio
import os
import signal
import uuid
from pathlib import Path

from skrei_domain.errors import SkreiError
from skrei_plugin_api.engine import CommandOutcome, CommandRequest
from skrei_plugin_docker.create import start_name
from skrei_plugin_docker.daemon import Daemon
from skrei_plugin_docker.failures import DaemonAway, Refusal

MARK = "SKREI_COMMAND"
KILL_SECONDS = 5.0
"""For a command that is killed to be gone: it takes milliseconds, on a busy machine more."""
LOOK_SECONDS = 0.02
"""Between looks whether it is."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
KILLER = """for each in /proc/[0-9]*; do
  if grep -q "{mark}" "$each/environ" 2>/dev/null; then kill -9 "${{each#/proc/}}"; fi
done"""


class CommandFailed(SkreiError):
    """A command could not be begun, or not be ended."""

    code = "command-failed"
    retryable = True


class Commands:
    """Runs commands in containers of one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    async def run(self, request: CommandRequest) -> CommandOutcome:
        """See `Engine.command`."""
        container, mark = start_name(request.execution_id, request.start_number), f"{MARK}={uuid.uuid4().hex}"
        try:
            command = await self._daemon.make_command(container, request.command, (mark,))
        except Refusal as refusal:
            raise CommandFailed(f"nothing can be run in its container: {refusal.message}") from refusal
        tail = bytearray()
        try:
            try:
                async with asyncio.timeout(request.timeout_seconds):
                    await self._hear(command, tail, request.most_output_bytes)
                    return CommandOutcome(await self._code(command), bytes(tail))
            except TimeoutError:
                await self._kill(container, command, mark)
                return CommandOutcome(None, bytes(tail))
            except asyncio.CancelledError:
                await asyncio.shield(self._quietly_kill(container, command, mark))
                raise
        except Refusal as refusal:
            return _not_begun(refusal)

    async def _hear(self, command: str, tail: bytearray, most: int) -> None:
        async with self._daemon.command_output(command) as frames:
            async for _, data in frames:
                tail += data
                del tail[:-most]

    async def _code(self, command: str) -> int:
        """Return the exit code of a command whose output has ended: it may take a moment to be known."""
        while (found := await self._daemon.command(command))["Running"]:  # noqa: ASYNC110 - the daemon tells nobody
            await asyncio.sleep(LOOK_SECONDS)
        return int(found["ExitCode"])

    async def _quietly_kill(self, container: str, command: str, mark: str) -> None:
        try:
            await self._kill(container, command, mark)
        except (CommandFailed, DaemonAway, Refusal):
            return  # most likely its container has ended, and it with it

    async def _kill(self, container: str, command: str, mark: str) -> None:
        """Return when nothing of a command runs any more. Raises CommandFailed when that cannot be had."""
        if not (found := await self._daemon.command(command))["Running"]:
            return
        try:
            async with asyncio.timeout(KILL_SECONDS):
                await self._kill_marked(container, mark)
                if (await self._daemon.command(command))["Running"]:
                    kill_from_outside(int(found["Pid"]), str(found["ContainerID"]))
                await self._code(command)
        except TimeoutError:
            raise CommandFailed(
                "the check's command does not end, and cannot be killed: its image has no shell for that, and this "
                "agent may not kill it from outside"
            ) from None

    async def _kill_marked(self, container: str, mark: str) -> None:
        """Kill all that a command started, from inside; where the image has no shell nothing happens."""
        try:
            killer = await self._daemon.make_command(container, ("sh", "-c", KILLER.format(mark=mark)), ())
            await self._hear(killer, bytearray(), 1)
        except Refusal:
            return


def kill_from_outside(pid: int, container: str) -> bool:
    """Kill a process of a container on this machine; False where it is none of it, or may not be killed."""
    try:
        held = os.pidfd_open(pid)
    except (AttributeError, OSError):  # no Linux; or gone, or on another machine
        return False
    try:
        if container not in Path(f"/proc/{pid}/cgroup").read_text("utf-8"):
            return False
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _not_begun(refusal: Refusal) -> CommandOutcome:
    """What a shell would say: the daemon refuses to begin what is not there, or no program."""
    missing = "no such file" in refusal.message.lower() or "not found" in refusal.message.lower()
    return CommandOutcome(NOT_FOUND if missing else NOT_EXECUTABLE, refusal.message.encode()[-2048:])
