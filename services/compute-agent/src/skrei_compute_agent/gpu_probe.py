"""Which GPUs this machine has: vendors' tools, asked when something looks different, and now and then.

A tool takes up to seconds of CPU and wakes its driver; so each look compares only what costs nothing (the tools on
PATH, the device files, the loaded drivers), and asks the tools when that has changed, failed last, or is a minute old.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from skrei_compute_agent.gpu_tools import AMD, INTEL, MAX_GPUS, NVIDIA, TOOLS, Tool
from skrei_domain.node import Absent, Gpu
from skrei_plugin_api.aside import aside

TOOL_SECONDS = 20.0
"""How long a tool may take: `nvidia-smi` wakes a sleeping driver in up to ten. No look waits for it that long."""
ASK_SECONDS = 60.0
"""How old an answer may be while nothing looks different."""
OUTPUT_BYTES = 1024 * 1024
"""What is read of a tool's output: 64 devices take some tens of KiB."""
DRIVERS = {NVIDIA: ("nvidia",), AMD: ("amdgpu",), INTEL: ("i915", "xe")}
"""The kernel modules that make devices usable."""

Marks: TypeAlias = tuple[object, ...]


class ToolFailed(Exception):
    """A tool said nothing that can be used; the message says what happened."""


class Found(NamedTuple):
    """The devices, and the vendors whose tool does not work, with the reason."""

    gpus: tuple[Gpu, ...] = ()
    absent: tuple[Absent, ...] = ()


class GpuProbe:
    """Looks for GPUs. One `look` at a time."""

    def __init__(
        self,
        *,
        dev: Path = Path("/dev"),
        sys: Path = Path("/sys"),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dev = dev
        self._sys = sys
        self._seconds = seconds
        self._marks: Marks = ()
        self._asked_at = float("-inf")
        self._found = Found()

    @property
    def found(self) -> Found:
        """The last answer."""
        return self._found

    async def look(self) -> Found:
        """Return what there is; raises nothing for what is missing or broken."""
        tools, marks = await aside(self._look_around, name="gpu-marks")
        old = self._seconds() - self._asked_at > ASK_SECONDS
        if marks != self._marks or self._found.absent or old:
            self._found = await self._ask(tools)
            self._marks, self._asked_at = marks, self._seconds()
        return self._found

    def _look_around(self) -> tuple[dict[str, str], Marks]:
        """Return the tools on PATH, and everything that changes when a device, driver or tool does."""
        tools = {tool.program: path for tool in TOOLS if (path := shutil.which(tool.program))}
        stats = tuple((path, _stamp(Path(path))) for path in tools.values())
        nodes = tuple(sorted(path.name for path in self._dev.glob("nvidia[0-9]*")))
        cards = tuple(sorted(path.name for path in (self._dev / "dri").glob("render*")))
        loaded = tuple(name for names in DRIVERS.values() for name in names if (self._sys / "module" / name).is_dir())
        return tools, (stats, nodes, cards, loaded)

    async def _ask(self, tools: dict[str, str]) -> Found:
        gpus: list[Gpu] = []
        absent: list[Absent] = []
        for vendor in DRIVERS:
            failures = []
            for tool in TOOLS:
                if tool.vendor != vendor or tool.program not in tools:
                    continue
                try:
                    gpus += await _devices(tool, tools[tool.program])
                except (ToolFailed, ValueError) as error:
                    failures.append(f"{tool.program}: {error}")
                else:
                    failures.clear()
                    break
            if failures:
                absent.append(Absent(kind="gpu", name=vendor, reason="; ".join(failures)))
        if not any(gpu.vendor == INTEL for gpu in gpus):
            gpus += await aside(lambda: intel_cards(self._sys), name="gpu-intel")
        return Found(tuple(gpus[:MAX_GPUS]), tuple(absent))


async def _devices(tool: Tool, path: str) -> list[Gpu]:
    found = []
    for gpu in tool.read(await run_tool(path, *tool.arguments)):
        size = gpu.memory_bytes
        if tool.detail is not None and not size:
            with contextlib.suppress(ToolFailed, ValueError):  # the device is there; only its size is not told
                size = tool.detail(await run_tool(path, *tool.detail_arguments(gpu.index)))
        found.append(gpu.model_copy(update={"memory_bytes": size}))
    return found


async def run_tool(path: str, *arguments: str, limit_seconds: float = TOOL_SECONDS) -> str:
    """Return what a tool prints. Raises ToolFailed where it fails, or says or takes too much; then it is killed."""
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,  # one that says more there than a pipe holds is a tool that hangs
            env=os.environ | {"LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as error:
        raise ToolFailed(f"cannot be started: {error.strerror}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    said = b""
    try:
        async with asyncio.timeout(limit_seconds):
            while len(said) <= OUTPUT_BYTES and (piece := await process.stdout.read(65_536)):
                said += piece
            if len(said) > OUTPUT_BYTES:
                raise ToolFailed(f"says more than {OUTPUT_BYTES} bytes")
            code = await process.wait()
    except TimeoutError:
        raise ToolFailed(f"has not ended within {limit_seconds:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):  # one that waits for a lost device cannot be killed
                async with asyncio.timeout(1.0):
                    await process.wait()
    if code != 0:
        said += b"\n" + await process.stderr.read(OUTPUT_BYTES)
        lines = said.decode("utf-8", "replace").splitlines()
        line = next((line.strip() for line in lines if line.strip()), "")
        raise ToolFailed(f"exit code {code}{f': {line[:300]}' if line else ''}")
    return said.decode("utf-8", "replace")


def intel_cards(sys: Path = Path("/sys")) -> list[Gpu]:
    """Return Intel's discrete cards by what the kernel says, for machines without Intel's tool.

    Graphics that are part of the processor sit on the first bus and are no device to hand out.
    """
    found: list[Gpu] = []
    for card in sorted((sys / "class" / "drm").glob("card*")):
        device = card / "device"
        if not card.name.removeprefix("card").isdecimal() or _text(device / "vendor") != "0x8086":
            continue
        address = device.resolve().name
        if not address.startswith("0000:00:"):
            size = _text(card / "lmem_total_bytes")
            found.append(
                Gpu(
                    index=len(found),
                    name=f"Intel GPU [{_text(device / 'device')}]",
                    vendor=INTEL,
                    memory_bytes=int(size) if size.isdecimal() else 0,
                    pci_address=address,
                )
            )
    return found


def _stamp(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_mtime_ns, told.st_size


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
