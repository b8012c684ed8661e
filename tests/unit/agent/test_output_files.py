"""Following the output of a start, whose files are made with the first byte of each stream."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from skrei_compute_agent.folders import Places
from skrei_compute_agent.output_files import OutputFiles
from skrei_domain.messages import LogRequest


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def following(stack: ExitStack, **given: object) -> OutputFiles:
    return OutputFiles(LogRequest.model_validate({"request_id": "r", "execution_id": "e-1", **given}), stack)


def said(output: OutputFiles) -> dict[int, bytes]:
    return {number: stream.file.read() for number, stream in output.streams.items()}


def test_a_stream_is_followed_from_when_it_begins(stack: ExitStack, tmp_path: Path) -> None:
    output, places = following(stack), Places(tmp_path)
    output.look(None)
    output.look(places)
    assert said(output) == {}
    places.stderr.write_bytes(b"warned")
    output.look(places)
    assert said(output) == {2: b"warned"}
    places.stdout.write_bytes(b"said")
    output.look(places)
    assert said(output) == {2: b"", 1: b"said"}


@pytest.mark.parametrize(("asked", "first"), [({"tail": True}, b""), ({"lines": 1}, b"2\n"), ({}, b"1\n2\n")])
def test_what_was_there_at_the_first_look_is_read_as_asked_and_what_came_later_whole(
    stack: ExitStack, tmp_path: Path, asked: dict[str, object], first: bytes
) -> None:
    output, places = following(stack, **asked), Places(tmp_path)
    places.stdout.write_bytes(b"1\n2\n")
    output.look(places)
    places.stderr.write_bytes(b"a\nb\n")
    output.look(places)
    assert said(output) == {1: first, 2: b"a\nb\n"}


def test_a_reader_stays_with_the_start_that_it_found(stack: ExitStack, tmp_path: Path) -> None:
    output, old, new = following(stack), Places(tmp_path / "1"), Places(tmp_path / "2")
    for places in (old, new):
        places.work.mkdir()
        places.stdout.write_bytes(places.work.name.encode())
    output.look(old)
    output.look(new)
    assert said(output) == {1: b"1"}
