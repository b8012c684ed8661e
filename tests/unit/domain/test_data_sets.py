"""Data that has a name: how it is declared, and what is taken for what."""

import pytest

from skrei_domain.data_sets import DataWanted, Declared, data_wanted, near_name, parse_declared
from skrei_domain.job import parse_job


@pytest.mark.parametrize(
    ("text", "path", "read_write"),
    [
        ("/srv/books", "/srv/books", False),
        ("/srv/books:ro", "/srv/books", False),
        (" /srv/out:rw ", "/srv/out", True),
        ("/srv/a:b", "/srv/a:b", False),
    ],
)
def test_a_data_set_is_a_path_and_reading_is_the_default(text: str, path: str, read_write: bool) -> None:
    declared = parse_declared("books", text)
    assert declared == Declared("books", path, read_write)
    assert parse_declared("books", declared.text) == declared


@pytest.mark.parametrize(
    ("name", "text"), [("Books", "/srv"), ("", "/srv"), ("a/b", "/srv"), ("x" * 64, "/srv"), ("b", "srv"), ("b", "/\0")]
)
def test_what_is_no_data_set_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="data set"):
        parse_declared(name, text)


def test_what_a_job_asks_for_is_read_in_any_case() -> None:
    assert data_wanted({"name": "books", "READWRITE": True}) == DataWanted("books", True)
    assert data_wanted({"Path": "x"}) is None


def test_a_name_that_is_nearly_one_is_found() -> None:
    assert near_name("boks", ["books", "logs"]) == "books"
    assert near_name("zebra", ["books", "logs"]) == ""


def test_a_task_that_is_split_counts_as_one_until_its_holders_are_known() -> None:
    source = {"Source": {"Type": "data", "Params": {"Name": "books"}}, "Target": "/in"}
    task = {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "x"}}, "InputSources": [source]}
    spec, warnings = parse_job({"Type": "batch", "Count": 1, "Tasks": [task | {"Split": "Holder"}]})
    assert warnings == ()
    assert (spec.tasks[0].split, spec.units) == ("holder", 1)
