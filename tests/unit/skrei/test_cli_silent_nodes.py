"""`skrei logs -f` of several partitions, one of whose nodes is silent: what it had sent, and once why no more comes."""

import threading
from collections.abc import Callable, Iterator

import pytest

from skrei.cli import live_logs
from skrei.cli.live_logs import LiveLogs
from skrei.cli.screen import Screen, Told
from skrei.errors import LogsFailed
from skrei.log_query import LogQuery
from skrei.log_units import speaks
from skrei.views import Execution, LogLine
from tests.support.fake_api import execution


@pytest.mark.parametrize(
    ("number", "state", "expected"),
    [(6, "Running", True), (6, "Unknown", True), (6, "Stopping", True), (5, "Unknown", False), (5, "Staging", False)],
)
def test_what_ran_when_its_node_fell_silent_is_attended(number: int, state: str, expected: bool) -> None:
    assert speaks(Execution.parse(execution(1, state=number, State=state))) is expected


def test_what_was_sent_is_shown_once_and_once_why_no_more_comes(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    opened = []
    enough = threading.Event()

    def frames(endpoint: str, query: LogQuery) -> Iterator[LogLine]:
        opened.append(query)
        if len(opened) == 5:
            enough.set()
        yield LogLine(1, "sent\n")
        raise LogsFailed("its node does not answer")

    monkeypatch.setattr(live_logs, "frames", frames)
    monkeypatch.setattr(live_logs, "AGAIN_SECONDS", 0.001)
    told: list[str] = []
    thread = LiveLogs(
        "http://x", LogQuery("j-1", "e-1"), Told(Screen(many=False, before=lambda: None), "0"), told.append
    )
    thread.start()
    assert enough.wait(30)
    thread.finish()
    assert told == ["its node does not answer"]
    assert capfdbinary.readouterr().out == b"sent\n"


class Pauses(threading.Event):
    """Passes every pause at once, and keeps how long it was to be."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.asked: list[float] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout or 0.0)
        if len(self.asked) == self._most:
            self.set()
        return self.is_set()


def failing(monkeypatch: pytest.MonkeyPatch, frames: Callable[..., Iterator[LogLine]], times: int) -> list[float]:
    """The pauses of a stream that fails so often."""
    monkeypatch.setattr(live_logs, "frames", frames)
    thread = LiveLogs("http://x", LogQuery("j-1", "e-1"), Told(Screen(many=False, before=lambda: None), "0"))
    thread._over = pauses = Pauses(times)
    thread.run()
    return pauses.asked


def test_a_node_that_is_silent_for_days_is_asked_at_an_even_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    def frames(endpoint: str, query: LogQuery) -> Iterator[LogLine]:
        raise LogsFailed("its node does not answer")

    asked = failing(monkeypatch, frames, 1100)
    assert (asked[:6], set(asked[6:]), len(asked)) == ([0.5, 1, 2, 4, 8, 8], {live_logs.LONGEST_AGAIN_SECONDS}, 1100)


def test_a_stream_that_told_something_is_opened_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["", "", "one", "one", "one two"]

    def frames(endpoint: str, query: LogQuery) -> Iterator[LogLine]:
        yield LogLine(1, said.pop(0))
        raise LogsFailed("its node does not answer")

    assert failing(monkeypatch, frames, len(said)) == [0.5, 1, 0.5, 1, 0.5]
