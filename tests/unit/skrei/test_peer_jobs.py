"""The jobs that Bacalhau's command lines mean: what `docker run`, `wasm run` and their flags send."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skrei.cli import docker, render_describe, render_results, wasm
from skrei.cli.render_jobs import progress_states
from skrei.cli.run_options import job_of
from skrei.job_parts import Result
from skrei.progress import Progress
from skrei.results import Fetched
from skrei.views import Execution, Job
from skrei_domain.job import parse_job
from tests.support.fake_api import execution, job
from tests.unit.skrei.test_peer_command_lines import said


def docker_job(line: str) -> dict[str, Any]:
    _, values = said(f"docker run {line}")
    return dict(job_of(values, docker.engine_of(values)))


def task_of(line: str) -> dict[str, Any]:
    (task,) = docker_job(line)["Tasks"]
    return dict(task)


@pytest.mark.row("7.2/run-defaults")
def test_a_bare_run_is_a_batch_of_one_called_main() -> None:
    job = docker_job("ubuntu echo hi")
    assert (job["Type"], job["Count"], job["Priority"], "Name" in job) == ("batch", 1, 0, False)
    (task,) = job["Tasks"]
    assert (task["Name"], task["Engine"]) == (
        "main",
        {"Type": "docker", "Params": {"Image": "ubuntu", "Parameters": ["echo", "hi"]}},
    )
    assert not {"Publisher", "Network"} & set(task), "what is not said is the server's to say"
    spec, warnings = parse_job(job)
    assert (spec.namespace, spec.tasks[0].network.type, warnings) == ("default", "Default", ())


@pytest.mark.row("7.2/target")
def test_target_all_is_an_ops_job_without_a_count() -> None:
    job = docker_job("--target all ubuntu")
    assert (job["Type"], "Count" in job) == ("ops", False)
    assert parse_job(job)[0].count == 0


@pytest.mark.row("7.2/timeout")
def test_timeout_is_that_of_the_whole_job_and_queue_timeout_lies_within_it() -> None:
    assert task_of("--timeout 60 --queue-timeout 30 ubuntu")["Timeouts"] == {"TotalTimeout": 60, "QueueTimeout": 30}
    assert task_of("ubuntu")["Timeouts"] == {}
    with pytest.raises(Exception, match="TotalTimeout: 5; allowed: at least ExecutionTimeout"):
        parse_job(docker_job("--timeout 5 --queue-timeout 30 ubuntu"))


@pytest.mark.row("7.2/task-flags", "7.2/task")
def test_each_flag_of_a_task_stands_where_its_key_does() -> None:
    line = (
        "--entrypoint /bin/sh -w /w -e A=1 -o out:/out -i file:///d:/in -i s3://b/k -p s3://bucket/key,opt=region=eu "
        "--cpu 2 --memory 1Gi --disk 2Gi --gpu 1 --network host ubuntu"
    )
    task = task_of(line)
    assert task["Engine"]["Params"] == {"Image": "ubuntu", "Entrypoint": ["/bin/sh"], "WorkingDirectory": "/w"}
    assert (task["Env"], task["Network"]) == ({"A": "1"}, {"Type": "Host"})
    assert task["ResultPaths"] == [{"Name": "out", "Path": "/out"}]
    assert [(one["Source"]["Type"], one["Target"]) for one in task["InputSources"]] == [
        ("local", "/in"),
        ("s3", "/inputs"),
    ]
    assert task["Publisher"] == {"Type": "s3", "Params": {"Bucket": "bucket", "Key": "key", "Region": "eu"}}
    assert task["Resources"] == {"CPU": "2", "Memory": "1Gi", "Disk": "2Gi", "GPU": "1"}


@pytest.mark.row("7.2/domains")
def test_a_domain_makes_the_network_http() -> None:
    assert task_of("--domain a.example --domain .b.example ubuntu")["Network"] == {
        "Type": "HTTP",
        "Domains": ["a.example", ".b.example"],
    }


@pytest.mark.row("7.2/job-flags", "7.2/job")
def test_each_flag_of_a_job_stands_where_its_key_does() -> None:
    job = docker_job("--name n --namespace s --priority 3 -l a=b,c=d --count 2 --constraints 'region=eu,!gpu' ubuntu")
    assert (job["Name"], job["Namespace"], job["Priority"], job["Count"]) == ("n", "s", 3, 2)
    assert job["Labels"] == {"a": "b", "c": "d"}
    spec, _ = parse_job(job)
    assert [(each.key, each.operator, each.values) for each in spec.constraints] == [
        ("region", "=", ("eu",)),
        ("gpu", "!", ()),
    ]


@pytest.mark.row("7.3/wasm-entry")
def test_a_module_travels_in_the_job_and_its_entrypoint_is_start(tmp_path: Path) -> None:
    module = tmp_path / "m.wasm"
    module.write_bytes(b"\0asm")
    _, values = said(f"wasm run {module} a --b")
    (task,) = wasm.wasm_job(values)["Tasks"]
    params = task["Engine"]["Params"]
    assert (params["EntryModule"], params["Entrypoint"], params["Parameters"]) == ("/main.wasm", "_start", ["a", "--b"])
    (source,) = task["InputSources"]
    assert (source["Source"]["Type"], source["Target"]) == ("inline", "/main.wasm")


@pytest.mark.row("7.3/job-get-told", "6.3/other-types")
def test_where_results_lie_is_told_with_how_many_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = Result.parse({"Type": "s3", "Params": {"Bucket": "b"}})
    there = Fetched(folder=tmp_path, partitions={"0": tmp_path}, files=3, total_bytes=2_048, unknown=(other,))
    render_results.fetched(there)
    out, err = capsys.readouterr()
    assert out == f"Results are in {tmp_path}: 3 files, 2.0 KiB.\n"
    assert "A result of type s3 cannot be fetched from here" in err


def test_what_stays_on_its_node_is_told_where(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    params = {"URL": "http://door/results/e-1.tar.gz", "Path": "/srv/e-1", "Bytes": 3 * 2**20, "NodeName": "ship"}
    left = Result.parse({"Type": "localDirectory", "Params": params})
    render_results.fetched(Fetched(tmp_path, partitions={"0": tmp_path}, files=3, total_bytes=7, left=(left,)))
    told = capsys.readouterr().err
    assert "All of it (3.0 MiB) stays on node ship, in /srv/e-1: here are only its exit code" in told
    part = replace(left, url="", paths=("scans", "notes"))
    render_results.fetched(Fetched(tmp_path, partitions={"0": tmp_path}, files=3, total_bytes=7, left=(part,)))
    told = capsys.readouterr().err
    assert "scans, notes (3.0 MiB) stays on node ship, in /srv/e-1: nothing of it is here." in told


def test_a_result_that_is_packed_otherwise_is_doubted_aloud(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one = Result("http://door/results/e-1.tar.gz", "e-1", 0, kind="s3")
    for found, told in ((1, "the result of e-1 is not packed"), (3, "the result of e-1, and of 2 more, is not packed")):
        render_results.fetched(Fetched(tmp_path, {"0": tmp_path}, 3, 7, doubtful=(one,) * found))
        assert told in capsys.readouterr().err


def test_output_that_was_cut_is_said_to_be_where_all_of_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"RunOutput": {"Stdout": "begun\n", "StdoutTruncated": True}}
    left = {"Type": "localDirectory", "Params": {"NodeID": "n-ship", "Path": "/srv/e-1"}}
    kept = {"Type": "skrei", "Params": {"Kept": True}}
    for published, told in ((left, "on its node, at n-ship:/srv/e-1."), (kept, "`skrei job logs` and `skrei job get`")):
        one = Execution.parse(execution(1, partition=0, state=7) | said | {"PublishedResult": published})
        render_describe.job_output([one])
        assert f"Only its beginning: {'all of it is ' if published is left else ''}{told}" in capsys.readouterr().err


@pytest.mark.row("7.4/summary", "12/cancelled-in-summary")
def test_the_summary_counts_what_was_stopped_too() -> None:
    states = [execution(number, partition=number, state=state) for number, state in enumerate((9, 9, 10, 11, 4))]
    listed = tuple(Execution.parse(one) for one in states)
    told = progress_states(Progress(Job.parse(job("Stopped", count=5)), (), listed))
    assert told == "Completed 2 · Failed 1 · Refused 1 · Stopped 1"
