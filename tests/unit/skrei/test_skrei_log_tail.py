import json
from pathlib import Path

from skrei.cli.log_tail import LINES, tail


def event(name: str, **fields: str) -> str:
    known = {"event": name, "service": "publisher", "level": "error", "timestamp": "2026-11-21T11:21:40.722966Z"}
    return json.dumps(known | fields)


def test_events_read_as_lines_and_of_a_traceback_the_end(tmp_path: Path) -> None:
    trace = "\n".join(["Traceback", *(f"  line {n}" for n in range(50)), "ValueError: no"])
    log = tmp_path / "a.log"
    log.write_text(f"{event('broken', port='1', exception=trace)}\nplain words\n{{not json\n")
    lines = tail(log).splitlines()
    assert lines[0] == "11:21:40.722 publisher         error   broken port=1"
    assert lines[1:5] == ["      line 47", "      line 48", "      line 49", "    ValueError: no"]
    assert lines[5:] == ["plain words", "{not json"]


def test_what_repeats_is_told_once_with_its_number(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("\n".join([event("first"), *[event("again")] * 400]))
    told = tail(log)
    assert told.count("again") == 1
    assert "(400 times)" in told


def test_a_long_log_is_told_by_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("\n".join(f"{n} {'x' * 2000}" for n in range(1000)))
    assert [line.split()[0] for line in tail(log).splitlines()] == [str(n) for n in range(1000 - LINES, 1000)]


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == ""
