"""Vendors' tools as programs on PATH: found, asked, failing, hanging, gone."""

from pathlib import Path

import psutil
import pytest

from skrei_compute_agent.gpu_probe import ASK_SECONDS, OUTPUT_BYTES, GpuProbe, ToolFailed, intel_cards, run_tool


class Machine:
    """Folders that stand for PATH, /dev and /sys, and a clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.dev, self.sys = folder / "bin", folder / "dev", folder / "sys"
        for made in (self.bin, self.dev, self.sys):
            made.mkdir()
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        self.asked = folder / "asked"
        self.now = 0.0
        self.probe = GpuProbe(dev=self.dev, sys=self.sys, seconds=lambda: self.now)

    def tool(self, name: str, script: str) -> Path:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >> {self.asked}\n{script}\n')
        path.chmod(0o755)
        return path

    def times(self) -> int:
        return len(self.asked.read_text().splitlines()) if self.asked.exists() else 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def ended(pid: int) -> bool:
    """Whether a process that was killed has gone; one that nobody has waited for yet has."""
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or process.wait(timeout=5) is None
    except psutil.NoSuchProcess:
        return True


T4 = "echo '0, GPU-9dd5, 00000000:00:1E.0, 15360, Tesla T4'"


async def test_no_tool_is_no_gpu_and_no_complaint(machine: Machine) -> None:
    assert await machine.probe.look() == ((), ())


async def test_a_tool_is_asked_when_something_looks_different_and_now_and_then(machine: Machine) -> None:
    machine.tool("nvidia-smi", T4)
    for _ in range(3):
        (gpu,) = (await machine.probe.look()).gpus
        assert gpu.name == "Tesla T4"
    assert machine.times() == 1
    (machine.dev / "nvidia0").touch()
    await machine.probe.look()
    assert machine.times() == 2
    (machine.sys / "module" / "nvidia").mkdir(parents=True)
    await machine.probe.look()
    assert machine.times() == 3
    machine.now += ASK_SECONDS + 1
    await machine.probe.look()
    assert machine.times() == 4


async def test_a_gpu_goes_with_its_tool(machine: Machine) -> None:
    tool = machine.tool("nvidia-smi", T4)
    assert (await machine.probe.look()).gpus
    tool.unlink()
    assert await machine.probe.look() == ((), ())


async def test_a_driver_that_is_not_loaded_is_told_and_looked_for_again(machine: Machine) -> None:
    machine.tool("nvidia-smi", "echo 'NVIDIA-SMI has failed because it could not reach the driver.'; exit 9")
    found = await machine.probe.look()
    assert found.gpus == ()
    (absent,) = found.absent
    assert (absent.kind, absent.name) == ("gpu", "NVIDIA")
    assert absent.reason.startswith("nvidia-smi: exit code 9: NVIDIA-SMI has failed")
    await machine.probe.look()
    assert machine.times() == 2


async def test_rubbish_is_told_as_such(machine: Machine) -> None:
    machine.tool("xpu-smi", "head -c 300 /dev/zero; echo; echo '<html>'")
    (absent,) = (await machine.probe.look()).absent
    assert absent.reason.startswith("xpu-smi: no JSON: '")


async def test_amds_older_tool_speaks_where_the_newer_fails(machine: Machine) -> None:
    machine.tool("amd-smi", "echo 'amdgpu driver not initialized' >&2; exit 255")
    machine.tool("rocm-smi", """echo '{"card0": {"Card series": "Radeon", "VRAM Total Memory (B)": "1024"}}'""")
    found = await machine.probe.look()
    assert [(gpu.name, gpu.memory_bytes) for gpu in found.gpus] == [("Radeon", 1024)]
    assert found.absent == ()


async def test_intels_tool_is_asked_for_the_memory_of_each_device(machine: Machine) -> None:
    machine.tool(
        "xpu-smi",
        """
case "$*" in
  "discovery -j") echo '{"device_list": [{"device_id": 3, "device_name": "Flex 170", "uuid": "u"}]}' ;;
  "discovery -d 3 -j") echo '{"memory_physical_size_byte": 14942253056}' ;;
esac""",
    )
    (gpu,) = (await machine.probe.look()).gpus
    assert (gpu.index, gpu.memory_bytes) == (3, 14942253056)


async def test_a_tool_that_hangs_is_killed_with_its_children(machine: Machine) -> None:
    path = machine.tool("nvidia-smi", f"sleep 600 & echo $! > {machine.dev}/child; wait")
    with pytest.raises(ToolFailed, match=r"has not ended within 0\.5 s"):
        await run_tool(str(path), limit_seconds=0.5)
    assert ended(int((machine.dev / "child").read_text()))


async def test_a_tool_that_never_stops_talking_is_cut_off(machine: Machine) -> None:
    path = machine.tool("nvidia-smi", "while :; do echo 0123456789012345678901234567890123456789; done")
    with pytest.raises(ToolFailed, match=f"says more than {OUTPUT_BYTES} bytes"):
        await run_tool(str(path))


async def test_a_tool_that_is_no_program_cannot_be_started(machine: Machine) -> None:
    path = machine.bin / "nvidia-smi"
    path.write_bytes(b"\x7fELF rubbish")
    path.chmod(0o755)
    with pytest.raises(ToolFailed, match="cannot be started: Exec format error"):
        await run_tool(str(path))


def test_intels_discrete_cards_are_found_without_its_tool_and_integrated_graphics_are_none(tmp_path: Path) -> None:
    for number, address, vendor in (
        (0, "0000:00:02.0", "0x8086"),
        (1, "0000:03:00.0", "0x8086"),
        (2, "0000:04:00.0", "0x10de"),
    ):
        device = tmp_path / "devices" / address
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "device").write_text("0x56a0\n")
        card = tmp_path / "class" / "drm" / f"card{number}"
        card.mkdir(parents=True)
        (card / "device").symlink_to(device)
    (tmp_path / "class" / "drm" / "card1-DP-1").mkdir()
    (gpu,) = intel_cards(tmp_path)
    assert (gpu.index, gpu.name, gpu.pci_address) == (0, "Intel GPU [0x56a0]", "0000:03:00.0")
