import pytest

from skrei_compute_agent.gpu_ledger import GpuLedger
from skrei_domain.node import Gpu

NVIDIA = tuple(Gpu(index=number, uuid=f"n{number}", vendor="NVIDIA") for number in range(3))
AMD = tuple(Gpu(index=number, uuid=f"a{number}", vendor="AMD/ATI") for number in range(2))


def keys(gpus: tuple[Gpu, ...]) -> list[str]:
    return [gpu.key for gpu in gpus]


def test_a_device_has_one_holder_until_it_is_given_back() -> None:
    ledger = GpuLedger(NVIDIA)
    assert keys(ledger.take("e-1", 2)) == ["n0", "n1"]
    with pytest.raises(ValueError, match="2 GPUs are wanted, 1 are free"):
        ledger.take("e-2", 2)
    ledger.give("e-1")
    assert keys(ledger.take("e-2", 3)) == ["n0", "n1", "n2"]
    ledger.check()


def test_devices_of_one_vendor_go_together_and_of_the_one_with_the_fewest_to_spare() -> None:
    ledger = GpuLedger((*NVIDIA, *AMD))
    assert keys(ledger.take("e-1", 2)) == ["a0", "a1"]
    assert keys(ledger.take("e-2", 1)) == ["n0"]


def test_devices_of_several_vendors_serve_where_one_has_too_few() -> None:
    assert len(GpuLedger((*NVIDIA, *AMD)).take("e-1", 5)) == 5


def test_what_an_execution_had_before_it_gets_again() -> None:
    ledger = GpuLedger(NVIDIA)
    assert keys(ledger.take("e-1", 1, wanted=["n2"])) == ["n2"]
    assert keys(ledger.take("e-2", 1, wanted=["n2"])) == ["n0"]


def test_a_device_that_goes_while_it_is_held_stays_held_and_comes_back_free() -> None:
    ledger = GpuLedger(NVIDIA)
    ledger.take("e-1", 1)
    ledger.update(NVIDIA[1:])
    assert keys(ledger.free) == ["n1", "n2"]
    ledger.check()
    ledger.give("e-1")
    ledger.update(NVIDIA)
    assert keys(ledger.free) == ["n0", "n1", "n2"]
