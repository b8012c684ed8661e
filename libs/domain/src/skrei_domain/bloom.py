"""Which of many keys somebody has, in few bytes: a Bloom filter. Pure.

What was put into a filter is always found in it; what was not is found by mistake now and then: with `BITS_A_KEY` bits
for each key, less than once in a thousand times. Keys are digests already, so that their own bits say where they lie.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache

LEAST_BYTES = 256
"""Of the smallest filter: 128 keys. In smaller ones the bits of two keys fall on each other too often."""
MOST_BYTES = 16 * 1024
"""Of the largest: what one heartbeat of a node may carry."""
BITS_A_KEY = 16
"""At least: with `HASHES` of them looked at, 7 of 10,000 keys that are not there seem to be."""
MOST_KEYS = MOST_BYTES * 8 // BITS_A_KEY
"""In the largest filter."""
HASHES = 7
KEY_CHARACTERS = 16
"""Of a key: hexadecimal, 64 bits."""


def size_for(keys: int) -> int:
    """Return how many bytes a filter of so many keys has: a power of two, and `MOST_BYTES` for what is too much."""
    wanted = -(-min(max(keys, 1), MOST_KEYS) * BITS_A_KEY // 8)
    return max(LEAST_BYTES, 1 << (wanted - 1).bit_length())


def is_size(size: int) -> bool:
    """Whether a filter can have so many bytes."""
    return LEAST_BYTES <= size <= MOST_BYTES and size & (size - 1) == 0


def is_key(text: str) -> bool:
    """Whether `text` is a key."""
    return len(text) == KEY_CHARACTERS and all(character in "0123456789abcdef" for character in text)


@lru_cache(maxsize=4096)
def places(key: str, size: int) -> tuple[int, ...]:
    """Return which bits of a filter of `size` bytes stand for a key."""
    number = int(key, 16)
    first, step, bits = number & 0xFFFFFFFF, number >> 32 | 1, size * 8
    return tuple((first + turn * step) % bits for turn in range(HASHES))


def build(keys: Collection[str]) -> bytes:
    """Return the filter of some keys."""
    made = bytearray(size_for(len(keys)))
    put(made, keys)
    return bytes(made)


def put(filter_: bytearray, keys: Iterable[str]) -> None:
    """Add keys to a filter."""
    size = len(filter_)
    for key in keys:
        for place in places(key, size):
            filter_[place >> 3] |= 1 << (place & 7)


def has(filter_: bytes | bytearray, key: str) -> bool:
    """Whether a key was put into a filter; seldom also for one that was not."""
    return all(filter_[place >> 3] >> (place & 7) & 1 for place in places(key, len(filter_)))
