"""Dates by layout: each row is what the original's language makes of it."""

import pytest

from skrei_plugin_s3.layouts import is_layout, same


@pytest.mark.row("6.1/s3-partition")
@pytest.mark.parametrize(
    ("layout", "text", "said"),
    [
        ("2006-01-02", "2024-03-07", "2024-03-07"),
        ("2006-01-02", "2024-3-07", None),
        ("2006-01-02", "2024-02-30", None),
        ("2006-01-02", "2023-02-29", None),
        ("2006-01-02", "2024-02-29", "2024-02-29"),
        ("2006/01", "2024/12", "2024/12"),
        ("20060102", "20240307", "20240307"),
        ("2006-002", "2024-366", "2024-366"),
        ("2006-002", "2023-366", None),
        ("Jan _2 2006", "mar  7 2024", "Mar  7 2024"),
        ("January 2, 2006", "MARCH 07, 2024", "March 7, 2024"),
        ("02 Jan 06", "07 Mar 69", "07 Mar 69"),
        ("Mon 2006-01-02", "Fri 2024-03-07", "Thu 2024-03-07"),
        ("2006-01-02T15", "2024-03-07T24", None),
        ("2006-01-02T15", "2024-03-07T23", "2024-03-07T23"),
        ("3:04PM", "12:05AM", "12:05AM"),
        ("3:04PM", "13:05AM", None),
        ("3:04pm", "7:05pm", "7:05pm"),
        ("15:04:05", "07:05:09.25", "07:05:09"),
        ("15:04:05.000", "07:05:09.250", "07:05:09.250"),
        ("15:04:05.999", "07:05:09.250", "07:05:09.25"),
        ("2006-01-02T15:04:05Z07:00", "2024-03-07T01:02:03+00:00", "2024-03-07T01:02:03Z"),
        ("2006-01-02T15:04:05-0700", "2024-03-07T01:02:03+0530", "2024-03-07T01:02:03+0530"),
        ("2006-01-02", "2024-03-0", None),
        ("logs-2006", "logs-2024", "logs-2024"),
        ("logs-2006", "Logs-2024", None),
        ("2006  x", "2024 x", "2024  x"),
        ("__2", "  9", "  9"),
    ],
)
def test_a_date_is_said_again_as_its_layout_would(layout: str, text: str, said: str | None) -> None:
    assert same(layout, text) == said


@pytest.mark.parametrize(
    ("layout", "right"),
    [("2006-01-02", True), ("plain", True), ("", False), ("15:04 MST", False), ("2006 _2 Jan", True)],
)
def test_a_layout_reads_what_it_says(layout: str, right: bool) -> None:
    assert is_layout(layout) is right
