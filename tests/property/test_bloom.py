"""Filters of keys: whatever was put in is found, little else is, and none is larger than a heartbeat may carry."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from skrei_domain import bloom

keys = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")


def digests(of: str, count: int) -> list[str]:
    return [hashlib.sha256(f"{of} {number}".encode()).hexdigest()[: bloom.KEY_CHARACTERS] for number in range(count)]


@given(st.lists(keys, max_size=300), st.lists(keys, max_size=50))
def test_what_was_put_in_is_found_at_once_or_later(first: list[str], later: list[str]) -> None:
    made = bytearray(bloom.build(first))
    bloom.put(made, later)
    assert all(bloom.has(made, key) for key in (*first, *later))


@given(st.integers(0, 10 * bloom.MOST_KEYS))
def test_a_filter_has_room_for_its_keys_and_no_more_than_is_allowed(count: int) -> None:
    size = bloom.size_for(count)
    assert bloom.is_size(size)
    assert size * 8 >= min(count, bloom.MOST_KEYS) * bloom.BITS_A_KEY
    assert size == bloom.LEAST_BYTES or size * 4 <= count * bloom.BITS_A_KEY


@given(keys, st.sampled_from([bloom.LEAST_BYTES << step for step in range(7)]))
def test_the_bits_of_a_key_are_its_own_and_lie_inside(key: str, size: int) -> None:
    found = bloom.places(key, size)
    assert len(set(found)) == bloom.HASHES
    assert all(0 <= place < size * 8 for place in found)
    assert bloom.is_key(key)


def test_of_a_thousand_keys_that_are_not_there_one_seems_to_be_at_most() -> None:
    for count in (32, 128, 1024, bloom.MOST_KEYS):
        made = bloom.build(digests("in", count))
        wrong = sum(bloom.has(made, key) for key in digests("out", 20_000))
        assert wrong <= 20, f"{wrong} of 20,000 beside {count}"


def test_the_largest_filter_is_what_a_heartbeat_may_carry() -> None:
    assert len(bloom.build(digests("in", 2 * bloom.MOST_KEYS))) == bloom.MOST_BYTES == 16 * 1024
