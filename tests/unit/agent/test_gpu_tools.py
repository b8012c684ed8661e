"""What vendors' tools really print, across versions, and what they print when something is wrong."""

import json

import pytest

from skrei_compute_agent.gpu_tools import (
    AMD,
    INTEL,
    MAX_GPUS,
    MIB,
    NVIDIA,
    read_amd,
    read_nvidia,
    read_rocm,
    read_xpu,
    read_xpu_memory,
)
from skrei_domain.node import Gpu

NVIDIA_TWO = """\
0, GPU-9dd5a1b4-7c21-0f3a-5a4e-1f6f5a0a8c11, 00000000:00:1E.0, 15360, Tesla T4
1, GPU-2a8f2a7e-5c0a-77e1-c1d8-93b1ff8ed5a2, 00000000:00:1F.0, 81559, NVIDIA H100 80GB HBM3
"""
NVIDIA_UNIFIED = "0, GPU-5fe6a1c0-1d0e-9ad5-2b8c-6a3a4a1f0b7d, 0000000F:01:00.0, [N/A], NVIDIA GB10\n"
ROCM_5 = """
WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status

{"card0": {"Unique ID": "0x4e4d1e5b0a2c9f31", "PCI Bus": "0000:03:00.0", "VRAM Total Memory (B)": "25753026560",\
 "VRAM Total Used Memory (B)": "27996160", "Card series": "Radeon RX 7900 XTX", "Card model": "0x5304",\
 "Card vendor": "Advanced Micro Devices, Inc. [AMD/ATI]", "Card SKU": "D704"}}
"""
ROCM_6 = json.dumps(
    {
        "card1": {
            "Device Name": "AMD Instinct MI210",
            "Unique ID": "N/A",
            "PCI Bus": "0000:83:00.0",
            "VRAM Total Memory (B)": "68702699520",
            "Card Series": "AMD Instinct MI210",
            "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]",
            "GFX Version": "gfx90a",
        },
        "card0": {"Card Series": "N/A", "Card Model": "0x7408", "PCI Bus": "0000:03:00.0"},
        "system": {"Driver version": "6.7.0"},
    }
)
AMD_SMI_6 = json.dumps(
    [
        {
            "gpu": 0,
            "asic": {
                "market_name": "AMD Instinct MI300X",
                "vendor_id": "0x1002",
                "vendor_name": "Advanced Micro Devices Inc. [AMD/ATI]",
                "device_id": "0x74a1",
                "asic_serial": "0xDE3FC3B6E1A6B0C5",
                "oam_id": 0,
            },
            "bus": {"bdf": "0000:05:00.0", "max_pcie_width": 16, "slot_type": "OAM"},
            "vram": {"type": "HBM", "vendor": "SAMSUNG", "size": {"value": 196592, "unit": "MB"}},
        }
    ]
)
AMD_SMI_7 = json.dumps({"gpu_data": json.loads(AMD_SMI_6)})
AMD_SMI_5 = json.dumps([{"gpu": 0, "asic": "N/A", "bus": {"bdf": "0000:03:00.0"}, "vram": {"size": "16368 MB"}}])
XPU = """{
    "device_list": [
        {
            "device_function_type": "physical",
            "device_id": 0,
            "device_name": "Intel(R) Data Center GPU Max 1100",
            "device_type": "GPU",
            "drm_device": "/dev/dri/card1",
            "pci_bdf_address": "0000:29:00.0",
            "pci_device_id": "0xbda",
            "uuid": "00000000-0000-0029-0000-002f0bda8086",
            "vendor_name": "Intel(R) Corporation"
        },
        {
            "device_function_type": "virtual",
            "device_id": 1,
            "device_name": "Intel(R) Data Center GPU Max 1100",
            "device_type": "GPU",
            "pci_bdf_address": "0000:29:00.1",
            "uuid": "00000000-0000-0029-0001-002f0bda8086",
            "vendor_name": "Intel(R) Corporation"
        }
    ]
}
"""
XPU_OLD = '{"device_list": [{"device_id": 0, "device_name": "Intel(R) Graphics [0x020a]", "device_type": "GPU"}]}'


@pytest.mark.row("4.8/gpus")
def test_nvidia_tells_index_uuid_address_memory_and_name() -> None:
    first, second = read_nvidia(NVIDIA_TWO)
    assert first == Gpu(
        index=0,
        name="Tesla T4",
        vendor=NVIDIA,
        memory_bytes=15360 * MIB,
        pci_address="00000000:00:1e.0",
        uuid="GPU-9dd5a1b4-7c21-0f3a-5a4e-1f6f5a0a8c11",
    )
    assert (second.index, second.name) == (1, "NVIDIA H100 80GB HBM3")


