"""What vendors' tools say about GPUs: which command to run, and how its output is read. Pure.

Tools differ by version and print what is no JSON before their JSON; a reader takes what it needs, and raises
ValueError, with what is wrong, for what it can make nothing of.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from skrei_domain.node import Gpu

NVIDIA, AMD, INTEL = "NVIDIA", "AMD/ATI", "Intel"
"""Vendors by the names that API clients know."""
MAX_GPUS = 64
"""Devices of one vendor that are read: no machine has more, and a tool gone wild must not fill a message."""
NAME_CHARACTERS = 128
"""Of a device's name."""
MIB = 1024 * 1024

_UNITS = {"": 1, "B": 1, "KB": 1024, "KIB": 1024, "MB": MIB, "MIB": MIB, "GB": 1024 * MIB, "GIB": 1024 * MIB}
"""What vendors call memory units: all of them mean powers of 1024."""


class Tool(NamedTuple):
    """A vendor's program, how it is asked for every device, and how its answer is read.

    `detail` is asked for each device that has no memory yet, with its index added by `detail_arguments`.
    """

    vendor: str
    program: str
    arguments: tuple[str, ...]
    read: Callable[[str], tuple[Gpu, ...]]
    detail: Callable[[str], int] | None = None

    def detail_arguments(self, index: int) -> tuple[str, ...]:
        """Return the arguments that ask about one device."""
        return ("discovery", "-d", str(index), "-j")


def read_nvidia(text: str) -> tuple[Gpu, ...]:
    """Read the CSV of `nvidia-smi --query-gpu`: index, uuid, PCI address, MiB, name."""
    found = []
    for line in text.splitlines():
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split(",", 4)]
        if len(fields) != 5 or not fields[0].isdecimal():
            raise ValueError(f"no device: {_short(line)}")
        index, uuid, pci, memory, name = fields
        size = int(memory) * MIB if memory.isdecimal() else 0  # `[N/A]` where it shares the machine's memory
        found.append(_gpu(NVIDIA, int(index), name=name, size=size, pci=pci, uuid=uuid))
    return _all(found)


def read_rocm(text: str) -> tuple[Gpu, ...]:
    """Read the JSON of `rocm-smi`: an object for each `card<n>`, whose keys change their case between versions."""
    cards = _json(text)
    if not isinstance(cards, dict):
        raise ValueError(f"no object of cards: {_short(text)}")
    found = []
    for card, told in cards.items():
        number = re.fullmatch(r"card(\d+)", str(card))
        if number is None or not isinstance(told, dict):
            continue
        values = {str(key).lower(): str(value) for key, value in told.items()}
        name = _first(values, "card series", "device name", "card model")
        size = _first(values, "vram total memory (b)")
        found.append(
            _gpu(
                AMD,
                int(number.group(1)),
                name=name,
                size=int(size) if size.isdecimal() else 0,
                pci=_first(values, "pci bus"),
                uuid=_first(values, "unique id"),
            )
        )
    return _all(found)


def read_amd(text: str) -> tuple[Gpu, ...]:
    """Read the JSON of `amd-smi static`: a list of devices, or an object that holds it as `gpu_data`."""
    told = _json(text)
    if isinstance(told, dict):
        told = told.get("gpu_data")
    if not isinstance(told, list):
        raise ValueError(f"no list of devices: {_short(text)}")
    found = []
    for item in told:
        if not isinstance(item, dict) or not isinstance(item.get("gpu"), int):
            raise ValueError(f"no device: {_short(json.dumps(item))}")
        asic, bus, vram = (_part(item, name) for name in ("asic", "bus", "vram"))
        uuid = str(asic.get("asic_serial") or "")
        found.append(
            _gpu(
                AMD,
                item["gpu"],
                name=str(asic.get("market_name") or ""),
                size=_amount(vram.get("size", vram.get("size_mb"))),
                pci=str(bus.get("bdf") or ""),
                uuid="" if uuid == "N/A" else uuid,
            )
        )
    return _all(found)


