"""Partitions of objects: whatever the keys and the rule, each object has exactly one, and always the same."""

import string
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_plugin_s3 import layouts
from skrei_plugin_s3.layouts import is_layout, same
from skrei_plugin_s3.partition import By, Partition, dealer, fnv1a

KEYS = st.lists(st.text(st.sampled_from([*string.ascii_lowercase[:4], "/", "-", "é", "0", "1", "2"])), unique=True)
RULES = st.one_of(
    st.just(Partition(By.OBJECT)),
    st.sampled_from(["a", "(a)(b)?", "^[a-c]+", "([0-9]+)-([0-9]+)", "x*", ""]).map(
        lambda pattern: Partition(By.REGEX, pattern=pattern)
    ),
    st.tuples(st.integers(0, 4), st.integers(1, 6)).map(
        lambda at: Partition(By.SUBSTRING, start=at[0], end=at[0] + at[1])
    ),
    st.sampled_from(["2006", "01/02", "2006-01-02"]).map(lambda layout: Partition(By.DATE, layout=layout)),
)
PREFIXES = st.sampled_from(["", "a", "a/", "ab"])


@given(KEYS, RULES, PREFIXES, st.integers(2, 7))
def test_each_object_belongs_to_exactly_one_partition(keys: list[str], how: Partition, prefix: str, count: int) -> None:
    dealt, again = dealer(how, prefix, count), dealer(how, prefix, count)
    assert dealt is not None
    assert again is not None
    for key in keys:
        assert 0 <= dealt(key) < count
        assert dealt(key) == again(key)


@pytest.mark.row("6.1/s3-count")
@given(RULES, st.integers(0, 1))
def test_one_partition_and_no_count_read_everything(how: Partition, count: int) -> None:
    assert dealer(how, "", count) is None


@given(st.integers(1, 9))
def test_what_is_not_dealt_out_goes_to_everybody(count: int) -> None:
    assert dealer(Partition(), "", count) is None


@pytest.mark.row("6.1/s3-partition")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 2166136261),
        ("a", 3826002220),
        ("foobar", 3214735720),
        ("data/2024-03-07.csv", 1984556156),
        ("é", 513665217),
        ("x\x1fy", 3265616419),
    ],
)
def test_the_hash_is_that_of_everybody_else(text: str, value: int) -> None:
    assert fnv1a(text) == value


@pytest.mark.row("6.1/s3-partition")
@pytest.mark.parametrize(
    ("how", "key", "dealt_by"),
    [
        (Partition(By.OBJECT), "logs/a/1", "logs/a/1"),
        (Partition(By.REGEX, pattern="[0-9]+"), "logs/a/17-3", "17"),
        (Partition(By.REGEX, pattern="([a-z])/([0-9]+)-(x)?"), "logs/a/17-3", "a\x1f17"),
        (Partition(By.REGEX, pattern="^logs"), "logs/a/17", None),
        (Partition(By.REGEX, pattern="z*"), "logs/a/17", None),
        (Partition(By.SUBSTRING, start=0, end=2), "logs/éa/17", "éa"),
        (Partition(By.SUBSTRING, start=0, end=9), "logs/a/17", None),
        (Partition(By.DATE, layout="2006-01-02"), "logs/2024-03-07/x", "2024-03-07"),
        (Partition(By.DATE, layout="2006-01-02"), "logs/2024-13-07/x", None),
    ],
)
def test_an_object_is_dealt_out_by_what_the_rule_takes_of_its_key(
    how: Partition, key: str, dealt_by: str | None
) -> None:
    count = 997
    index = 0 if dealt_by is None else fnv1a(dealt_by) % count
    dealt = dealer(how, "logs/", count)
    assert dealt is not None
    assert dealt(key) == index


@given(st.dates(), st.sampled_from(["2006-01-02", "20060102", "Jan 2, 2006", "2006/002", "Mon _2 Jan 2006"]))
def test_dates_are_read_as_they_are_said(day: date, layout: str) -> None:
    text = layouts._said(layout, layouts._Moment(day.year, day.month, day.day))
    assert same(layout, text) == text
    assert is_layout(layout)


@given(st.text(), st.text())
def test_nothing_that_is_called_a_layout_breaks(layout: str, text: str) -> None:
    said = same(layout, text)
    assert said is None or same(layout, said) is not None
