"""Jobs over objects on a whole stack of two nodes: each object read once, by whom it was dealt to."""

import asyncio
import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from scripts.environment import ROOT
from skrei_plugin_s3.partition import fnv1a
from tests.support.s3_server import S3Server, s3_server
from tests.support.servers import server_folder
from tests.support.wat import HEAD, module

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

SKREI = str(Path(sys.executable).with_name("skrei"))
START_SECONDS, STOP_SECONDS = 90.0, 40.0
TEXTS = ROOT / "examples/wordcount/texts"
OBJECTS = {f"logs/{number:02}": f"line {number}\n".encode() for number in range(12)}

PRINT_FOLDER = """
    (local $at i32) (local $end i32) (local $file i32)
    (drop (call $fd_readdir (i32.const 4) (i32.const 65536) (i32.const 8192) (i64.const 0) (i32.const 16)))
    (local.set $at (i32.const 65536))
    (local.set $end (i32.add (i32.const 65536) (i32.load (i32.const 16))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (if (i32.eq (i32.load8_u (i32.add (local.get $at) (i32.const 20))) (i32.const 4)) (then
        (local.set $file (call $open (i32.const 4) (i32.add (local.get $at) (i32.const 24))
          (i32.load (i32.add (local.get $at) (i32.const 16))) (i32.const 0) (i64.const 2)))
        (i32.store (i32.const 0) (i32.const 98304))
        (i32.store (i32.const 4) (i32.const 4096))
        (drop (call $fd_read (local.get $file) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $write (i32.const 1) (i32.const 98304) (i32.load (i32.const 8)))))
      (local.set $at (i32.add (i32.const 24)
        (i32.add (local.get $at) (i32.load (i32.add (local.get $at) (i32.const 16))))))
      (br $next)))
"""
"""Prints every file of the folder that is opened beside the root."""
READDIR = (
    '  (import "wasi_snapshot_preview1" "path_open"',
    '  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))\n'
    '  (import "wasi_snapshot_preview1" "path_open"',
)


class Stack:
    """A running devstack, and the command that knows it."""

    def __init__(self, place: Path, environment: dict[str, str]) -> None:
        self.environment = environment
        self._place = place
        self.jobs = f"{environment['SKREI_API_URL']}/api/v1/orchestrator/jobs"

    def skrei(self, *words: str) -> str:
        """Return what a command says."""
        done = subprocess.run([SKREI, *words], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def run(self, job: dict[str, Any]) -> str:
        """Run a job file to its end; return its id."""
        file = self._place / "job.yaml"
        file.write_text(yaml.safe_dump(job))
        job_id = self.skrei("job", "run", "--id-only", str(file)).strip()
        self.skrei("job", "wait", job_id)
        return job_id

    def executions(self, job_id: str) -> list[dict[str, Any]]:
        """What the API tells of a job's executions."""
        found: list[dict[str, Any]] = httpx2.get(f"{self.jobs}/{job_id}/executions").json()["Items"]
        return found

    def printed(self, job_id: str) -> dict[int, list[str]]:
        """What each partition printed, the lines in order."""
        found = self.executions(job_id)
        return {each.get("PartitionIndex", 0): sorted(each["RunOutput"]["Stdout"].splitlines()) for each in found}

    def history(self, job_id: str) -> list[str]:
        """What happened to a job, in order."""
        found = httpx2.get(f"{self.jobs}/{job_id}/history").json()["Items"]
        return [each["Event"]["Message"] for each in sorted(found, key=lambda each: each["SeqNum"])]

    def message(self, job_id: str) -> str:
        """Why a job failed."""
        state = httpx2.get(f"{self.jobs}/{job_id}").json()["Job"]["State"]
        return f"{state['StateType']}: {state['Message']}"


@pytest.fixture(scope="module")
def objects() -> Iterator[S3Server]:
    with s3_server() as made:
        asyncio.run(_fill(made))
        yield made


async def _fill(server: S3Server) -> None:
    await server.make_bucket("data")
    await server.put("data", OBJECTS)
    texts = {f"texts/{file.name}": file.read_bytes() for file in TEXTS.iterdir()}
    await server.make_bucket("results")
    await server.make_bucket("books")
    await server.put("books", texts | {"texts/cover.jpg": b"none of the words"})


@pytest.fixture(scope="module")
def stack(objects: S3Server) -> Iterator[Stack]:
    """Two nodes with the keys of the server."""
    with server_folder() as place:
        own = {f"XDG_{name}_HOME": str(place / name.lower()) for name in ("STATE", "CONFIG")} | objects.environment
        own |= {"TMPDIR": str(place), "DOCKER_HOST": "unix:///nobody", "SKREI_ALLOW_ADDRESSES": "127.0.0.0/8"}
        own["SKREI_PLUGIN_OPTIONS"] = f"s3managed_bucket=results,s3managed_key=all,s3managed_endpoint={objects.url}"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SKREI_", "AWS_"))
        } | own
        log = place / "devstack.log"
        with log.open("wb") as out:
            command = [SKREI, "devstack", "--random-ports", "--computes", "2"]
            process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
        try:
            told = _until(log, "export BACALHAU_API_PORT=", process)
            yield Stack(place, environment | dict(re.findall(r"^export (\w+)=(.*)$", told, re.MULTILINE)))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_SECONDS)


