"""Where results lie that stay on their node: below a path that is named, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.node_results import DEFAULT_KEY, place_of, wrong


def test_a_path_alone_gives_each_its_own_folder() -> None:
    assert place_of({"Path": "/srv/results/"}) == f"/srv/results/{DEFAULT_KEY}"
    assert place_of({"path": "/srv//results", "KEY": "weekly"}) == "/srv/results/weekly"


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({}, ["Path"]),
        ({"Path": "srv"}, ["Path"]),
        ({"Path": "/"}, ["Path"]),
        ({"Path": "/srv/../etc"}, ["Path"]),
        ({"Path": "/srv\n"}, ["Path"]),
        ({"Path": 7}, ["Path"]),
        ({"Path": "/srv", "Key": "/etc"}, ["Key"]),
        ({"Path": "/srv", "Key": "a/../.."}, ["Key"]),
        ({"Path": "/srv", "Key": ".skrei-e-1"}, ["Key"]),
        ({"Path": "/srv", "Key": ["a"]}, ["Key"]),
        ({"Path": "/srv", "Bucket": "b"}, ["Bucket"]),
        ({"Path": "/" + "x" * 5_000}, ["Path"]),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(params: dict[str, object], fields: list[str]) -> None:
    assert [problem.path for problem in wrong(params)] == fields
    assert place_of(params) == ""


@given(st.text(), st.text())
def test_no_key_leads_out_of_its_path(path: str, key: str) -> None:
    if place := place_of({"Path": f"/srv/{path}", "Key": key}):
        assert place.startswith("/srv/")
        assert not {"..", ""} & set(place[1:].split("/"))
