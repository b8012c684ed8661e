"""What a job may say of objects, and what it hears for what it may not."""

import base64
import hashlib

import pytest

from skrei_domain.object_servers import server
from skrei_plugin_s3.params import path_of, read
from skrei_plugin_s3.partition import By, Partition

DIGEST = base64.b64encode(hashlib.sha256(b"x").digest()).decode()


@pytest.mark.row("6.1/s3")
def test_everything_that_can_be_said_is_read_in_any_case() -> None:
    said = {
        "bucket": "data-1", "KEY": "a/b", "Filter": "x$", "region": "eu-west-1", "endpoint": "http://h:9000",
        "VersionID": "v1", "checksumsha256": DIGEST,
        "PARTITION": {"type": "Regex", "pattern": "a(b)", "START_INDEX": 1, "EndIndex": 3.0, "DateFormat": "2006"},
    }  # fmt: skip
    found, problems = read(said)
    assert problems == []
    assert (found.bucket, found.key, found.filter, found.region) == ("data-1", "a/b", "x$", "eu-west-1")
    assert (found.endpoint, found.version, found.checksum) == ("http://h:9000", "v1", DIGEST)
    assert found.partition == Partition(By.REGEX, "a(b)", 1, 3, "2006")
    assert found.digest == f"sha256:{hashlib.sha256(b'x').hexdigest()}"


@pytest.mark.row("6.1/s3-unknown")
@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"Bucket": "b2"}, 'Bucket: "b2"; allowed: the name of a bucket: 3 to 63 letters, digits, `.`, `-` and `_`'),
        ({"Bucket": "data/../x"}, "Bucket: "),
        ({"Bucket": None}, "Bucket: null; "),
        ({"Bukket": "data"}, 'Bukket: "data"; allowed: no parameter of this name; did you mean `Bucket`?'),
        ({"zzz": 1}, "zzz: 1; allowed: no parameter of this name; known are Bucket, Key, Filter, Region"),
        ({"Key": 7}, "Key: 7; allowed: a key of at most 1024 bytes"),
        ({"Key": "é" * 513}, "Key: "),
        ({"Key": "a\0"}, "Key: "),
        ({"Filter": "("}, 'Filter: "("; allowed: a regular expression (RE2): missing ): ('),
        ({"Filter": "(?<!a)b"}, "Filter: "),
        ({"Filter": "a" * 1001}, "Filter: "),
        ({"Region": "eu west"}, 'Region: "eu west"; allowed: a region such as `eu-west-1`'),
        ({"Region": "x.evil.example/"}, "Region: "),
        ({"Endpoint": "localhost:9000"}, 'Endpoint: "localhost:9000"; allowed: the address of a server'),
        ({"Endpoint": "file:///etc"}, "Endpoint: "),
        ({"Endpoint": "http://h/?x=1"}, "Endpoint: "),
        ({"Endpoint": "http://h:0"}, "Endpoint: "),
        ({"VersionID": "v", "Key": "a/*"}, "VersionID: \"v\"; allowed: only with the Key of one object"),
        ({"ChecksumSHA256": DIGEST}, f'ChecksumSHA256: "{DIGEST}"; allowed: only with the Key of one object'),
        ({"ChecksumSHA256": "abc", "Key": "a"}, "ChecksumSHA256: \"abc\"; allowed: a SHA-256 digest in base64"),
        ({"ChecksumSHA256": f"{DIGEST}-x", "Key": "a"}, "ChecksumSHA256: "),
        ({"Partition": "object"}, "Partition: \"object\"; allowed: an object with `Type`"),
        ({"Partition": {"Type": "size"}},
         'Partition.Type: "size"; allowed: `none`, `object`, `regex`, `substring`, `date`'),
        ({"Partition": {"Type": "regex"}}, "Partition.Pattern: "),
        ({"Partition": {"Type": "regex", "Pattern": "["}}, "Partition.Pattern: "),
        ({"Partition": {"Type": "substring", "StartIndex": 4, "EndIndex": 4}},
         "Partition.EndIndex: 4; allowed: a number above StartIndex (4)"),
        ({"Partition": {"Type": "substring", "StartIndex": -1, "EndIndex": 4}}, "Partition.StartIndex: "),
        ({"Partition": {"Type": "date"}}, "Partition.DateFormat: "),
        ({"Partition": {"Type": "date", "DateFormat": "MST"}}, "Partition.DateFormat: "),
        ({"Partition": {"Tipe": "date"}},
         'Partition.Tipe: "date"; allowed: no parameter of this name; did you mean `Type`?'),
    ],
)  # fmt: skip
def test_what_says_nothing_of_use_is_named_with_what_does(params: dict[str, object], problem: str) -> None:
    _, problems = read({"Bucket": "data"} | params if "Bukket" not in params else params)
    assert problem in "\n".join(map(str, problems))


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    _, problems = read({"Bucket": "data", "Endpoint": "http://me:hunter2@h:9000"})
    (problem,) = problems
    assert problem.path == "Endpoint"
    assert "hunter2" not in str(problem)


@pytest.mark.row("6.1/s3")
@pytest.mark.parametrize(
    ("key", "prefix"),
    [("a/b", None), ("a/b/", "a/b/"), ("a/b*", "a/b"), ("", ""), ("*", ""), (" a/* ", "a/")],
)
def test_a_key_is_one_object_or_what_all_begin_with(key: str, prefix: str | None) -> None:
    assert read({"Bucket": "data", "Key": key})[0].prefix == prefix


@pytest.mark.row("6.1/s3")
@pytest.mark.parametrize(
    ("key", "prefix", "path"),
    [("a/b/c", "a/", "b/c"), ("a/b-1", "a/b", "b-1"), ("a/b", "", "a/b"), ("x", "x", "x"), ("a/b/x", "a/b/x", "x")],
)
def test_folders_below_the_prefixs_last_one_are_kept(key: str, prefix: str, path: str) -> None:
    assert path_of(key, prefix) == path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://H:80/", "http://h"),
        ("https://h:443", "HTTPS://h/"),
        ("http://[::1]:9000", "http://[::1]:9000/"),
        ("http://h./x/", "http://h/x"),
    ],
)
def test_one_server_has_one_form(one: str, other: str) -> None:
    assert server(one) == server(other)


def test_another_port_scheme_or_path_is_another_server() -> None:
    servers = ["http://h", "https://h", "http://h:81", "http://h/x", "http://g", ""]
    assert len({server(each) for each in servers}) == len(servers)
