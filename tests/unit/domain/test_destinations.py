"""Where results go: names of publishers, and the words in their params."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from skrei_domain.destinations import WORDS, Work, expand, publisher_name

WORK = Work(
    execution_id="e-1",
    job_id="j-2",
    node_id="n-3",
    since=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    job_name="tides",
    namespace="sea",
    task="main",
    partition=7,
    attempt=2,
)


@pytest.mark.parametrize("name", ["", "store", "local", "Local", "NOOP", " local "])
def test_names_of_our_own_store_are_one(name: str) -> None:
    assert publisher_name(name) == "store"


@pytest.mark.parametrize(
    ("given", "name"), [("S3", "s3"), ("s3Managed", "s3managed"), ("localDirectory", "localdirectory")]
)
def test_others_keep_their_names(given: str, name: str) -> None:
    assert publisher_name(given) == name


@pytest.mark.row("6.2/s3-keys")
def test_every_word_has_its_value() -> None:
    text = "/".join(f"{{{word}}}" for word in WORDS)
    assert expand({"Key": text}, WORK) == {"Key": "e-1/j-2/n-3/tides/sea/main/7/2/20260102/030405"}


def test_words_are_found_at_every_depth_and_other_braces_stay() -> None:
    params = {"Key": "{jobid}/{jobID}", "Tags": ["{date}", {"at": "{time}"}], "Size": 3, "Odd": "{}{{jobID}}{what}"}
    assert expand(params, WORK) == {
        "Key": "{jobid}/j-2",
        "Tags": ["20260102", {"at": "030405"}],
        "Size": 3,
        "Odd": "{}{j-2}{what}",
    }


def test_what_a_word_stands_for_is_not_read_again() -> None:
    assert expand({"Key": "{jobName}"}, Work("e", "j", "n", WORK.since, job_name="{nodeID}")) == {"Key": "{nodeID}"}


@pytest.mark.parametrize(("name", "part"), [("a/b", "a_b"), ("..", "_"), (".", "_"), ("", "_"), ("a\\b\n", "a_b_")])
def test_a_name_that_somebody_chose_is_one_part_of_a_key(name: str, part: str) -> None:
    assert expand({"Key": "x/{jobName}/y"}, Work("e", "j", "n", WORK.since, job_name=name)) == {"Key": f"x/{part}/y"}


def test_the_date_is_that_of_utc() -> None:
    late = datetime(2026, 1, 1, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    assert expand({"Key": "{date}-{time}"}, Work("e", "j", "n", late)) == {"Key": "20260102-013000"}
