"""What the publisher is told fits into messages, however long the places of results are."""

from skrei_domain.bounds import MOST_PLACE
from skrei_domain.messages import PublisherCommand, StagedResult
from skrei_scheduler.sender import BATCH_BYTES, in_messages


def staged(number: int) -> StagedResult:
    place = "x" * MOST_PLACE
    return StagedResult(execution_id=f"e-{number}", digest="sha256:a", size=1, publisher="s3", place=place)


def test_what_is_small_is_one_message() -> None:
    command = PublisherCommand(finalise=(staged(1),), drop=("e-2",))
    assert list(in_messages(command, BATCH_BYTES)) == [command]


def test_the_longest_places_of_a_whole_sweep_go_in_several_and_none_is_lost() -> None:
    command = PublisherCommand(finalise=tuple(map(staged, range(400))), keep=tuple(map(staged, range(400, 500))))
    parts = list(in_messages(command, BATCH_BYTES))
    assert all(len(part.model_dump_json()) <= BATCH_BYTES for part in parts)
    assert tuple(each for part in parts for each in part.finalise) == command.finalise
    assert tuple(each for part in parts for each in part.keep) == command.keep


def test_one_that_is_too_large_alone_goes_as_it_is() -> None:
    command = PublisherCommand(finalise=(staged(1),))
    assert list(in_messages(command, 100)) == [command]
