import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei.cli.lines import Lines
from skrei.cli.screen import Screen, Told


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=[io.BytesIO, Terminal])
def out(request: pytest.FixtureRequest) -> io.BytesIO:
    buffer: io.BytesIO = request.param()
    return buffer


def screen_on(out: io.BytesIO, *, many: bool = False) -> Screen:
    return Screen(many=many, before=lambda: None, streams=(out, io.BytesIO()))


def told(out: io.BytesIO, *, many: bool = False) -> Told:
    return Told(screen_on(out, many=many), 2)


def test_what_came_live_is_not_shown_again_and_the_rest_is(out: io.BytesIO) -> None:
    one = told(out)
    at = one.live(1, 0, "first ")
    at = one.live(1, at, "sécond ")
    one.live(1, 0, "first ")  # the stream was opened again
    one.live(1, 6, "sécond third ")
    one.rest(1, 0, "first sécond third fourth".encode())
    assert out.getvalue().decode() == "first sécond third fourth"


def test_bytes_that_are_no_text_come_exactly_from_the_result_where_no_person_looks() -> None:
    out = io.BytesIO()
    one = told(out)
    at = one.live(1, 0, "a\N{REPLACEMENT CHARACTER}b")
    one.live(1, at, "never shown")
    assert out.getvalue() == b"a"
    one.rest(1, 0, b"a\xffb and more")
    assert out.getvalue() == b"a\xffb and more"


@pytest.mark.parametrize("plain", ["1", ""])
def test_several_partitions_show_whole_lines_and_their_number_on_a_terminal(
    out: io.BytesIO, plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", plain)
    monkeypatch.setenv("TERM", "xterm")
    one = told(out, many=True)
    one.live(1, 0, "half")
    assert out.getvalue() == b""
    one.live(1, 4, " line\nlast")
    one.end()
    prefix = ("[2] " if plain else "\x1b[36m[2]\x1b[0m ") if out.isatty() else ""
    assert out.getvalue().decode() == f"{prefix}half line\n{prefix}last\n"


def test_a_program_on_a_shared_terminal_cannot_speak_to_it_and_its_neighbour_breaks_no_character() -> None:
    out = Terminal()
    screen = screen_on(out, many=True)
    first, second = Told(screen, "a"), Told(screen, "b 1")
    first.whole(1, 0, "ø".encode()[:1])
    second.whole(1, 0, b"\x1b[2J\n")
    first.whole(1, 1, "ø".encode()[1:] + b"\n")
    shown = out.getvalue().decode()
    assert [line.rpartition("] ")[2] for line in shown.replace("\x1b[0m", "").splitlines()] == ["^[[2J", "ø"]
    assert "[a]" in shown
    assert "[b 1]" in shown


@given(st.lists(st.binary(max_size=9)))
def test_lines_lose_nothing_whatever_the_pieces(pieces: list[bytes]) -> None:
    lines = Lines(b"")
    shown = b"".join(map(lines.take, pieces)) + lines.rest()
    whole = b"".join(pieces)
    assert shown == (whole if not whole or whole.endswith(b"\n") else whole + b"\n")


def test_a_closed_screen_says_nothing_more(out: io.BytesIO) -> None:
    screen = screen_on(out)
    screen.write(1, b"a")
    screen.close()
    screen.write(1, b"b")
    assert out.getvalue() == b"a"
