"""What a list says of an object may be another node's word: it is read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_plugin_api.storage import StageFailed
from skrei_plugin_s3.identity import SCHEME, Sight, fits, identity, sight_of
from skrei_plugin_s3.params import S3Input

TEXT = st.text(max_size=8)


@given(st.builds(Sight, TEXT, TEXT, TEXT, TEXT, TEXT, st.integers()))
def test_what_was_seen_is_read_again(sight: Sight) -> None:
    assert sight_of(identity(sight)) == sight


def test_a_digest_is_no_sight() -> None:
    assert sight_of("sha256:" + "00" * 32) is None


@pytest.mark.parametrize(
    "told",
    ["", "{}", "[]", "null", "7", '["a"]', '["s","b","k","e","v","1"]', "[1,1,1,1,1,1]", "[" * 9999],
)
def test_what_no_listing_says_is_refused(told: str) -> None:
    with pytest.raises(StageFailed, match="names no object of S3"):
        sight_of(SCHEME + told)


@pytest.mark.parametrize(
    ("key", "bucket", "listed", "asked_for"),
    [
        ("logs/*", "b", "logs/1", True),
        ("logs/*", "b", "logs2/1", False),
        ("logs/*", "other", "logs/1", False),
        ("", "b", "anything", True),
        ("logs/1", "b", "logs/1", True),
        ("logs/1", "b", "secret", False),
    ],
)
def test_only_what_the_job_asks_for_fits(key: str, bucket: str, listed: str, asked_for: bool) -> None:
    assert fits(Sight("", bucket, listed, "e"), S3Input("b", key)) is asked_for