def test_a_gpu_that_shares_the_machines_memory_has_none_of_its_own() -> None:
    (gpu,) = read_nvidia(NVIDIA_UNIFIED)
    assert (gpu.name, gpu.memory_bytes) == ("NVIDIA GB10", 0)


@pytest.mark.row("4.8/gpus")
def test_rocm_is_read_behind_its_warnings_and_with_either_case_of_its_keys() -> None:
    (card,) = read_rocm(ROCM_5)
    assert card == Gpu(
        index=0,
        name="Radeon RX 7900 XTX",
        vendor=AMD,
        memory_bytes=25753026560,
        pci_address="0000:03:00.0",
        uuid="0x4e4d1e5b0a2c9f31",
    )
    first, second = read_rocm(ROCM_6)
    assert (first.index, first.name, first.memory_bytes) == (0, "0x7408", 0)
    assert (second.name, second.uuid, second.key) == ("AMD Instinct MI210", "", "0000:83:00.0")


@pytest.mark.parametrize("text", [AMD_SMI_6, AMD_SMI_7])
def test_amd_smi_is_read_as_a_list_and_as_an_object(text: str) -> None:
    (gpu,) = read_amd(text)
    assert (gpu.name, gpu.memory_bytes) == ("AMD Instinct MI300X", 196592 * MIB)
    assert (gpu.pci_address, gpu.uuid) == ("0000:05:00.0", "0xDE3FC3B6E1A6B0C5")


def test_amd_smi_may_not_know_what_it_has() -> None:
    (gpu,) = read_amd(AMD_SMI_5)
    assert (gpu.name, gpu.memory_bytes, gpu.key) == ("", 16368 * MIB, "0000:03:00.0")


@pytest.mark.row("4.8/gpus")
def test_intel_tells_devices_without_their_virtual_functions_and_memory_for_each() -> None:
    (gpu,) = read_xpu(XPU)
    assert (gpu.index, gpu.name, gpu.vendor) == (0, "Intel(R) Data Center GPU Max 1100", INTEL)
    assert read_xpu(XPU_OLD)[0].key == "Intel:0"
    assert read_xpu_memory('{"device_id": 0, "memory_physical_size_byte": 14942253056}') == 14942253056
    assert read_xpu_memory('{"device_id": 0, "memory_physical_size_byte": "16225243136"}') == 16225243136
    assert read_xpu_memory('{"device_id": 0, "memory_physical_size": "N/A"}') == 0


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_nvidia, "No devices were found\n"),
        (read_nvidia, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"),
        (read_nvidia, "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error\n"),
        (read_nvidia, "0, GPU-1, 00000000:00:1E.0\n"),
        (read_nvidia, "0, GPU-1, b, 1, a\n0, , , 1, a\n0, , , 1, a\n"),
        (read_rocm, "ERROR:root:Driver not initialized (amdgpu not found in modules)\n"),
        (read_rocm, "[]"),
        (read_amd, '{"error": "no amdgpu"}'),
        (read_amd, '[{"gpu": "zero"}]'),
        (read_xpu, '{"error": "No device discovered", "errno": 3}'),
        (read_xpu, '{"device_list": [7]}'),
        (read_xpu, "[" * 100_000),
        (read_xpu, "\x00\ufffd"),
    ],
)
def test_rubbish_is_no_device(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match=r"."):
        read(text)


def test_more_devices_than_any_machine_has_are_none() -> None:
    with pytest.raises(ValueError, match="more than any machine has"):
        read_nvidia("".join(f"{number}, GPU-{number}, , 1, x\n" for number in range(MAX_GPUS + 1)))


def test_devices_that_share_an_id_are_told_apart_by_their_place() -> None:
    text = "0, GPU-0, 0000, 1, x\n1, GPU-0, 0000, 1, x\n"
    assert [gpu.key for gpu in read_nvidia(text)] == ["NVIDIA:0", "NVIDIA:1"]


def test_names_hold_no_control_characters_and_end_somewhere() -> None:
    (gpu,) = read_nvidia(f"0, u, p, 1, A\x1b[31m{'B' * 500}\n")
    assert gpu.name.startswith("A[31mB")
    assert len(gpu.name) == 128


def test_an_empty_answer_is_no_gpu() -> None:
    assert read_nvidia("\n") == ()
    assert read_rocm("{}") == ()
    assert read_amd("[]") == ()
