"""Whose turn it is of staged results: the slow, the broken and the many hold up nobody else."""

from skrei_domain.messages import StagedResult
from skrei_publisher.turns import AT_ONCE, FIRST_PAUSE_SECONDS, IN_ALL, LONGEST_PAUSE_SECONDS, MOST_WAITING, Turn, Turns


def turn(name: str, destination: str = "", publisher: str = "s3") -> Turn:
    staged = StagedResult(execution_id=name, digest="sha256:a", size=1, publisher=publisher, destination=destination)
    return Turn(staged, True)


def added(turns: Turns, count: int, destination: str) -> list[bool]:
    return [turns.add(turn(f"{destination}-{number}", destination), 0.0) for number in range(count)]


def test_one_server_that_hangs_leaves_the_others_of_its_plugin_their_turn() -> None:
    turns = Turns()
    added(turns, AT_ONCE + 5, "s3://away")
    assert len(turns.next()) == AT_ONCE
    added(turns, 1, "s3://well")
    assert [each.destination for each in turns.next()] == ["s3://well"]
    assert turns.next() == []


def test_so_many_of_one_destination_wait_that_room_is_left_for_others() -> None:
    turns = Turns()
    assert added(turns, MOST_WAITING + 1, "s3://away") == [True] * MOST_WAITING + [False]
    assert turns.add(turn("s3://away-0", "s3://away"), 0.0), "it waits already"
    assert added(turns, 1, "s3://well") == [True]
    assert turns.waiting == MOST_WAITING + 1


def test_every_destination_has_a_turn_before_any_has_another() -> None:
    turns = Turns()
    for destination in range(IN_ALL):
        added(turns, 2, f"s3://{destination}")
    first = turns.next()
    assert len({each.destination for each in first}) == len(first) == IN_ALL
    for each in first:
        turns.ended(each.staged.execution_id)
    assert len(turns.next()) == IN_ALL
    assert turns.waiting == 0


def test_what_nobody_named_a_destination_for_is_its_publishers() -> None:
    assert turn("e-1").destination == "s3"


def test_what_is_under_way_is_not_begun_twice() -> None:
    turns = Turns()
    assert turns.add(turn("e-1"), 0.0)
    assert len(turns.next()) == 1
    assert turns.add(turn("e-1"), 0.0)
    assert turns.next() == []


def test_what_fails_is_tried_after_longer_and_longer_pauses_and_anew_once_it_has_ended() -> None:
    turns, now, pauses = Turns(), 0.0, []
    for _ in range(8):
        began = now
        turns.add(turn("e-1"), now)
        (one,) = turns.next()
        turns.failed(one.staged.execution_id, now)
        while not turns.waiting:
            now += 0.5
            turns.add(turn("e-1"), now)
        pauses.append(now - began)
        turns.next()
        turns._busy.clear()
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    turns.ended("e-1")
    assert turns.add(turn("e-1"), now)
    assert turns.waiting == 1
