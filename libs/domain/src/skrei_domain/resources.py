"""Amounts: how much of a machine something needs or has, parsed from text and added exactly (integers only)."""

import re
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor

from pydantic import BaseModel, ConfigDict


class Resources(BaseModel):
    """An amount of CPU (thousandths of a core), memory and disk (bytes) and whole GPUs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    gpu: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources.model_construct(
            cpu_milli=self.cpu_milli + other.cpu_milli,
            memory_bytes=self.memory_bytes + other.memory_bytes,
            disk_bytes=self.disk_bytes + other.disk_bytes,
            gpu=self.gpu + other.gpu,
        )

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources.model_construct(
            cpu_milli=self.cpu_milli - other.cpu_milli,
            memory_bytes=self.memory_bytes - other.memory_bytes,
            disk_bytes=self.disk_bytes - other.disk_bytes,
            gpu=self.gpu - other.gpu,
        )

    def fits(self, room: "Resources") -> bool:
        """Whether this amount fits into `room`."""
        return (
            self.cpu_milli <= room.cpu_milli
            and self.memory_bytes <= room.memory_bytes
            and self.disk_bytes <= room.disk_bytes
            and self.gpu <= room.gpu
        )

    def vector(self) -> tuple[int, int, int, int]:
        """The four amounts in the order of the node matrix: cpu, memory, disk, gpu."""
        return (self.cpu_milli, self.memory_bytes, self.disk_bytes, self.gpu)


KEPT_AMOUNTS = 512
"""Texts whose amount is kept: people write few different ones, and API, planner and node each read every job's."""

_NUMBER = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_CPU = re.compile(_NUMBER + r"(?:e([+-]?[0-9]{1,3})|([numk]?))")
_CPU_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3}
_BYTES = re.compile(_NUMBER + r"([a-z]*)")
_COMMAS = re.compile(r"([0-9]{1,3}(?:,[0-9]{3})+)(\.[0-9]*)?([a-z]*)")
_SHARE = re.compile(_NUMBER + "%")
_UNITS: dict[str, int] = {"": 1, "b": 1} | {
    unit + tail: base**power
    for power, unit in enumerate("kmgtpe", start=1)
    for base, tails in ((1000, ("", "b")), (1024, ("i", "ib")))
    for tail in tails
}


@lru_cache(KEPT_AMOUNTS)
def parse_cpu(text: str) -> int:
    """Return thousandths of a core from a Kubernetes quantity (`500m`, `2`, `1.5`); finer than a thousandth rounds up.

    The rarer forms of a quantity count too (`250000u`, `1e3m` does not). Raises ValueError with what is allowed.
    """
    match = _CPU.fullmatch("".join(text.split()).lower())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of CPU: use cores (`2`, `1.5`) or thousandths (`500m`)")
    number, exponent, unit = match.groups()
    power = 3 + (int(exponent) if exponent else _CPU_POWERS[unit or ""])
    scale: int = 10 ** abs(power)
    cores = Fraction(number)
    return ceil(cores * scale if power >= 0 else cores / scale)


@lru_cache(KEPT_AMOUNTS)
def parse_bytes(text: str) -> int:
    """Return bytes from `512Mb` (10⁶), `1GiB` or `1Gi` (2³⁰), or plain digits (`1,024`); letters in any case.

    Less than a byte is left out. Raises ValueError with what is allowed.
    """
    cleaned = "".join(text.split()).lower()
    if _COMMAS.fullmatch(cleaned):
        cleaned = cleaned.replace(",", "")
    match = _BYTES.fullmatch(cleaned)
    if match is None or match.group(2) not in _UNITS:
        raise ValueError(f"{text!r} is not an amount of bytes: use digits with an optional unit (`512Mb`, `1GiB`)")
    return floor(Fraction(match.group(1)) * _UNITS[match.group(2)])


def parse_share(text: str) -> Fraction | None:
    """Return the share that `80%` is of a whole; None for a text that is none. Raises ValueError beyond 0 to 100 %."""
    match = _SHARE.fullmatch("".join(text.split()))
    if match is None:
        return None
    share = Fraction(match.group(1)) / 100
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} is no share: use more than `0%`, at most `100%`")
    return share


def parse_gpu(text: str) -> int:
    """Return a whole number of GPUs. Raises ValueError with what is allowed."""
    cleaned = text.strip()
    if not (cleaned.isascii() and cleaned.isdecimal()):
        raise ValueError(f"{text!r} is not a number of GPUs: use a whole number (`1`)")
    return int(cleaned)
