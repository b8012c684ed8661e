import base64
import io
import json
import tarfile
from pathlib import Path

import pytest

from skrei.errors import Rejected
from skrei.inline import MOST_INLINE_BYTES, data_url
from skrei.jobfile import load, parse, published

JOB = """
name: words
Type: batch
count: 2
Tasks:
  - Name: main
    engine: {type: wasm, Params: {EntryModule: /main.wasm}}
    inputSources:
      - {Source: {Type: local, Params: {SourcePath: texts}}, Target: /inputs}
      - {source: {type: INLINE, params: {file: main.wasm}}, Target: /main.wasm}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "main.wasm").write_bytes(b"\0asm")
    return tmp_path


def test_local_paths_start_at_the_file_and_inline_files_travel_in_it(folder: Path) -> None:
    inputs = load(folder / "job.yaml")["Tasks"][0]["inputSources"]
    assert inputs[0]["Source"]["Params"] == {"SourcePath": str(folder / "texts")}
    assert inputs[1]["source"]["params"] == {"URL": "data:application/wasm;base64,AGFzbQ=="}


def test_a_path_is_made_absolute_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    text = json.dumps(
        {"Tasks": [{"InputSources": [{"Source": {"Type": "local", "Params": {"SourcePath": "link/../link"}}}]}]}
    )
    job = parse(text, name="it", folder=tmp_path)
    assert job["Tasks"][0]["InputSources"][0]["Source"]["Params"]["SourcePath"] == str(tmp_path / "link")


@pytest.mark.row("2.1/file-keys")
def test_every_key_that_may_not_stand_in_a_file_is_named_at_once() -> None:
    text = "id: j-1\nSTATE: {}\nRevision: 3\ncuont: 2\nTasks: []\n"
    with pytest.raises(Rejected) as refused:
        parse(text, name="job.yaml", folder=Path())
    assert refused.value.message.splitlines()[1:] == [
        "  field: 'id' in 'Job' is not allowed",
        "  field: 'STATE' in 'Job' is not allowed",
        "  field: 'Revision' in 'Job' is not allowed",
        "  unknown field: 'cuont' in 'Job' (did you mean Count?)",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1", "line 1"),
        ("Count: 1\nCount: 2", "the key 'Count' is there twice"),
        ("Tasks: [&a {Name: x}, *a]", "aliases are not read"),
        ("- 1\n- 2", "holds no job"),
        ("", "is empty"),
        ("Name: a\n---\nName: b", "expected a single document"),
        ("[" * 5000, "is not YAML"),
    ],
)
def test_a_text_that_is_no_job_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(Rejected, match=told):
        parse(text, name="job.yaml", folder=Path())


def test_the_answer_of_another_api_s_put_body_is_read_too() -> None:
    assert parse('{"Job": {"Name": "a"}}', name="it", folder=Path()) == {"Name": "a"}


def test_a_missing_inline_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    with pytest.raises(Rejected, match=r"main\.wasm cannot be read: No such file"):
        load(tmp_path / "job.yaml")


def test_the_same_directory_is_the_same_archive_whenever_it_was_made(tmp_path: Path) -> None:
    urls = []
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_text("x")
        urls.append(data_url(folder))
    assert urls[0] == urls[1]
    head, _, body = urls[0].partition(",")
    assert head == "data:application/gzip;base64"
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(body))) as archive:
        assert [(entry.name, entry.isdir()) for entry in archive] == [("deep", True), ("deep/file", False)]


def test_a_link_in_an_inline_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(Rejected, match="neither a file nor a directory"):
        data_url(tmp_path)


def test_an_inline_file_above_the_limit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(b"\0" * (MOST_INLINE_BYTES + 1))
    with pytest.raises(Rejected, match=f"at most {MOST_INLINE_BYTES}"):
        data_url(big)


S3 = {"Type": "s3", "Params": {"Bucket": "b", "Key": "k/{task}"}}


def test_a_publisher_of_the_command_line_is_that_of_every_task(folder: Path) -> None:
    job = load(folder / "job.yaml")
    changed = published(job, {"Type": "ipfs", "Params": {}})
    assert [task["Publisher"] for task in changed["Tasks"]] == [{"Type": "ipfs", "Params": {}}]
    two = {"tasks": [{"Name": "a", "publisher": {"Type": "ipfs"}}, {"Name": "b"}]}
    assert published(two, S3) == {"tasks": [{"Name": "a", "publisher": S3}, {"Name": "b", "Publisher": S3}]}
    assert published({"Name": "no tasks"}, S3) == {"Name": "no tasks"}
    own = {"Tasks": [{"ResultPaths": [{"Name": "a", "publisher": {"Type": "ipfs"}}, {"Name": "b"}, "odd"]}]}
    (task,) = published(own, S3)["Tasks"]
    assert task == {"ResultPaths": [{"Name": "a"}, {"Name": "b"}, "odd"], "Publisher": S3}


def test_several_tasks_do_not_write_one_key() -> None:
    two = {"Tasks": [{"Name": "a"}, {"Name": "b"}]}
    with pytest.raises(Rejected, match="2 tasks would write one key") as refused:
        published(two, {"Type": "s3", "Params": {"Bucket": "b", "Key": "k"}})
    assert "{task}" in refused.value.hint