def _until(log: Path, text: str, process: "subprocess.Popen[bytes]") -> str:
    end = time.monotonic() + START_SECONDS
    while text not in (told := log.read_text()):
        assert process.poll() is None, told
        assert time.monotonic() < end, told
        time.sleep(0.1)  # another process is awaited: there is nothing in this one to wait for
    return told


def job(server: S3Server, kind: str, **params: object) -> dict[str, Any]:
    """A job whose program prints the files that it finds."""
    url = "data:application/wasm;base64," + base64.b64encode(module(PRINT_FOLDER, HEAD.replace(*READDIR))).decode()
    said = {"Bucket": "data", "Key": "logs/*", "Endpoint": server.url} | params
    task = {
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "main.wasm"}},
        "InputSources": [
            {"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": "main.wasm"},
            {"Source": {"Type": "s3", "Params": said}, "Target": "/in"},
        ],
        "Resources": {"CPU": "20m", "Memory": "10mb"},
    }
    return {"Type": kind, "Tasks": [task]}


LINES = sorted(content.decode().rstrip() for content in OBJECTS.values())
BY_OBJECT = {"Type": "object"}


def dealt(count: int) -> dict[int, list[str]]:
    """What each partition gets of the objects, worked out here."""
    found: dict[int, list[str]] = {number: [] for number in range(count)}
    for key, content in OBJECTS.items():
        found[fnv1a(key) % count].append(content.decode().rstrip())
    return {number: sorted(lines) for number, lines in found.items()}


@pytest.mark.row("6.1/s3-partition")
def test_the_partitions_of_a_batch_read_each_object_once(stack: Stack, objects: S3Server) -> None:
    printed = stack.printed(stack.run(job(objects, "batch", Partition=BY_OBJECT) | {"Count": 4}))
    assert printed == dealt(4)
    assert sorted(line for lines in printed.values() for line in lines) == LINES


def test_a_job_is_pinned_to_one_list_before_it_is_placed(stack: Stack, objects: S3Server) -> None:
    job_id = stack.run(job(objects, "batch", Partition=BY_OBJECT) | {"Count": 4})
    assert stack.printed(job_id) == dealt(4)
    told = stack.history(job_id)
    size = sum(map(len, OBJECTS.values()))
    listed = told.index(f"Listed inputs: {len(OBJECTS)} files, {size} bytes, the same for all executions")
    placed = [number for number, text in enumerate(told) if text.startswith("Requested execution")]
    assert len(placed) == 4
    assert listed < min(placed)


@pytest.mark.row("6.1/s3-count")
def test_the_nodes_of_an_ops_job_read_each_object_once(stack: Stack, objects: S3Server) -> None:
    job_id = stack.run(job(objects, "ops", Partition=BY_OBJECT))
    assert stack.printed(job_id) == dealt(2)
    assert sum(text.startswith(f"Listed inputs: {len(OBJECTS)} files") for text in stack.history(job_id)) == 1


def test_without_a_partition_everybody_reads_everything(stack: Stack, objects: S3Server) -> None:
    assert stack.printed(stack.run(job(objects, "ops"))) == {0: LINES, 1: LINES}


@pytest.mark.row("7.2/schemes")
def test_a_prefix_is_an_input_on_the_command_line(stack: Stack, objects: S3Server, tmp_path: Path) -> None:
    program = tmp_path / "print.wasm"
    program.write_bytes(module(PRINT_FOLDER, HEAD.replace(*READDIR)))
    said = f"s3://data/logs/0*,dst=/in,opt=endpoint={objects.url}"
    printed = stack.skrei("wasm", "run", "-i", said, str(program))
    assert sorted(printed.splitlines()) == [line for line in LINES if len(line) == len("line 0")]


