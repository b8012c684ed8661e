"""Which inputs a node holds, and what of that it tells when."""

import base64
from pathlib import Path

import pytest

from skrei_compute_agent.cached_files import CachedFiles, name_of
from skrei_compute_agent.held_inputs import ADDED_AT_ONCE, AGAIN_SECONDS, GONE_SECONDS, NOTED_FILES, HeldInputs
from skrei_domain import bloom
from skrei_domain.bounds import wrong_with_cached
from skrei_domain.messages import CachedInputs, DataRead
from skrei_domain.node import InputCache


class Node:
    """A cache with its list of inputs; the leader's copy of the filter beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()
        self.known = bytearray()

    def start(self) -> None:
        self.files = CachedFiles(self.folder / "cache", 10**9)
        self.files.open()
        self.held = HeldInputs(self.files, self.folder / "inputs")
        self.held.open()

    def bring(self, key: str, *files: str) -> None:
        for name in map(name_of, files):
            if not self.files.has(name):
                self.files.path(name).write_bytes(b"12345")
                self.files.add(name, 5)
                self.files.release(name)
        self.held.note(key, tuple(map(name_of, files)))

    def lose(self, file: str) -> None:
        self.files.path(name_of(file)).unlink()
        assert self.files.use(name_of(file)) is None

    def tell(self, now: float) -> CachedInputs | None:
        told = self.held.told(now)
        if told is not None:
            assert wrong_with_cached(told) == ""
            if told.filter is not None:
                self.known = bytearray(base64.b64decode(told.filter))
            else:
                bloom.put(self.known, (key for key, _ in told.added))
        return told


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def key(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


def test_the_first_word_is_a_filter_then_what_came_and_else_nothing(node: Node) -> None:
    node.bring(key(1), "a", "b")
    told = node.tell(0.0)
    assert told is not None
    assert told.filter is not None
    assert told.added == ((key(1), 10),)
    assert node.tell(5.0) is None
    node.bring(key(2), "c")
    assert node.tell(10.0) == CachedInputs(added=((key(2), 5),))
    node.bring(key(2), "c")  # asked for once more
    assert node.tell(15.0) is None
    node.held.greeted()
    told = node.tell(16.0)
    assert told is not None
    assert told.filter is not None
    assert all(bloom.has(node.known, key(number)) for number in (1, 2))


def test_what_is_gone_is_told_after_a_while(node: Node) -> None:
    node.bring(key(1), "a", "b")
    node.bring(key(2), "b")
    node.tell(0.0)
    node.lose("a")
    assert key(1) not in node.held
    assert key(2) in node.held
    assert node.tell(GONE_SECONDS - 1) is None
    assert node.tell(GONE_SECONDS) is not None
    assert [bloom.has(node.known, key(number)) for number in (1, 2)] == [False, True]


def test_much_at_once_is_told_as_a_filter_which_grows_with_what_is_held(node: Node) -> None:
    node.tell(0.0)
    for number in range(ADDED_AT_ONCE + 1):
        node.bring(key(number), "a")
    told = node.tell(1.0)
    assert told is not None
    assert told.filter is not None
    assert len(told.added) == ADDED_AT_ONCE
    assert len(node.known) == bloom.size_for(ADDED_AT_ONCE + 1)
    assert all(bloom.has(node.known, key(number)) for number in range(ADDED_AT_ONCE + 1))
    assert node.tell(AGAIN_SECONDS) is None
    assert node.tell(1.0 + AGAIN_SECONDS) is not None


def test_a_place_that_has_other_bytes_each_time_is_no_reason_to_come_here(node: Node) -> None:
    node.bring(key(1), "monday")
    node.bring(key(1), "tuesday")
    assert key(1) not in node.held
    node.bring(key(1), "wednesday")
    assert key(1) not in node.held
    node.bring(key(1), "wednesday")
    assert key(1) in node.held


def test_an_input_of_which_somebody_has_removed_a_file_by_hand_is_none(node: Node) -> None:
    node.bring(key(1), "a", "b")
    node.lose("a")
    node.held.note(key(1), (name_of("a"), name_of("b")))
    assert key(1) not in node.held


def test_a_restart_knows_what_is_here_still_and_forgets_what_is_not(node: Node) -> None:
    node.bring(key(1), "a")
    node.bring(key(2), "b")
    node.bring(key(3), *(f"large {number}" for number in range(NOTED_FILES + 1)))
    (node.files.path(name_of("b"))).unlink()
    with (node.folder / "inputs").open("a") as file:
        file.write('["cut o')
    node.start()
    assert [key(number) in node.held for number in (1, 2, 3)] == [True, False, False]


def test_news_are_called_out_once_for_each_input_that_came(node: Node) -> None:
    heard: list[int] = []
    node.held.news = lambda: heard.append(1)
    node.bring(key(1), "a")
    node.bring(key(1), "a")
    node.bring(key(2), "a")
    assert len(heard) == 2


def test_an_empty_cache_is_told_once(node: Node) -> None:
    told = node.tell(0.0)
    assert told is not None
    assert not any(base64.b64decode(told.filter or ""))
    assert node.tell(2 * AGAIN_SECONDS) is None


def test_what_a_cache_was_good_for_is_added_up(node: Node) -> None:
    node.bring(key(1), "a", "b")
    node.held.count(DataRead(local=70, moved=10, cached=0))
    node.held.count(DataRead(local=110, moved=0, cached=10, hits=2))
    assert node.held.state() == InputCache(
        files=2, size_bytes=10, limit_bytes=10**9, inputs=1, hits=2, saved_bytes=10, fetched_bytes=10
    )


def test_what_the_daemon_of_the_machine_has_pinned_is_told_with_the_filter_as_long_as_it_is(node: Node) -> None:
    node.bring(key(1), "a")
    node.tell(0.0)
    heard: list[None] = []
    node.held.news = lambda: heard.append(None)
    node.held.pin([key(7), key(8)])
    assert node.held.state().pinned == 2
    told = node.tell(1.0)
    assert told is not None
    assert all(bloom.has(node.known, key(number)) for number in (1, 7, 8))
    node.held.pin([key(8), key(7)])
    assert (node.tell(2.0), len(heard)) == (None, 1), "that is no news"
    node.held.pin([])
    node.tell(3.0)
    assert not bloom.has(node.known, key(7))
    assert bloom.has(node.known, key(1))


def test_pins_never_take_the_room_of_the_cache(node: Node) -> None:
    node.held.pin(key(number) for number in range(10, 3 * bloom.MOST_KEYS))
    node.bring(key(1), "a")
    told = node.tell(0.0)
    assert told is not None
    assert len(node.known) == bloom.MOST_BYTES
    assert bloom.has(node.known, key(1))
