"""Multiply matrices on the GPU that this run was given: `matrix.py [SIZE] [SECONDS]`, with PyTorch or else CuPy.

It says which device that is, how fast it was, and from when to when it had it, and compares some numbers of the
product with the same sums on the processor.
"""

import importlib.util
import os
import sys
import time
from typing import Any, NamedTuple

COMPARED = 8
"""Rows and columns of the product that are summed up again on the processor."""


class Device(NamedTuple):
    """What is used of a GPU: its name, how many are seen, random matrices, and how to wait until its work is done."""

    name: str
    seen: int
    library: str
    random: Any
    wait: Any
    numbers: Any


def with_torch() -> Device:
    """The first GPU that PyTorch sees. Raises RuntimeError where it sees none."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no GPU")
    torch.manual_seed(7)
    return Device(
        torch.cuda.get_device_name(0),
        torch.cuda.device_count(),
        f"PyTorch {torch.__version__}",
        lambda size: torch.rand(size, size, device="cuda"),
        torch.cuda.synchronize,
        lambda matrix: matrix.cpu().double().numpy(),
    )


def with_cupy() -> Device:
    """The first GPU that CuPy sees. Raises RuntimeError where it sees none."""
    import cupy

    if not cupy.cuda.is_available():
        raise RuntimeError("CuPy sees no GPU")
    cupy.random.seed(7)
    return Device(
        cupy.cuda.runtime.getDeviceProperties(0)["name"].decode(),
        cupy.cuda.runtime.getDeviceCount(),
        f"CuPy {cupy.__version__}",
        lambda size: cupy.random.random((size, size), dtype=cupy.float32),
        cupy.cuda.Stream.null.synchronize,
        lambda matrix: matrix.get().astype("float64"),
    )


def device() -> Device:
    """Return a GPU by the first library that is there."""
    for library, found in {"torch": with_torch, "cupy": with_cupy}.items():
        if importlib.util.find_spec(library) is not None:
            return found()
    raise RuntimeError(f"{sys.prefix} has neither PyTorch nor CuPy")


def main() -> None:
    """Multiply for so many seconds."""
    size, seconds = int((sys.argv[1:2] or ["8192"])[0]), float((sys.argv[2:3] or ["2"])[0])
    began = time.time()
    gpu = device()
    assigned = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    print(f"device: {gpu.name}, {gpu.seen} seen with {gpu.library}")
    print(f"assigned: CUDA_VISIBLE_DEVICES={assigned}")
    left, right = gpu.random(size), gpu.random(size)
    product = left @ right  # the first one loads the library's programs
    gpu.wait()
    products, started = 0, time.perf_counter()
    while not products or time.perf_counter() - started < seconds:
        product = left @ right
        gpu.wait()
        products += 1
    took = (time.perf_counter() - started) / products
    print(f"product of {size} x {size} matrices: {1000 * took:.3f} ms, {2 * size**3 / took / 1e12:.1f} TFLOP/s")
    exact = gpu.numbers(left[:COMPARED]) @ gpu.numbers(right[:, :COMPARED])
    off = abs(gpu.numbers(product[:COMPARED, :COMPARED]) / exact - 1).max()
    print(f"compared with the processor: off by {off:.1e} at most")
    print(f"held from {began:.3f} to {time.time():.3f}")
    if off > 1e-2:
        sys.exit("the GPU works out something else than the processor")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"no product: {error}")