def read_xpu(text: str) -> tuple[Gpu, ...]:
    """Read the JSON of `xpu-smi discovery`; virtual functions of a device are no devices."""
    told = _json(text)
    devices = told.get("device_list") if isinstance(told, dict) else None
    if not isinstance(devices, list):
        raise ValueError(
            str(told["error"]) if isinstance(told, dict) and "error" in told else f"no list: {_short(text)}"
        )
    found = []
    for item in devices:
        if not isinstance(item, dict) or not isinstance(item.get("device_id"), int):
            raise ValueError(f"no device: {_short(json.dumps(item))}")
        if item.get("device_function_type", "physical") == "physical":
            words = (item.get(name) or "" for name in ("device_name", "pci_bdf_address", "uuid"))
            name, pci, uuid = (str(word) for word in words)
            found.append(_gpu(INTEL, item["device_id"], name=name, size=0, pci=pci, uuid=uuid))
    return _all(found)


def read_xpu_memory(text: str) -> int:
    """Read a device's memory in bytes from `xpu-smi discovery -d`; 0 where it is not told."""
    told = _json(text)
    size = told.get("memory_physical_size_byte") if isinstance(told, dict) else None
    return int(size) if isinstance(size, int) or (isinstance(size, str) and size.isdecimal()) else 0


TOOLS = (
    Tool(
        NVIDIA,
        "nvidia-smi",
        ("--query-gpu=index,uuid,pci.bus_id,memory.total,name", "--format=csv,noheader,nounits"),
        read_nvidia,
    ),
    Tool(AMD, "amd-smi", ("static", "--asic", "--bus", "--vram", "--json"), read_amd),
    Tool(
        AMD,
        "rocm-smi",
        ("--showproductname", "--showbus", "--showuniqueid", "--showmeminfo", "vram", "--json"),
        read_rocm,
    ),
    Tool(INTEL, "xpu-smi", ("discovery", "-j"), read_xpu, read_xpu_memory),
)
"""In the order in which they are tried: the first of a vendor that answers speaks for it."""


def _gpu(vendor: str, index: int, *, name: str, size: int, pci: str, uuid: str) -> Gpu:
    clean = "".join(char for char in name if char.isprintable())[:NAME_CHARACTERS].strip()
    return Gpu(
        index=index, name=clean, vendor=vendor, memory_bytes=size, pci_address=pci.strip().lower(), uuid=uuid.strip()
    )


def _all(found: list[Gpu]) -> tuple[Gpu, ...]:
    if len(found) > MAX_GPUS:
        raise ValueError(f"{len(found)} devices are more than any machine has")
    if len({gpu.key for gpu in found}) != len(found):  # a tool that gives two devices one id: only their place differs
        found = [gpu.model_copy(update={"uuid": "", "pci_address": ""}) for gpu in found]
    if len({gpu.key for gpu in found}) != len(found):
        raise ValueError("two devices have one index")
    return tuple(sorted(found, key=lambda gpu: gpu.index))


def _json(text: str) -> Any:
    """Read the JSON in `text`, which warnings may precede."""
    try:
        return json.loads(text)
    except ValueError:
        for match in re.finditer(r"^\s*[\[{]", text, re.MULTILINE):
            try:
                return json.JSONDecoder().raw_decode(text[match.end() - 1 :])[0]
            except ValueError:
                continue
        raise ValueError(f"no JSON: {_short(text)}") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None


def _first(values: Mapping[str, str], *names: str) -> str:
    return next((values[name] for name in names if values.get(name) not in (None, "", "N/A")), "")


def _part(item: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def _amount(value: object) -> int:
    """Return bytes of `{"value": 16368, "unit": "MB"}`, of `"16368 MB"`, and of a bare number of MiB; else 0."""
    if isinstance(value, dict):
        number, unit = value.get("value"), str(value.get("unit") or "MB")
    elif isinstance(value, str) and (match := re.fullmatch(r"(\d+)\s*([A-Za-z]*)", value.strip())):
        number, unit = int(match.group(1)), match.group(2) or "MB"
    else:
        number, unit = value, "MB"
    return number * _UNITS.get(unit.upper(), 0) if isinstance(number, int) and number > 0 else 0


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line[:120] + ("…" if len(line) > 120 else ""))
