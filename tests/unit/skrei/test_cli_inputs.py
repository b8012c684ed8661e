from pathlib import Path

import pytest

from skrei.cli import inputs
from skrei.errors import Rejected

HERE = Path("/home/ada/work")


@pytest.mark.row("7.2/input-grammar", "6.1/s3", "6.1/url-download", "6.1/ipfs", "7.2/schemes")
@pytest.mark.parametrize(
    ("text", "kind", "params", "target"),
    [
        ("./data:/data", "local", {"SourcePath": "/home/ada/work/data"}, "/data"),
        ("data", "local", {"SourcePath": "/home/ada/work/data"}, "/inputs"),
        ("../x/:/x:rw", "local", {"SourcePath": "/home/ada/x", "ReadWrite": True}, "/x"),
        ("/abs:/d:ro", "local", {"SourcePath": "/abs"}, "/d"),
        ("file:///abs:/d", "local", {"SourcePath": "/abs"}, "/d"),
        ("src=file:///abs,dst=/d,opt=rw", "local", {"SourcePath": "/abs", "ReadWrite": True}, "/d"),
        ("src=/abs,dst=/d,opt=rw=false", "local", {"SourcePath": "/abs"}, "/d"),
        ("https://h.example:8443/a/b.csv:/d", "urlDownload", {"URL": "https://h.example:8443/a/b.csv"}, "/d"),
        ("https://h.example:8443/a", "urlDownload", {"URL": "https://h.example:8443/a"}, "/inputs"),
        ("s3://bucket/a/b*:/d", "s3", {"Bucket": "bucket", "Key": "a/b*"}, "/d"),
        (
            "src=s3://b/k,dst=/d,opt=region=eu,opt=endpoint=http://h:1",
            "s3",
            {"Bucket": "b", "Key": "k", "Region": "eu", "Endpoint": "http://h:1"},
            "/d",
        ),
        ("s3://b/logs/*:/d", "s3", {"Bucket": "b", "Key": "logs/*"}, "/d"),
        ("s3://b/logs/*,opt=region=x,dst=/d", "s3", {"Bucket": "b", "Key": "logs/*", "Region": "x"}, "/d"),
        (
            "s3://b/*,opt=partition=object",
            "s3",
            {"Bucket": "b", "Key": "*", "Partition": {"Type": "object"}},
            "/inputs",
        ),
        ("ipfs://bafy:/d", "ipfs", {"CID": "bafy"}, "/d"),
        ("data://books:/in", "data", {"Name": "books"}, "/in"),
        ("data://books/2024/may:/in:rw", "data", {"Name": "books", "Path": "2024/may", "ReadWrite": True}, "/in"),
        ("src=data://books,dst=/in,opt=rw", "data", {"Name": "books", "ReadWrite": True}, "/in"),
    ],
)
def test_an_input_is_read_in_each_form(text: str, kind: str, params: dict[str, object], target: str) -> None:
    read = inputs.input_source(text, HERE)
    assert read == {"Source": {"Type": kind, "Params": params}, "Target": target, "Alias": text}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("git://h/r:/d", "git:// is not known here"),
        ("./data:data", "behind the colon is no absolute path"),
        ("src=/a,dest=/b", "'dest' is not known"),
        ("src=,dst=/d", "src= names nothing"),
        ("src=/a,dst=b", "'b' is no absolute path"),
        ("s3:///key:/d", "no bucket is named"),
        ("data:///2024:/d", "no data set is named"),
        ("src=s3://b/k,opt=zone=1", "opt=zone is not known"),
    ],
)
@pytest.mark.row("7.2/schemes")
def test_an_input_that_says_nothing_is_refused_with_the_forms(text: str, told: str) -> None:
    with pytest.raises(Rejected, match=told) as raised:
        inputs.input_source(text, HERE)
    assert "PATH:TARGET" in raised.value.hint


def test_a_partition_that_needs_more_words_is_said_in_a_job_file() -> None:
    with pytest.raises(Rejected, match="opt=partition=date is not `object`") as raised:
        inputs.input_source("s3://b/*,opt=partition=date", HERE)
    assert raised.value.hint == "Other partitions are said in a job file."


@pytest.mark.parametrize("path", ["/", "//"])
def test_all_of_a_program_s_files_are_no_output(path: str) -> None:
    with pytest.raises(Rejected, match="is where all of the program's files lie"):
        inputs.result_path(f"x:{path}")


def test_an_environment_name_alone_takes_the_value_that_is_set_here() -> None:
    assert inputs.environment(["A=1", "B", "C="], {"B": "2"}) == {"A": "1", "B": "2", "C": ""}
    with pytest.raises(Rejected, match="no B is set here"):
        inputs.environment(["B"], {})


@pytest.mark.row("7.2/publisher-grammar")
def test_a_publisher_is_a_name_or_a_bucket() -> None:
    assert inputs.publisher("local") == {"Type": "local", "Params": {}}
    assert inputs.publisher("s3://b/k/x,opt=region=eu") == {
        "Type": "s3",
        "Params": {"Bucket": "b", "Key": "k/x", "Region": "eu"},
    }
    for text in ("ftp://h/x", "s3:///x", "s3://b/k,region=eu"):
        with pytest.raises(Rejected, match="not known here"):
            inputs.publisher(text)
