import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from skrei.cli import logs, several_logs
from tests.support.fake_api import FakeApi, error, event, execution, job
from tests.support.served_api import serving

JOBS = "/api/v1/orchestrator/jobs"
ID = job()["ID"]
SAYS_ONE = """
from skrei.cli import live_logs, main
from skrei.views import LogLine
live_logs.frames = lambda *_: iter([None, LogLine(1, "one")])
main.main()
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api() -> FakeApi:
    return FakeApi({})


@pytest.fixture
def run(api: FakeApi, printed: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    with serving(api) as url:
        monkeypatch.setenv("SKREI_API_URL", url)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        yield printed


def answers_of_a_job(state: str, *executions: dict[str, object], message: str = "") -> dict[str, object]:
    found = job(state, count=max(len(executions), 1), State={"StateType": state, "Message": message})
    told = {"NextToken": "", "Items": [event(1, "Job submitted"), event(2, state, IsError="true")]}
    listed = {"NextToken": "", "Items": list(executions)}
    return {
        f"PUT {JOBS}": {
            "JobID": ID,
            "EvaluationID": "ev",
            "Warnings": ["job ID is ignored when submitting a batch job"],
        },
        f"GET {JOBS}/{ID}": {"Job": found, "History": told, "Executions": listed},
        f"GET {JOBS}/{ID}/history": told,
        f"GET {JOBS}/{ID}/executions": listed,
    }


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(
        "Name: hello\nType: batch\nTasks: [{Name: main, Engine: {Type: wasm, Params: {EntryModule: /m.wasm}}}]\n"
    )
    return path


@pytest.mark.row("7.4/first-line", "7.4/hints")
def test_a_job_is_submitted_followed_and_its_output_shown(run: Run, api: FakeApi, job_file: Path) -> None:
    output = {"Stdout": "15\n", "stderr": "", "ExitCode": 0}
    api.answers |= answers_of_a_job("Completed", execution(1, RunOutput=output))
    code, out, err = run("job", "run", str(job_file))
    assert code == 0
    assert out.splitlines()[0] == f"Job successfully submitted. Job ID: {ID}"
    assert "Standard output\n15\n" in out
    assert f"skrei get {ID[:10]}" in out
    assert "Job submitted" in err
    assert "Warning: job ID is ignored" in err


def test_a_job_of_many_parts_says_where_their_output_is(run: Run, api: FakeApi, job_file: Path) -> None:
    api.answers |= answers_of_a_job("Completed", *(execution(number, number) for number in range(5)))
    out = run("job", "run", str(job_file))[1]
    assert f"What its 5 partitions said: skrei logs {ID[:10]}" in out


def test_who_stops_reading_is_told_that_the_job_goes_on(run: Run, api: FakeApi, job_file: Path) -> None:
    """The reader of standard output is gone before anything is said."""
    api.answers |= answers_of_a_job("Running", execution(1, state=6))
    command = [sys.executable, "-c", SAYS_ONE, "job", "run", "--follow", str(job_file)]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 141
    assert f"the job goes on: skrei logs -f {ID[:10]}, skrei stop {ID[:10]}" in done.stderr


@pytest.mark.row("7.1/exit-codes", "3.5/printed")
@pytest.mark.row("7.4/failed")
def test_a_job_that_does_not_complete_exits_as_docker_run_does_with_its_reason(
    run: Run, api: FakeApi, job_file: Path
) -> None:
    api.answers |= answers_of_a_job("Failed", execution(1, state=10), message="unreachable executed")
    code, _, err = run("job", "run", str(job_file))
    assert code == 125  # no line of it was run
    ran = {"NextToken": "", "Items": [event(1, "Job submitted"), event(2, "Running", execution(1)["ID"])]}
    api.answers[f"GET {JOBS}/{ID}/history"] = ran
    assert run("job", "run", str(job_file))[0] == 1
    assert f"Error: job {ID[:10]} failed: unreachable executed" in err


@pytest.mark.row("7.3/no-diff")
def test_a_dry_run_that_would_change_nothing_says_so(run: Run, api: FakeApi, job_file: Path) -> None:
    api.answers[f"PUT {JOBS}/diff"] = {"Diff": "", "Warnings": None}
    assert run("job", "run", "--dry-run", str(job_file))[:2] == (0, "No diff detected.\n")
    api.answers[f"PUT {JOBS}/diff"] = {"Diff": '- "Count": 1,\n+ "Count": 2,', "Warnings": None}
    assert run("job", "run", "--dry-run", str(job_file))[:2] == (0, '- "Count": 1,\n+ "Count": 2,\n')
    assert {request.url.path for request in api.requests} == {f"{JOBS}/diff"}, "nothing was submitted"


@pytest.mark.row("7.4/first-line")
def test_id_only_prints_the_id_and_nothing_else(run: Run, api: FakeApi, job_file: Path) -> None:
    api.answers |= answers_of_a_job("Running")
    assert run("job", "run", "--id-only", str(job_file))[:2] == (0, f"{ID}\n")


def test_a_copy_that_is_made_says_where_it_is_and_one_that_is_left_alone_only_its_job(run: Run, api: FakeApi) -> None:
    published = {"Type": "ipfs", "Params": {"CID": "bafy"}}
    api.answers |= answers_of_a_job("Completed", execution(1, PublishedResult=published))
    code, out, _ = run("data", "copy", "data://books", "ipfs://")
    assert (code, out.splitlines()[-1]) == (0, "ipfs://bafy/data")
    assert run("data", "copy", "--id-only", "data://books", "ipfs://")[:2] == (0, f"{ID}\n")


def test_the_output_for_programs_is_the_api_s_document_with_its_version(run: Run, api: FakeApi) -> None:
    api.answers[f"GET {JOBS}"] = {"NextToken": "t", "Items": [job()]}
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        code, out, err = run("job", "list", "-o", form)
        assert (code, err) == (0, "")
        assert read(out) == {"apiVersion": "skrei/v1", "NextToken": "t", "Items": [job()]}


@pytest.mark.row("7.3/next-page")
def test_a_table_is_aligned_and_names_the_next_page(run: Run, api: FakeApi) -> None:
    api.answers[f"GET {JOBS}"] = {"NextToken": "tok", "Items": [job(), job("Queued", Name="a much longer name")]}
    _, out, err = run("job", "list")
    header, first, second = out.splitlines()
    assert first.index("wasm") == second.index("wasm") == header.index("ENGINE")
    assert "j-8c9f9f0e" in first
    assert "--next-token tok" in err


def test_a_name_cannot_speak_to_the_terminal(run: Run, api: FakeApi) -> None:
    api.answers[f"GET {JOBS}"] = {"NextToken": "", "Items": [job(Name="\x1b]0;owned\x07")]}
    _, out, _ = run("job", "list")
    assert "\x1b" not in out
    assert "owned" in out


def test_describe_tells_why_a_job_waits(run: Run, api: FakeApi) -> None:
    reason = "not enough nodes to run job.\n• Node n-1: requires 64 CPU, has 2"
    api.answers |= answers_of_a_job("Queued", message=reason)
    code, out, _ = run("job", "describe", ID)
    assert code == 0
    assert "Why\nnot enough nodes to run job.\n• Node n-1: requires 64 CPU, has 2" in out
    assert "Waiting 1" in out


def test_describe_tells_a_long_reason_once_and_whose_it_is(run: Run, api: FakeApi) -> None:
    why, other = "this node does not hand out /texts/of/mine (its owner can allow it)", ("no room " * 12).strip()
    failed = [execution(n, n, 10, ComputeState={"StateType": 10, "Message": why if n < 3 else other}) for n in range(5)]
    api.answers |= answers_of_a_job("Failed", *failed, message=why)
    _, out, _ = run("job", "describe", ID)
    assert f"Why\n{why}\ne-00000003 (partition 3, n-1) and 1 more: {other}\n\nExecutions\n" in out
    assert (out.count(why), out.count(other)) == (2, 1)  # the first beside its state too
    assert out.count(f"{why[:60].rstrip()} … (as above)\n") == 3
    assert run("job", "executions", ID)[1].count(why) == 1
    assert run("job", "executions", ID, "--wide")[1].count(why) == 3


def test_describe_of_very_many_shows_those_that_tell_most_and_how_many_more_there_are(run: Run, api: FakeApi) -> None:
    ran = [execution(n, n, RunOutput={"Stdout": f"said {n}\n", "ExitCode": int(n == 119)}) for n in range(120)]
    ran[118] |= {"ComputeState": {"StateType": 10, "Message": "no room"}}
    api.answers |= answers_of_a_job("Failed", *ran)
    _, out, _ = run("job", "describe", ID)
    rows, said = (
        out.split(f"\n{head}\n")[1].split("\n\n")[0].splitlines() for head in ("Executions", "Standard output")
    )
    assert (len(rows), rows[-1]) == (102, f"… and 20 more: skrei job executions {ID[:10]}")
    assert [row.split()[1] for row in rows[1:-1]] == [*map(str, range(98)), "118", "119"]
    assert [line for line in said if line.startswith("said")] == [f"said {n}" for n in (*range(18), 118, 119)]
    assert said[-1] == f"… and 100 more: skrei logs {ran[0]['JobID']}"
    assert "more:" not in run("job", "executions", ID)[1]


def test_describe_of_very_many_shows_what_failed_before_what_still_runs_or_was_stopped(run: Run, api: FakeApi) -> None:
    ran = [execution(n, n, ComputeState={"StateType": 6 + 5 * (n % 2), "Message": ""}) for n in range(120)]
    ran[119] |= {"ComputeState": {"StateType": 10, "Message": "no room"}}
    api.answers |= answers_of_a_job("Running", *ran)
    rows = run("job", "describe", ID)[1].split("\nExecutions\n")[1].split("\n\n")[0].splitlines()
    assert [row.split()[1] for row in rows[1:-1]] == [*map(str, range(99)), "119"]


def test_describe_of_a_service_of_very_many_says_how_many_addresses_more_there_are(run: Run, api: FakeApi) -> None:
    reached = [{"Address": f"10.0.0.1:{20_000 + n}", "Name": "http", "PartitionIndex": n} for n in range(103)]
    api.answers |= answers_of_a_job("Running")
    found: dict[str, object] = api.answers[f"GET {JOBS}/{ID}"]
    found["Endpoints"] = {"NextToken": "", "Items": reached}
    _, out, _ = run("job", "describe", ID)
    rows = out.split("\nEndpoints\n")[1].split("\n\n")[0].splitlines()
    assert (len(rows), rows[-1]) == (102, f"… and 3 more: skrei job describe -o json {ID[:10]}")
    assert "10.0.0.1:20099" in rows[-2]
    found["Endpoints"] = {"NextToken": "", "Items": reached[:100]}
    assert "more:" not in run("job", "describe", ID)[1]


def test_describe_tells_each_image_that_ran_once(run: Run, api: FakeApi) -> None:
    ran = [execution(number, number - 1, ImageDigest="app@sha256:1") for number in (1, 2)]
    api.answers |= answers_of_a_job("Completed", *ran)
    _, out, _ = run("job", "describe", ID)
    assert out.count("app@sha256:1") == 1
    assert "Image     = app@sha256:1" in out


def data(local: int, moved: int, cached: int = 0, hits: int = 0, *, more: bool = False) -> dict[str, object]:
    return {"Local": local, "Moved": moved, "Cached": cached, "CacheHits": hits, "AtLeast": more}


def test_describe_tells_what_each_execution_read_and_what_all_of_them_did(run: Run, api: FakeApi) -> None:
    read = [data(61_000_000, 1_300), data(5_000, 0, 5_000, 2)]
    ran = [execution(number, number, DataRead=each) for number, each in enumerate(read)]
    api.answers |= answers_of_a_job("Completed", *ran, execution(2, 2))
    _, out, _ = run("job", "describe", ID)
    assert "Data      = read in place 61 MB · from the nodes' caches 5.0 KB · moved 1.3 KB\n" in out
    section = [" ".join(line.split()) for line in out.split("\nData\n")[1].splitlines()[:4]]
    assert section == [
        "ID PARTITION NODE IN PLACE FROM CACHE MOVED",
        "e-00000000 0 n-1 61 MB 1.3 KB",
        "e-00000001 1 n-1 0 B 5.0 KB in 2 files 0 B",
        "",
    ]


@pytest.mark.parametrize("how", [(), ("--follow",)])
def test_after_a_run_that_read_data_one_line_tells_how_much_of_it_moved(
    run: Run, api: FakeApi, job_file: Path, how: tuple[str, ...]
) -> None:
    api.answers |= answers_of_a_job("Completed", execution(1, DataRead=data(61_000_000, 1_300, more=True)))
    _, out, err = run("job", "run", *how, str(job_file))
    assert err.splitlines()[-1] == "read in place at least 61 MB · moved 1.3 KB"
    assert "moved" not in out


def test_a_run_that_read_nothing_says_nothing_of_it(run: Run, api: FakeApi, job_file: Path) -> None:
    api.answers |= answers_of_a_job("Completed", execution(1))
    assert "moved" not in "".join(map(str, run("job", "run", str(job_file))))


def test_an_unknown_job_is_one_line_and_exit_one(run: Run, api: FakeApi) -> None:
    api.answers[f"GET {JOBS}/x"] = error(404, "job not found: x", Hint="skrei job list")
    assert run("job", "describe", "x") == (1, "", "Error: job not found: x\nskrei job list\n")


def test_an_unreachable_api_says_how_to_start_one(run: Run) -> None:
    code, out, err = run("node", "list", "--api", "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    what, todo = err.splitlines()
    assert what == "Error: No Skrei API answers at http://127.0.0.1:9."
    assert "skrei serve" in todo


def test_a_module_travels_in_its_job_and_the_rest_are_its_arguments(run: Run, tmp_path: Path) -> None:
    module = tmp_path / "x.wasm"
    module.write_bytes(b"\0asm")
    options = ["--count", "3", "-e", "K=a=b", "-i", "/data:/in", "-i", "src=file:///d,dst=/d,opt=rw", "-o", "out:/out"]
    options += ["--cpu", "1", "--timeout", "9", "--constraints", "region=eu,!gpu", "--dry-run"]
    code, out, _ = run("wasm", "run", *options, str(module), "--flag", "-e", "x")
    found = yaml.safe_load(out)
    task = found["Tasks"][0]
    assert code == 0
    assert task["Engine"]["Params"] == {
        "EntryModule": "/main.wasm",
        "Entrypoint": "_start",
        "Parameters": ["--flag", "-e", "x"],
    }
    assert task["Env"] == {"K": "a=b"}
    assert [one["Target"] for one in task["InputSources"]] == ["/main.wasm", "/in", "/d"]
    assert task["InputSources"][2]["Source"] == {"Type": "local", "Params": {"SourcePath": "/d", "ReadWrite": True}}
    assert task["ResultPaths"] == [{"Name": "out", "Path": "/out"}]
    assert (task["Resources"], task["Timeouts"], found["Count"]) == ({"CPU": "1"}, {"TotalTimeout": 9}, 3)
    assert found["Constraints"][1] == {"Key": "gpu", "Operator": "!", "Values": []}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-e", "NOVALUE"], "--env NOVALUE: no NOVALUE is set here."),
        (["-i", "git://bucket/key"], "git:// is not known here"),
        (["-i", "src=/a,dest=/b"], "'dest' is not known"),
        (["-o", "out"], "not NAME:PATH"),
        (["--constraints", "a in ("], "is not a label selector"),
    ],
)
def test_a_flag_that_says_nothing_is_refused_before_anything_is_sent(
    run: Run, tmp_path: Path, options: list[str], told: str
) -> None:
    module = tmp_path / "x.wasm"
    module.write_bytes(b"\0asm")
    code, _, err = run("wasm", "run", *options, str(module))
    assert code == 125
    assert told in err


@pytest.mark.row("7.3/job-validate")
def test_validate_names_every_wrong_field_without_an_api(run: Run, tmp_path: Path, job_file: Path) -> None:
    assert run("job", "validate", str(job_file))[:2] == (0, "OK\n")
    bad = tmp_path / "bad.yaml"
    bad.write_text("Type: batsch\nCount: -1\nTasks: [{Engine: {Type: wasm}}]\n")
    code, _, err = run("job", "validate", str(bad))
    assert code == 1
    assert {"Type", "Count", "Tasks[0].Name"} <= {word.rstrip(":") for word in err.replace("\n", " ").split()}


def test_validate_tells_what_is_wrong_with_the_file_and_with_the_job_at_once(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "Type: batch\nCount: -3\nBogus: 1\nTasks:\n- Name: main\n  Engine: {Type: wasm}\n  InputSources:\n"
        "  - {Target: /in, Source: {Type: inline, Params: {File: nowhere.bin}}}\n"
    )
    code, _, err = run("job", "validate", str(bad))
    assert code == 1
    assert err.splitlines()[1:-1] == [
        "  unknown field: 'Bogus' in 'Job'",
        f"  {tmp_path}/nowhere.bin cannot be read: No such file or directory.",
        "  Count: -3; allowed: a whole number from 0 to 10,000",
        "  Tasks[0].Engine.Params.EntryModule: missing; allowed: the target of the input that brings the module",
    ]


@pytest.mark.row("7.3/job-stop", "7.3/job-stop-ended")
def test_a_stop_tells_its_evaluation_and_a_second_one_that_it_was_stopped(run: Run, api: FakeApi) -> None:
    api.answers[f"DELETE {JOBS}/x"] = [{"EvaluationID": "ev"}, {"EvaluationID": ""}]
    assert run("job", "stop", "x")[1] == "Job stop successfully submitted with evaluation ID: ev\n"
    assert run("job", "stop", "x")[1] == "The job was stopped before.\n"


def test_a_reader_that_leaves_is_told_nothing(job_file: Path) -> None:
    command = [sys.executable, "-m", "skrei.cli.main", "job", "run", "--dry-run", str(job_file)]
    done = subprocess.run(["bash", "-c", f"{shlex.join(command)} | true"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_whole_output_is_promised_only_where_a_result_is_stored(run: Run, api: FakeApi) -> None:
    output = {"Stdout": "15\n", "StdoutTruncated": True, "ExitCode": 0}
    lost = execution(1, RunOutput=output, PublishedResult={"Type": "", "Params": {}})
    api.answers |= answers_of_a_job("Completed", lost)
    assert "have all of it" not in run("job", "describe", ID)[2]
    api.answers |= answers_of_a_job("Completed", lost | {"PublishedResult": {"Type": "skrei", "Params": {}}})
    assert "have all of it" in run("job", "describe", ID)[2]


@pytest.mark.row("12/several-logs")
def test_the_logs_of_several_partitions_are_asked_for_one_by_one_and_told_apart(run: Run, api: FakeApi) -> None:
    api.answers |= answers_of_a_job("Completed", execution(1), execution(2, partition=1))
    code, _, err = run("job", "logs", ID)  # which this API has no WebSocket for
    assert [line.partition("]")[0] for line in err.splitlines()[:2]] == ["[0", "[1"]
    assert code == 1


@pytest.mark.parametrize("count", [1, 2])
def test_the_logs_of_what_never_ran_say_why_they_are_empty(
    count: int, run: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = {"ComputeState": {"StateType": 4, "Message": "image not available: x"}}
    api.answers |= answers_of_a_job("Failed", *(execution(number, number, 4, **why) for number in range(count)))
    for module in (logs, several_logs):
        monkeypatch.setattr(module, "frames", lambda *_: iter([None]))
    assert run("logs", ID) == (0, "", "It said nothing: image not available: x\n")
    assert run("logs", ID, "--tail") == (0, "", "")


@pytest.mark.row("6.3/no-results")
def test_getting_no_results_is_exit_one_and_leaves_no_folder(run: Run, api: FakeApi, tmp_path: Path) -> None:
    api.answers |= answers_of_a_job("Failed", execution(1, state=10))
    api.answers[f"GET {JOBS}/{ID}/results"] = {"NextToken": "", "Items": []}
    code, _, err = run("job", "get", ID, "--output-dir", str(tmp_path / "out"))
    assert code == 1
    assert f"skrei describe {ID[:10]}" in err
    assert not (tmp_path / "out").exists()


def test_results_that_are_over_their_time_are_told_with_that(run: Run, api: FakeApi) -> None:
    left = {"Type": "skrei", "Params": {"Kept": False, "KeptUntil": "2026-11-26T17:55:00Z"}}
    api.answers |= answers_of_a_job("Completed", execution(1, PublishedResult=left))
    api.answers[f"GET {JOBS}/{ID}/results"] = {"NextToken": "", "Items": []}
    _, out, _ = run("job", "results", ID)
    assert out.startswith("None any more: they were kept until 2026-11-26 1")
    del left["Params"]["Kept"]
    assert run("job", "results", ID)[1] == "None: the job is Completed.\n"


def test_a_name_that_is_taken_ends_with_the_flag_for_another(run: Run, api: FakeApi, job_file: Path) -> None:
    api.answers[f"PUT {JOBS}"] = error(409, "there is a job of this name")
    code, _, err = run("job", "run", str(job_file))
    assert code == 125
    assert err.rstrip().endswith("`skrei job rerun` runs it again as it is, `--name OTHER` under another name")


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("--log-level", "zz"), 2, "debug, info, warning, error"),
        (("--database-url", "foo"), 1, "It has the form postgresql://"),
        (
            ("--compute", "--nats-url", "nats://127.0.0.1:1", "--nats-creds", "/nope"),
            1,
            "/nope (--nats-creds) cannot be read",
        ),
    ],
)
def test_serve_refuses_a_flag_that_cannot_work_before_it_starts(
    run: Run, flags: tuple[str, ...], code: int, told: str
) -> None:
    left, _, err = run("serve", *flags)
    assert left == code
    assert told in err
    assert "Traceback" not in err


def test_a_job_without_any_node_says_how_to_start_one(run: Run, api: FakeApi) -> None:
    reason = "not enough nodes to run job. requested: 1, available: 0, suitable: 0."
    api.answers |= answers_of_a_job("Queued", message=reason)
    assert "`skrei node join-line` prints the command" in run("job", "describe", ID)[1]
    api.answers |= answers_of_a_job("Queued", message=f"{reason}\n• 1 of 1 nodes: not connected")
    assert "skrei node join-line" not in run("job", "describe", ID)[1]


@pytest.mark.row("7.3/node-approve")
def test_a_node_is_let_in_turned_away_and_forgotten(run: Run, api: FakeApi) -> None:
    api.answers["PUT /api/v1/orchestrator/nodes/n-1"] = {"Success": True}
    for action in ("approve", "reject", "delete"):
        assert run("node", action, "n-1", "-m", "why")[:2] == (0, "Ok\n")
        assert api.body() == {"Action": action, "Message": "why", "NodeID": "n-1"}


@pytest.mark.row("7.3/wasm-run")
@pytest.mark.parametrize(
    ("words", "entry", "source", "target"),
    [
        (["x.wasm"], "/main.wasm", "inline", "/main.wasm"),
        (["x.wasm:/bin/x.wasm"], "/bin/x.wasm", "inline", "/bin/x.wasm"),
        (["s3://bucket/x.wasm"], "/main.wasm", "s3", "/main.wasm"),
        (["https://a.example/x.wasm:/m/x.wasm"], "/m/x.wasm", "urlDownload", "/m/x.wasm"),
        (["-i", "s3://bucket/all:/in", "/in/x.wasm"], "/in/x.wasm", "s3", "/in"),
    ],
)
def test_a_module_is_a_file_a_uri_or_a_place_in_an_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, words: list[str], entry: str, source: str, target: str
) -> None:
    (tmp_path / "x.wasm").write_bytes(b"\0asm")
    monkeypatch.chdir(tmp_path)
    code, out, err = run("wasm", "run", "--dry-run", *words)
    assert code == 0, err
    task = yaml.safe_load(out)["Tasks"][0]
    assert task["Engine"]["Params"]["EntryModule"] == entry
    assert [(one["Source"]["Type"], one["Target"]) for one in task["InputSources"]] == [(source, target)]


def test_a_job_that_is_watched_is_shown_until_it_has_ended(run: Run, api: FakeApi) -> None:
    api.answers |= answers_of_a_job("Running")
    told = api.answers[f"GET {JOBS}/{ID}"]
    api.answers[f"GET {JOBS}/{ID}"] = [told, told, {**told, "Job": job("Completed")}]
    code, out, _ = run("describe", ID, "--watch", "--interval", "0.01")
    assert code == 0
    assert (out.count("State     = Running"), out.count("State     = Completed")) == (1, 1)


@pytest.mark.row("7.4/endless")
def test_a_service_is_waited_for_until_it_runs(run: Run, api: FakeApi, job_file: Path) -> None:
    running = execution(1, state=6)
    api.answers |= answers_of_a_job("Running", running)
    told = api.answers[f"GET {JOBS}/{ID}"]
    waiting = {"Job": {**told["Job"], "Type": "service", "State": {"StateType": "Pending"}}}
    api.answers[f"GET {JOBS}/{ID}"] = [waiting, {"Job": {**told["Job"], "Type": "service"}}]
    code, out, _ = run("run", str(job_file))
    assert code == 0
    assert "It runs, and goes on: Running 1." in out
    assert f"skrei stop {ID[:10]}" in out