@pytest.mark.row("6.1/s3-errors")
def test_what_cannot_be_had_is_why_the_job_failed_at_once(stack: Stack, objects: S3Server) -> None:
    file = job(objects, "batch", Bucket="gone")
    job_id = httpx2.put(stack.jobs, json={"Job": file}).json()["JobID"]
    subprocess.run([SKREI, "job", "wait", job_id], env=stack.environment, capture_output=True, check=False)
    assert f"there is no bucket gone at {objects.url}" in stack.message(job_id)
    assert len(stack.printed(job_id)) == 1


def test_the_example_counts_each_text_of_a_bucket_once(stack: Stack, objects: S3Server) -> None:
    file = ROOT / "examples/s3/job.yaml"
    said = ("-V", "bucket=books", "-V", f"endpoint={objects.url}")
    job_id = stack.skrei("job", "run", "--id-only", str(file), *said).strip()
    stack.skrei("job", "wait", job_id)
    lines = [line for lines in stack.printed(job_id).values() for line in lines]
    counted = sorted(line.rpartition("/")[2] for line in lines if line.startswith("counting "))
    assert counted == sorted(text.name for text in TEXTS.iterdir())


def test_the_example_adds_up_what_its_parts_counted(stack: Stack, objects: S3Server) -> None:
    file = ROOT / "examples/s3/merged.yaml"
    said = ("-V", "bucket=books", "-V", f"endpoint={objects.url}")
    job_id = stack.skrei("job", "run", "--id-only", str(file), *said).strip()
    stack.skrei("job", "wait", job_id)
    merged = stack.skrei("job", "cat", job_id, "--task", "merge", "merged/words.txt")
    words = "".join(text.read_text("utf-8").lower() for text in TEXTS.iterdir())
    for word in ("lighthouse", "harbour"):
        count = len(re.findall(rf"(?<![^\W\d_])(?<!')\b{word}\b(?!'[a-z])", words))
        assert f"{count} {word}\n" in merged


def test_results_go_to_the_bucket_that_their_job_names_and_are_fetched_from_there(
    stack: Stack, objects: S3Server, tmp_path: Path
) -> None:
    given = ("-V", "bucket=results", "-V", f"endpoint={objects.url}")
    job_id = stack.skrei("job", "run", "--id-only", *given, str(ROOT / "examples/s3/results.yaml")).strip()
    stack.skrei("job", "wait", job_id)
    (found,) = httpx2.get(f"{stack.jobs}/{job_id}/results").json()["Items"]
    params = found["Params"]
    assert (found["Type"], params["Managed"], params["SourceSpec"]["Bucket"]) == ("s3PreSigned", False, "results")
    archive = (objects.folder / "data/results" / params["SourceSpec"]["Key"]).read_bytes()
    assert f"sha256:{hashlib.sha256(archive).hexdigest()}" == params["Digest"]
    assert httpx2.get(params["PreSignedURL"]).content == archive
    stack.skrei("job", "get", job_id, "--output-dir", str(tmp_path))
    assert (tmp_path / "letters/first.txt").read_text() == "Hello, reader!\n"


