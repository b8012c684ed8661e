"""By which variables a script sees the GPUs that it was given, and no others. Pure.

They keep honest programs apart; one that unsets them sees every device, as there is no isolation.
"""

from collections.abc import Iterable

from skrei_domain.node import Gpu

VISIBLE = {
    "nvidia": ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    "amd/ati": ("ROCR_VISIBLE_DEVICES",),
    "intel": ("ZE_AFFINITY_MASK",),
}
"""What the vendors' libraries read, by vendor."""


def visible(gpus: Iterable[Gpu]) -> dict[str, str]:
    """Return the variables that name these devices: NVIDIA's by their ids, which are the same for every program."""
    names: dict[str, list[str]] = {}
    for gpu in gpus:
        vendor = gpu.vendor.casefold()
        for variable in VISIBLE.get(vendor, ()):
            names.setdefault(variable, []).append((vendor == "nvidia" and gpu.uuid) or str(gpu.index))
    return {variable: ",".join(devices) for variable, devices in names.items()}
