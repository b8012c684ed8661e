"""What inputs are called: the same for whoever asks for the same, and never what says how it is asked for."""

import base64
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.bloom import is_key
from skrei_domain.source_keys import cid_key, root_key, share_key, source_key
from skrei_plugin_ipfs.cid import DAG_PB, RAW, SHA2_256, Cid

names = st.sampled_from(["Bucket", "Key", "URL", "CID", "Region", "Endpoint", "VersionID"])
values = st.one_of(st.text(max_size=20), st.integers(), st.booleans())
inputs = st.dictionaries(names, values, max_size=5)


@given(inputs, st.randoms())
def test_neither_order_nor_case_of_parameters_counts(params: dict[str, object], random: Random) -> None:
    told = list(params.items())
    random.shuffle(told)
    again = {random.choice([name.lower(), name.upper()]): value for name, value in told}
    key = source_key("s3", params)
    assert is_key(key)
    assert source_key("S3", {**again, "MaxRetryCount": 7, "Filter": "", "Region2": None}) == key


@given(inputs, inputs)
def test_other_places_are_other_keys(one: dict[str, object], other: dict[str, object]) -> None:
    def said(params: dict[str, object]) -> set[tuple[str, str]]:
        return {(name, repr(value)) for name, value in params.items() if value != ""}

    assert (source_key("s3", one) == source_key("s3", other)) == (said(one) == said(other))


def test_what_says_its_digest_goes_by_that_wherever_it_is() -> None:
    one = source_key("urlDownload", {"URL": "https://a.example/x", "Checksum": f"SHA256:{'a' * 64}"})
    assert one == source_key("urldownload", {"url": "https://b.example/y", "checksum": f"sha256:{'a' * 64}"})
    assert one != source_key("urlDownload", {"URL": "https://a.example/x"})
    assert source_key("s3", {"Bucket": "b", "Key": "k", "ChecksumSHA256": "QQ=="}) != source_key("s3", {"Bucket": "b"})


def test_what_lies_on_a_node_or_comes_with_a_job_has_no_key() -> None:
    for type_ in ("data", "local", "LocalDirectory", "inline", "task", ""):
        assert source_key(type_, {"Name": "books"}) == ""


def test_a_pinned_state_and_each_share_have_keys_of_their_own() -> None:
    key = source_key("s3", {"Bucket": "b"})
    assert source_key("s3", {"Bucket": "b"}, pinned="etag") != key
    assert len({key, *(share_key(key, partition, 3) for partition in range(3)), share_key(key, 0, 4)}) == 5
    assert share_key(key, 0, 1) == key


@given(st.binary(min_size=32, max_size=32), st.sampled_from([RAW, DAG_PB]))
def test_a_cid_has_one_key_however_it_is_written(digest: bytes, codec: int) -> None:
    cid = Cid(codec, SHA2_256, digest)
    texts = [
        str(cid),
        str(cid).upper(),
        "f" + cid.binary.hex(),
        "u" + base64.urlsafe_b64encode(cid.binary).decode().rstrip("="),
        "f1220" + digest.hex(),  # version 0, in a base of its own
    ]
    keys = {cid_key(text) for text in texts}
    assert len(keys) == 1
    (key,) = keys
    assert is_key(key)
    for text in (f"{cid}", f"ipfs://{cid}", f"/ipfs/{cid}/"):
        assert source_key("ipfs", {"CID": text}) == root_key({"cid": text}) == key
    below = source_key("ipfs", {"CID": f"{cid}/a/b"})
    assert below != key == root_key({"CID": f"{cid}/a/b"})
    assert cid_key(str(Cid(codec, SHA2_256, bytes(each ^ 1 for each in digest)))) != key


@given(st.text(max_size=60))
def test_what_is_no_cid_has_no_key_of_one_and_breaks_nothing(text: str) -> None:
    assert cid_key(text) == "" or is_key(cid_key(text))
    assert is_key(source_key("ipfs", {"CID": text}))