def test_paths_of_a_result_go_to_places_of_their_own_and_are_fetched_from_each(
    stack: Stack, objects: S3Server, tmp_path: Path
) -> None:
    given = ("-V", "bucket=results", "-V", f"endpoint={objects.url}")
    words = ("--dry-run", "--format", "yaml", *given, str(ROOT / "examples/s3/results.yaml"))
    file = yaml.safe_load(stack.skrei("job", "run", *words))
    (task,) = file["Tasks"]
    del task["Publisher"]
    own = {"Type": "s3", "Params": {"Bucket": "results", "Key": "{jobID}/letters", "Endpoint": objects.url}}
    task["ResultPaths"][0]["Publisher"] = own
    other = {"Type": "s3", "Params": own["Params"] | {"Bucket": "books", "Key": "{jobID}/none"}}
    task["ResultPaths"].append({"Name": "none", "Path": "/none", "Publisher": other})
    task["ResultPaths"].append({"Name": "kept", "Path": "/kept"})
    later = {"Source": {"Type": "task", "Params": {"Task": task["Name"]}}, "Target": "/in"}
    (program, *_) = job(objects, "batch")["Tasks"][0]["InputSources"]
    reader = job(objects, "batch")["Tasks"][0] | {"Name": "later", "InputSources": [program, later]}
    job_id = stack.run(json.loads(json.dumps(file | {"Tasks": [task, reader]})))
    listed = httpx2.get(f"{stack.jobs}/{job_id}/results").json()["Items"]
    found = {tuple(each["Params"].get("ResultPaths", "-")): each for each in listed}
    assert set(found) == {(), ("letters",), ("none",), ("-",)}
    assert (found[()]["Type"], found["letters",]["Type"], found["none",]["Type"]) == (
        "urlDownload",
        "s3PreSigned",
        "s3PreSigned",
    )
    for bucket, key in (("results", "letters"), ("books", "none")):
        archive = (objects.folder / f"data/{bucket}/{job_id}/{key}.tar.gz").read_bytes()
        params = found[key,]["Params"]
        assert f"sha256:{hashlib.sha256(archive).hexdigest()}" == params["Digest"]
        assert httpx2.get(params["PreSignedURL"]).content == archive
    stack.skrei("job", "get", job_id, "--output-dir", str(tmp_path / "all"))
    left = {path.relative_to(tmp_path / "all").as_posix() for path in (tmp_path / "all" / task["Name"]).rglob("*")}
    assert {f"{task['Name']}/{name}" for name in ("letters/first.txt", "none", "kept", "stdout", "exitCode")} <= left
    assert stack.skrei("job", "cat", job_id, "--task", task["Name"], "letters/first.txt") == "Hello, reader!\n"
    assert "letters" in stack.skrei("job", "results", job_id)
    (execution,) = [each for each in stack.executions(job_id) if each["Task"] == "later"]
    assert execution["State"] == "Completed", "a later task reads all of it"


def test_what_was_published_anywhere_is_the_input_of_a_later_task(stack: Stack, objects: S3Server) -> None:
    """One archive, single files, and the owner's bucket: each is read by the task that waits for it."""
    file = job(objects, "batch")
    (first,) = file["Tasks"]
    places = {
        "packed": {"Type": "s3", "Params": {"Bucket": "results", "Key": "{jobID}/a", "Endpoint": objects.url}},
        "plain": {
            "Type": "s3",
            "Params": {"Bucket": "results", "Key": "{jobID}/b", "Endpoint": objects.url, "Encoding": "plain"},
        },
        "managed": {"Type": "s3managed"},
    }
    tasks = [first | {"Name": name, "Publisher": place} for name, place in places.items()]
    program = first["InputSources"][0]
    for name in places:
        source = {"Source": {"Type": "task", "Params": {"Task": name}}, "Target": "/in"}
        tasks.append(first | {"Name": f"read-{name}", "DependsOn": [name], "InputSources": [program, source]})
    job_id = stack.run(json.loads(json.dumps(file | {"Tasks": tasks})))  # else YAML names what is there twice
    told = {each["Task"]: each["RunOutput"]["Stdout"] for each in stack.executions(job_id)}
    for name in places:
        assert sorted(re.findall(r"line \d+", told[f"read-{name}"])) == LINES, name
    assert (objects.folder / "data/results" / job_id / "b/stdout").read_bytes()
    assert list((objects.folder / "data/results/all" / job_id).iterdir())


def test_a_bucket_that_is_not_there_is_why_a_job_failed_and_a_wrong_word_is_refused_at_once(
    stack: Stack, objects: S3Server
) -> None:
    file = job(objects, "batch")
    place = {"Type": "s3", "Params": {"Bucket": "gone", "Key": "k", "Endpoint": objects.url}}
    file["Tasks"][0]["Publisher"] = place
    job_id = httpx2.put(stack.jobs, json={"Job": file}).json()["JobID"]
    subprocess.run([SKREI, "job", "wait", job_id], env=stack.environment, capture_output=True, check=False)
    assert f"there is no bucket gone at {objects.url}" in stack.message(job_id)
    file["Tasks"][0]["Publisher"] = {"Type": "s3", "Params": {"Bukket": "gone", "Key": "k"}}
    refused = httpx2.put(stack.jobs, json={"Job": file})
    assert refused.status_code == 400
    assert "Tasks[0].Publisher.Params.Bukket" in refused.json()["Message"]
