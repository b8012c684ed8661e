import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei.cli import flags
from skrei.cli.grammar import Argument, Command, HelpWanted, Misuse, Option, read
from skrei.cli.help import command_help

RUN = Command(
    "docker run",
    "Run.",
    "nowhere:at_all",
    (
        flags.texts("--env", "K=V", "A variable.", "-e"),
        flags.text("--memory", "SIZE", "Memory.", "-m"),
        flags.integer("--count", "Partitions.", default=1, least=1),
        flags.seconds("--wait-timeout-secs", "A limit."),
        flags.flag("--wait", "Stay.", default=True),
        flags.flag("--quiet", "Say nothing.", "-q"),
        flags.flag("--verbose", "Say more.", "-V"),
        Option(("--pull",), "When.", choices=("always", "never"), default=""),
    ),
    (Argument("IMAGE", "the image"), Argument("COMMAND", "what to run", rest=True)),
)
SHOW = Command("show", "Show.", "nowhere:at_all", (flags.OUTPUT,), (Argument("JOB", "a job", default="-"),))


def test_options_are_read_in_every_spelling() -> None:
    spellings = (["--memory", "1Gi"], ["--memory=1Gi"], ["-m", "1Gi"], ["-m1Gi"], ["-m=1Gi"], ["-qm", "1Gi"])
    for words in spellings:
        assert read(RUN, [*words, "ubuntu"]).text("memory") == "1Gi", words


@pytest.mark.parametrize(
    ("said", "seconds"), [("90", 90), ("0.5", 0.5), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1D", 86400)]
)
def test_a_time_is_a_number_of_seconds_or_has_its_unit(said: str, seconds: float) -> None:
    assert read(RUN, ["--wait-timeout-secs", said, "ubuntu"]).seconds("wait-timeout-secs") == seconds


@pytest.mark.parametrize("said", ["", "m", "5 minutes", "-5m", "nan", "inf", "5x"])
def test_another_time_is_none(said: str) -> None:
    with pytest.raises(Misuse, match=r"not a time like|at least"):
        read(RUN, ["--wait-timeout-secs", said, "ubuntu"])


def test_flags_are_given_taken_back_and_said_as_others_say_them() -> None:
    for words, wait in (([], True), (["--wait"], True), (["--no-wait"], False), (["--wait=false"], False)):
        assert read(RUN, [*words, "ubuntu"]).flag("wait") is wait
    values = read(RUN, ["-qV", "ubuntu"])
    assert (values.flag("quiet"), values.flag("verbose")) == (True, True)


def test_an_option_that_repeats_keeps_every_text_and_the_last_of_the_others() -> None:
    values = read(RUN, ["-e", "A=1", "--env=B=2", "--count", "2", "--count", "3", "ubuntu"])
    assert (values.texts("env"), values.integer("count")) == (("A=1", "B=2"), 3)
    assert values.given == {"env", "count", "IMAGE"}


@given(st.lists(st.text(min_size=0, max_size=8)))
def test_what_follows_the_image_belongs_to_the_program(rest: list[str]) -> None:
    values = read(RUN, ["-q", "ubuntu", *rest])
    assert (values.text("IMAGE"), values.texts("COMMAND")) == ("ubuntu", tuple(rest))


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_call_is_read_refused_or_answered_with_help(words: list[str]) -> None:
    for command in (RUN, SHOW):
        told = _told(command, words)
        assert told == "" or told.startswith(f"skrei {command.name}: ")


def _told(command: Command, words: list[str]) -> str:
    """What a call is refused with; empty for one that is read, or answered with the help."""
    try:
        read(command, words)
    except HelpWanted:
        return ""
    except Misuse as error:
        return error.message if error.hint else "no hint"
    return ""


def test_after_two_dashes_everything_is_an_argument() -> None:
    assert read(RUN, ["-q", "--", "-image", "-e"]).texts("COMMAND") == ("-e",)
    assert read(SHOW, ["--", "-x"]).text("JOB") == "-x"


def test_options_may_follow_an_argument_where_no_program_is_run() -> None:
    values = read(SHOW, ["j-1", "-o", "json"])
    assert (values.text("JOB"), values.text("output")) == ("j-1", "json")
    assert read(SHOW, []).text("JOB") == "-"


@pytest.mark.parametrize(
    ("words", "what", "todo"),
    [
        (["--memroy", "1Gi", "x"], "there is no --memroy.", "Did you mean --memory? All options"),
        (["--frob", "x"], "there is no --frob.", "All options: skrei docker run --help"),
        (["-x", "y"], "there is no -x.", "All options"),
        (["--memory"], "--memory needs a value: --memory SIZE.", "All options"),
        (["--count", "two", "x"], "--count two: not a whole number.", "All options"),
        (["--count", "0", "x"], "--count 0: at least 1.", "All options"),
        (
            ["--wait-timeout-secs", "nan", "x"],
            "--wait-timeout-secs nan: not a time like 90, 90s, 5m or 1h30m.",
            "All options",
        ),
        (["--pull", "maybe", "x"], "--pull maybe: allowed are always, never.", "All options"),
        (["--quiet=perhaps", "x"], "--quiet=perhaps: a flag is true or false.", "All options"),
        ([], "IMAGE is missing: the image.", "Usage: skrei docker run [OPTIONS] IMAGE [COMMAND...]"),
    ],
)
def test_a_wrong_call_is_one_line_what_and_one_line_what_to_do(words: list[str], what: str, todo: str) -> None:
    with pytest.raises(Misuse) as raised:
        read(RUN, words)
    assert raised.value.message == f"skrei docker run: {what}"
    assert raised.value.hint.startswith(todo)


def test_an_argument_too_many_is_named() -> None:
    with pytest.raises(Misuse, match="'b' is one argument too many"):
        read(SHOW, ["a", "b"])


def test_the_help_names_every_option_and_argument() -> None:
    told = command_help(RUN)
    for name in ("-e, --env K=V", "--count NUMBER", "--no-wait", "IMAGE", "COMMAND", "--help"):
        assert name in told
    with pytest.raises(HelpWanted):
        read(RUN, ["--help"])


@pytest.mark.row("7.3/job-logs")
@pytest.mark.parametrize(
    ("words", "tail", "job"),
    [
        (["-t", "j-1"], True, "j-1"),
        (["j-1", "--tail"], True, "j-1"),
        (["--tail", "20", "j-1"], 20, "j-1"),
        (["-t20", "j-1"], 20, "j-1"),
        (["-t=20", "j-1"], 20, "j-1"),
        (["-ft", "5", "j-1"], 5, "j-1"),
        (["--tail=false", "j-1"], False, "j-1"),
        (["j-1"], None, "j-1"),
    ],
)
def test_tail_is_a_flag_or_a_number_of_lines(words: list[str], tail: object, job: str) -> None:
    from skrei.cli.logs import LOGS

    values = read(LOGS, words)
    assert (values.found["tail"], values.text("JOB")) == (tail, job)
    assert values.count("tail") == (tail if type(tail) is int else None)


def test_more_lines_than_there_are_is_a_misuse() -> None:
    from skrei.cli.logs import LOGS

    with pytest.raises(Misuse, match="at most 10000"):
        read(LOGS, ["--tail", "10001"])
