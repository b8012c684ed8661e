"""Limits that hold for a while."""

import contextlib
import resource
from collections.abc import Iterator

import pytest

from skrei_plugin_wasm.limits import soft_limit

KIND = resource.RLIMIT_FSIZE


@pytest.fixture
def owners() -> Iterator[tuple[int, int]]:
    """What the node's owner has set: less than is allowed."""
    before = resource.getrlimit(KIND)
    hard = before[1]
    yield (2**40 if hard == resource.RLIM_INFINITY else hard // 2, hard)
    resource.setrlimit(KIND, before)


def test_a_limit_is_afterwards_what_the_owner_had_set(owners: tuple[int, int]) -> None:
    resource.setrlimit(KIND, owners)
    with contextlib.suppress(ZeroDivisionError), soft_limit(KIND, 2**30):
        assert resource.getrlimit(KIND) == (2**30, owners[1])
        raise ZeroDivisionError
    assert resource.getrlimit(KIND) == owners
