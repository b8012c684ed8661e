"""Which images a daemon runs: its own platform's, those that its processor runs too, and what its owner adds. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_ALSO = {"amd64": ("386",), "arm64": ("arm",)}
"""What processors run besides their own; variants of one are not told apart, as old ones run on newer processors."""
_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}


class Platform(NamedTuple):
    """An operating system and a processor, in Docker's words."""

    os: str
    arch: str

    def __str__(self) -> str:
        return f"{self.os}/{self.arch}"


def read(text: str) -> Platform:
    """Return the platform that `linux/arm64` or `linux/arm/v7` names."""
    system, _, arch = text.strip().lower().partition("/")
    arch = arch.partition("/")[0]
    return Platform(system, _NAMES.get(arch, arch))


def of_image(image: Mapping[str, Any]) -> Platform | None:
    """Return the platform of an image as the daemon knows it; None where it does not say."""
    system, arch = str(image.get("Os") or ""), str(image.get("Architecture") or "")
    return read(f"{system}/{arch}") if system and arch else None


def of_registry(answer: Mapping[str, Any]) -> list[Platform]:
    """Return the platforms that a registry has an image for; none where it does not say."""
    told = answer.get("Platforms") or ()
    found = [read(f"{one.get('os') or ''}/{one.get('architecture') or ''}") for one in told]
    return [one for one in found if one.os not in ("", "unknown") and one.arch not in ("", "unknown")]


def suits(platforms: Iterable[Platform], own: Platform, more: Iterable[str] = ()) -> bool:
    """Whether an image for one of `platforms` runs here; `more` are what the owner has an emulator for."""
    here = {own, *(Platform(own.os, arch) for arch in _ALSO.get(own.arch, ())), *map(read, more)}
    return any(one in here for one in platforms)
