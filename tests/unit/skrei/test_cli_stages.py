"""How far a job is, as lines: who has got to which stage, and a bar where bytes are known."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei.cli.downloads import bar_line
from skrei.cli.render_jobs import EventLines
from skrei.cli.stages import MOST_REASON_LINES, lines_of, share_of, stages_of, with_bar
from skrei.progress import Progress
from skrei.views import Execution, HistoryItem, Job
from tests.support import fake_api

PULL = {"ComputeState": {"StateType": 5, "Message": "pulling busybox: 10.0 of 40.0 MB"}}


def look(state: str, *executions: dict[str, object], count: int | None = None) -> Progress:
    job = Job.parse(fake_api.job(state, count=count or max(len(executions), 1)))
    return Progress(job, (), tuple(map(Execution.parse, executions)))


def told(progress: Progress, width: int = 100) -> list[str]:
    return list(lines_of("j-1", progress, 3.4, width=width))


def test_a_job_without_a_place_waits() -> None:
    assert told(look("Pending")) == ["… Waiting    j-1  3 s"]


def test_why_it_waits_is_told_to_the_end_and_with_what_to_do() -> None:
    said = "not enough nodes to run job. requested: 1, available: 1, suitable: 0.\n• Node n-1: does not support docker"
    progress = Progress(replace(look("Queued").job, message=said), (), ())
    assert told(progress, width=60) == [
        "… Waiting    j-1  3 s",
        "  not enough nodes to run job. requested: 1, available: 1,",
        "  suitable: 0.",
        "  • Node n-1: does not support docker",
        "  No node can run containers: `skrei doctor` tells how to",
        "  get Docker here.",
    ]
    many = replace(progress.job, message="\n".join(f"• Node n-{number}: is away" for number in range(99)))
    assert told(Progress(many, (), ()))[-1] == f"  • Node n-{MOST_REASON_LINES - 1}: is away"


def test_each_stage_has_a_line_and_a_pull_its_bar() -> None:
    pulling = fake_api.execution(1, 0, 5) | PULL
    assert told(look("Running", pulling, fake_api.execution(2, 1, 6))) == [
        "✓ Submitted  j-1  3 s",
        "✓ Placed     2/2",
        "… Preparing  2/2  pulling busybox: 10.0 of 40.0 MB  [#####---------------] 25%",
        "… Running    1/2",
    ]


def test_what_goes_wrong_once_more_is_told_by_its_beginning() -> None:
    lines, why = EventLines(), "image not available: ubuntuu: this node finds no registry of that name: no such host"
    first, again = (HistoryItem.parse(fake_api.event(n, why, f"e-{n}", IsError="true")) for n in (1, 2))
    assert lines.line(first).endswith(f"  Scheduling    {why}")
    assert lines.line(again).endswith(f"e-2         Scheduling    {why[:60]} … (as above)")
    fine = HistoryItem.parse(fake_api.event(3, "x" * 90))
    assert [lines.line(fine).endswith("x" * 90) for _ in range(2)] == [True, True]
    short = HistoryItem.parse(fake_api.event(4, "no such file", "e-4", IsError="true"))
    assert [lines.line(short).endswith("no such file") for _ in range(2)] == [True, True]


def test_the_end_is_told_with_nothing_left_to_wait_for() -> None:
    assert told(look("Completed", fake_api.execution(1, 0, 9)))[1:] == [
        "✓ Placed     1/1",
        "✓ Running    1/1",
        "✓ Completed  1/1",
    ]


def test_results_on_their_way_are_told_beside_what_runs() -> None:
    assert (
        stages_of(look("Running", fake_api.execution(1, 0, 7), fake_api.execution(2, 1, 6)))[-1].note == "1 publishing"
    )


@pytest.mark.parametrize(
    ("note", "share"),
    [
        ("pulling x: 0.0 of 40.0 MB", 0),
        ("5 of 4 kB", 1.0),
        ("1 of 0 MB", None),
        ("1.2.3 of 4 MB", None),
        ("pulling", None),
    ],
)
def test_a_share_is_read_where_one_is_told(note: str, share: float | None) -> None:
    assert share_of(note) == share


@given(st.text(max_size=40), st.integers(0, 60))
def test_no_line_is_wider_than_the_terminal(note: str, width: int) -> None:
    pulling = fake_api.execution(1, 0, 5, ComputeState={"StateType": 5, "Message": note})
    assert all(len(line) <= width for line in told(look("Running", pulling), width))


def test_a_download_tells_what_it_knows() -> None:
    assert bar_line(0, 0, 0, None, 0) == "asking"
    assert bar_line(1, 2, 5_000_000, None, 0.5) == "result 1/2  5.0 MB"
    assert (
        bar_line(1, 2, 5_000_000, 20_000_000, 2) == "result 1/2  5.0 of 20.0 MB  [#####---------------] 25%  2.5 MB/s"
    )
    assert with_bar("asking") == "asking"
