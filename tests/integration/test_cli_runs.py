"""The command line against a real stack: streams, exit codes, Ctrl+C and several partitions, as a user meets them."""

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wasmtime

from skrei_plugin_api.testing import Behaviour
from tests.support.live_stack import NOISE, LiveStack, live_stack
from tests.support.output_shapes import fits
from tests.support.terminal import CTRL_C, Terminal
from tests.support.typing_at import SKREI, Typist, environment_at
from tests.support.wasm_steps import Exit, Say, Sleep, Step, Trap, program
from tests.support.wat import ROOT_FD, behaving

pytestmark = pytest.mark.timeout(120)
BINARY = bytes(range(256)) * 300

Module = Callable[..., str]


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    with live_stack() as running:
        yield running


@pytest.fixture
def environment(stack: LiveStack, tmp_path: Path) -> dict[str, str]:
    return environment_at(stack, tmp_path)


@pytest.fixture
def skrei(environment: dict[str, str]) -> Typist:
    return Typist(environment)


@pytest.fixture
def module(tmp_path: Path) -> Module:
    def write(*steps: Step) -> str:
        path = tmp_path / "program.wasm"
        path.write_bytes(program(*steps))
        return str(path)

    return write


def test_the_job_s_streams_and_exit_code_are_ours_and_the_rest_is_on_stderr(skrei: Typist, module: Module) -> None:
    done = skrei("wasm", "run", module(Say(b"hello\n"), Say(b"oh\n", 2), Exit(7)))
    assert (done.stdout, done.returncode) == (b"hello\n", 7)
    assert re.fullmatch(rb"Job j-[0-9a-f-]{36}\noh\n", done.stderr)
    assert b"Completed (exit 7)" in skrei("list", "-n", "1").stdout
    assert skrei("job", "wait", "-").returncode == 7


def test_an_exit_code_is_a_failure_where_the_job_says_so_and_still_ours(skrei: Typist, module: Module) -> None:
    done = skrei("wasm", "run", "-q", "--fail-on", "exit-code", module(Say(b"hello\n"), Exit(7)))
    assert (done.stdout, done.returncode) == (b"hello\n", 7)
    assert b"the program ended with exit code 7 (FailOn: exit-code)" in done.stderr
    assert b"State     = Failed" in skrei("describe", "-").stdout
    assert skrei("job", "cat", "-", "stdout").returncode == 1  # what failed counts for nobody


@pytest.mark.parametrize("wait", [0.0, 0.8])
def test_output_is_exact_to_its_last_byte_whatever_the_bytes_and_however_long_it_takes(
    skrei: Typist, module: Module, wait: float
) -> None:
    steps = [Say(b"text \xc3\xa9\n"), *([Sleep(wait)] if wait else []), Say(BINARY), Say(b"\xc3")]
    done = skrei("wasm", "run", "-q", module(*steps))
    assert done.stdout == b"text \xc3\xa9\n" + BINARY + b"\xc3"
    assert (done.stderr, done.returncode) == (b"", 0)


@pytest.mark.row("5.3/live-logs", "12/wasm-logs")
def test_a_long_text_that_comes_live_is_whole(skrei: Typist, module: Module) -> None:
    line = b"0123456789abcde\n"
    done = skrei("wasm", "run", "-q", module(Say(line, 1, 20_000), Sleep(0.6), Say(b"the end")))
    assert done.stdout == line * 20_000 + b"the end"


@pytest.mark.parametrize(
    ("step", "options", "code", "told"),
    [
        (Trap(), "", 1, "wasm trap"),
        (Sleep(30), "--timeout 1", 124, "took longer than"),
        (Say(b""), "--entry-point nope", 125, "unable to find the entrypoint 'nope'"),
        (Say(b""), "--cpu 9000", 125, "9000"),
        (Say(b""), "-i /etc:/etc", 125, "/etc"),
    ],
)
def test_what_is_not_the_program_s_doing_has_an_exit_code_of_its_own(
    skrei: Typist, module: Module, *, step: Step, options: str, code: int, told: str
) -> None:
    done = skrei("wasm", "run", *options.split(), module(step))
    assert done.returncode == code, done.stderr
    assert told in done.stderr.decode()
    assert b"More: skrei describe j-" in done.stderr


@pytest.mark.row("7.4/wait", "7.2/runtime")
def test_an_id_alone_is_printed_by_whichever_flag_asks_for_it(skrei: Typist, module: Module) -> None:
    path = module(Say(b"x"))
    for flag in ("--id-only", "--wait=false", "--no-wait", "-d"):
        done = skrei("wasm", "run", flag, path)
        assert re.fullmatch(rb"j-[0-9a-f-]{36}\n", done.stdout), flag
        assert (done.stderr, done.returncode) == (b"", 0)
        assert done.stdout.strip() in skrei("describe", "-").stdout


def test_a_job_is_found_by_prefix_name_and_dash(skrei: Typist, module: Module) -> None:
    job = skrei("wasm", "run", "--id-only", "--name", "found", module(Say(b"said\n"))).stdout.decode().strip()
    for named in (job, job[:12], "found", "-"):
        assert job in skrei("describe", named).stdout.decode()
        assert job in skrei("job", "describe", named).stdout.decode()
    assert skrei("logs", "-f").stdout == b"said\n"
    skrei("stop", "found")


@pytest.mark.row("7.4/follow", "7.2/runtime")
def test_a_file_with_follow_behaves_like_a_run(skrei: Typist, module: Module, tmp_path: Path) -> None:
    path = module(Say(b"from a file\n"), Exit(4))
    file = tmp_path / "job.yaml"
    file.write_text(
        "Type: batch\nTasks:\n- Name: main\n  Engine: {Type: wasm, Params: {EntryModule: /m, Entrypoint: _start}}\n"
        f"  InputSources: [{{Source: {{Type: inline, Params: {{File: {path}}}}}, Target: /m}}]\n"
    )
    done = skrei("run", "--follow", "-q", str(file))
    assert (done.stdout, done.returncode) == (b"from a file\n", 4)


def test_several_partitions_carry_their_number_on_a_terminal_and_none_in_a_pipe(
    skrei: Typist, module: Module, environment: dict[str, str]
) -> None:
    path = module(Say(b"one\ntwo\n"), Sleep(0.5), Say(b"end"))
    piped = skrei("wasm", "run", "-q", "--count", "3", path)
    assert sorted(piped.stdout.splitlines()) == sorted([b"one", b"two", b"end"] * 3)
    with Terminal([SKREI, "wasm", "run", "--count", "3", path], environment) as terminal:
        assert terminal.end() == 0
        seen = re.sub(r"\x1b\[\d*m", "", terminal.text)  # each partition has a colour of its own
        for partition in range(3):
            assert [f"[{partition}] {text}" in seen for text in ("one", "two", "end")] == [True] * 3


@pytest.mark.row("7.4/hints")
def test_a_person_sees_the_id_and_the_next_step_in_grey(module: Module, environment: dict[str, str]) -> None:
    with Terminal([SKREI, "wasm", "run", module(Say(b"hello\n"))], environment) as terminal:
        assert terminal.end() == 0
        shown = terminal.text
    assert re.search(r"\x1b\[90mJob j-[0-9a-f-]{36}\x1b\[0m\n", shown)
    assert "hello\n" in shown
    assert re.search(r"\x1b\[90mNext: skrei describe j-[0-9a-f]{8}", shown)


@pytest.mark.row("7.4/interrupt")
def test_ctrl_c_leaves_the_job_and_says_how_to_come_back(
    skrei: Typist, module: Module, environment: dict[str, str]
) -> None:
    with Terminal([SKREI, "wasm", "run", module(Say(b"begun\n"), Sleep(4), Say(b"done\n"))], environment) as terminal:
        terminal.until("begun")
        terminal.press(CTRL_C)
        back = re.search(r"Come back: skrei (logs -f j-[0-9a-f]{8})", terminal.until("again stops it."))
        assert terminal.end() == 130
    assert back is not None
    assert skrei(*back[1].split()).stdout == b"begun\ndone\n"


@pytest.mark.row("7.4/interrupt")
def test_a_second_ctrl_c_stops_the_job(skrei: Typist, module: Module, environment: dict[str, str]) -> None:
    with Terminal([SKREI, "wasm", "run", module(Say(b"begun\n"), Sleep(60))], environment) as terminal:
        terminal.until("begun")
        terminal.press(CTRL_C)
        terminal.until("again stops it.")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
        assert "Stopped j-" in terminal.text
    assert b"State     = Stopped" in skrei("describe", "-").stdout


def test_a_reader_that_leaves_ends_the_stay_and_not_the_job(
    skrei: Typist, module: Module, environment: dict[str, str]
) -> None:
    path = module(Say(b"one\n"), Sleep(0.8), Say(b"two\n"), Sleep(0.3))
    piped = subprocess.run(
        f"{SKREI} wasm run -q {path} | head -n 1", shell=True, capture_output=True, check=False, env=environment
    )
    assert (piped.stdout, piped.stderr) == (b"one\n", b"")
    assert skrei("logs", "-f", "-").stdout == b"one\ntwo\n"


@pytest.mark.row("7.3/job-rerun")
@pytest.mark.row("7.3/job-versions")
def test_a_job_is_changed_scaled_compared_rolled_back_and_run_again(
    skrei: Typist, module: Module, tmp_path: Path
) -> None:
    path = module(Say(b"hello\n"))
    assert skrei("wasm", "run", "-q", "--name", "changes", path).stdout == b"hello\n"
    assert skrei("job", "scale", "changes", "2").returncode == 0
    assert skrei("job", "wait", "changes").stdout.endswith(b" Completed\n")
    told = skrei("job", "diff", "changes").stdout.decode()
    assert "-Count: 1\n+Count: 2\n" in told
    assert b"scaled to" not in skrei("job", "scale", "changes", "2").stdout
    assert skrei("job", "rollback", "changes").returncode == 0
    assert skrei("job", "rerun", "-q", "changes", "-v", "2").stdout == b"hello\n" * 2
    listed = skrei("job", "versions", "changes", "-o", "csv").stdout.decode().splitlines()
    assert [line.partition(",")[0] for line in listed] == ["VERSION", "1", "2", "3", "4"]
    assert [line.split(",")[3] for line in listed[1:]] == ["1", "2", "1", "2"]
    file = tmp_path / "changes.yaml"
    file.write_bytes(skrei("wasm", "run", "--dry-run", "--name", "changes", "--count", "3", path).stdout)
    assert b"3" in skrei("job", "run", "--dry-run", str(file)).stdout
    assert b"Count" in skrei("job", "diff", str(file)).stdout


@pytest.mark.row("6.3/one-file")
def test_results_are_looked_into_without_fetching_them(skrei: Typist, module: Module, tmp_path: Path) -> None:
    assert skrei("wasm", "run", "-q", "--name", "look", "--count", "2", module(Say(b"\x1b[1mhi\n"))).returncode == 0
    listed = skrei("job", "ls", "look", "-o", "csv").stdout.decode().splitlines()
    assert [line for line in listed if "stdout" in line] == ["0,7,stdout", "1,7,stdout"]
    assert fits("job ls", json.loads(skrei("job", "ls", "look", "-o", "json").stdout))
    assert skrei("job", "cat", "look", "stdout").stdout == b"\x1b[1mhi\n" * 2
    assert skrei("job", "cat", "look/stdout", "--partition", "1").stdout == b"\x1b[1mhi\n"
    assert b"The results hold no nope." in skrei("job", "cat", "look", "nope").stderr
    got = skrei("get", "look/exitCode", "--output-dir", str(tmp_path / "one"))
    assert got.returncode == 0, got.stderr
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["exitCode"]


def test_what_runs_on_every_node_is_told_by_node_and_what_does_not_end_has_no_results(
    skrei: Typist, module: Module, tmp_path: Path
) -> None:
    ran = skrei("wasm", "run", "-q", "--target", "all", "--name", "all", module(Say(b"here\n")))
    assert (ran.returncode, ran.stdout) == (0, b"here\n"), ran.stderr
    node = json.loads(skrei("node", "list", "-o", "json").stdout)["Nodes"][0]["Info"]
    name = node["Labels"]["name"]
    assert fits("job results", told := json.loads(skrei("job", "results", "all", "-o", "json").stdout))
    assert [item["Params"]["NodeID"] for item in told["Items"]] == [node["NodeID"]]
    assert skrei("job", "results", "all", "-o", "csv").stdout.splitlines()[1].startswith(f"{name},e-".encode())
    got = skrei("get", "all", "--output-dir", str(tmp_path / "got"))
    (folder,) = (tmp_path / "got").iterdir()
    assert got.stdout.decode().splitlines()[1].split() == [folder.name, str(folder)]
    assert (folder / "stdout").read_bytes() == b"here\n"
    assert skrei("job", "cat", "all", "stdout", "--node", name, "--task", "main").stdout == b"here\n"
    assert b"Did you mean main? Its tasks: main" in skrei("job", "ls", "all", "--task", "mian").stderr
    daemon = tmp_path / "daemon.yaml"
    daemon.write_bytes(
        skrei("wasm", "run", "--dry-run", "--target", "all", "--name", "still", module(Sleep(60))).stdout.replace(
            b"ops", b"daemon"
        )
    )
    assert skrei("run", str(daemon)).returncode == 0
    refused = skrei("job", "results", "still")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert (
        b"is a daemon: it runs until it is stopped, and has no results\nIts output: skrei job logs j-" in refused.stderr
    )
    assert b"Ready     = 1 of 1" in skrei("describe", "still").stdout
    skrei("stop", "still")


def test_what_a_program_says_cannot_speak_to_a_terminal_and_is_exact_elsewhere(
    module: Module, environment: dict[str, str], skrei: Typist
) -> None:
    path = module(Say(b"\x1b]0;owned\x07a\tb \xc2\x9b1m caf\xc3\xa9\r\n"))
    with Terminal([SKREI, "wasm", "run", "-q", path], environment) as terminal:
        assert terminal.end() == 0
        shown = terminal.text
    assert "^[]0;owned^Ga\tb \\x9b1m café" in shown
    assert "\x1b]0;" not in shown
    assert skrei("logs", "-").stdout == b"\x1b]0;owned\x07a\tb \xc2\x9b1m caf\xc3\xa9\r\n"
    with Terminal([SKREI, "describe", "-"], environment) as terminal:
        assert terminal.end() == 0
        assert "\x1b]0;" not in terminal.text


def a_task(name: str, wasm: bytes, *inputs: tuple[str, str, str], **more: object) -> dict[str, object]:
    """A task that runs a module; `inputs` are (target, task, path) of what earlier ones left."""
    url = "data:application/wasm;base64," + base64.b64encode(wasm).decode()
    sources: list[dict[str, object]] = [{"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": "/m.wasm"}]
    sources += [
        {"Source": {"Type": "task", "Params": {"Task": task, "Path": path}}, "Target": target}
        for target, task, path in inputs
    ]
    engine = {"Type": "wasm", "Params": {"EntryModule": "/m.wasm"}}
    small = {"CPU": "20m", "Memory": "10mb"}
    return {"Name": name, "Engine": engine, "InputSources": sources, "Resources": small, **more}


def test_what_tasks_leave_is_the_input_of_later_ones_small_or_uploaded(
    stack: LiveStack, skrei: Typist, tmp_path: Path
) -> None:
    writes = behaving(Behaviour(say="made\n", write={"first/made.txt": "by hand"}))
    outputs = [{"Name": "out", "Path": "/first"}]
    noise = bytes(wasmtime.wat2wasm(NOISE.format(mebibytes=1)))
    reads = behaving(Behaviour(print_file="/1/made.txt"), file_fd=ROOT_FD + 1)  # an input that is a folder is open
    code = behaving(Behaviour(print_file="/code"))
    job = {
        "Type": "batch",
        "Tasks": [
            a_task("read", reads, ("/parts", "make", "out")),
            a_task("code", code, ("/code", "noise", "exitCode")),
            a_task("make", writes, Count=2, ResultPaths=outputs),
            a_task("noise", noise),
            a_task("last", behaving(Behaviour(say="last\n")), DependsOn=["read", "code"]),
        ],
    }
    job_id = stack.submit({"Job": job})
    assert stack.wait_for([job_id], 60) == {job_id: "Completed"}, stack.call("GET", f"/jobs/{job_id}")
    stack.check_once(job_id, 6)
    said = skrei("describe", job_id).stdout.decode()
    assert "--- task read, partition 0\nby hand\n" in said
    assert "--- task code, partition 0\n0\n" in said
    assert re.search(r"\nlast +Completed +1/1 +read, code\n", said)
    assert skrei("get", job_id, "--output-dir", str(tmp_path / "got")).returncode == 0
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == ["code", "last", "make", "noise", "read"]
    assert (tmp_path / "got/make/stdout").read_bytes() == b"made\nmade\n"
    assert (tmp_path / "got/noise/stdout").stat().st_size == 1 << 20


def test_a_failed_task_is_named_and_what_waits_for_it_is_skipped(stack: LiveStack, skrei: Typist) -> None:
    tasks = [
        a_task("breaks", program(Say(b"so far\n"), Trap())),
        a_task("beside", program(Sleep(60))),
        a_task("after", program(Say(b"never\n")), DependsOn=["breaks"]),
    ]
    job_id = stack.submit({"Job": {"Type": "batch", "Tasks": tasks}})
    assert stack.wait_for([job_id], 30) == {job_id: "Failed"}
    said = skrei("describe", job_id).stdout.decode()
    assert "Message   = Task breaks: " in said
    assert re.search(r"\nbreaks +Failed ", said)
    assert re.search(r"\nafter +Skipped +0/1 +breaks\n", said)
    assert "Skipped, since what they wait for has not completed: after" in said
    executions = stack.call("GET", f"/jobs/{job_id}/executions")["Items"]
    assert sorted(one["Task"] for one in executions) == ["beside", "breaks"]


def test_an_input_that_an_earlier_task_did_not_leave_fails_with_what_it_left(stack: LiveStack, skrei: Typist) -> None:
    tasks = [
        a_task("make", program(Say(b"x"))),
        a_task("read", program(Say(b"never")), ("/in", "make", "outputs")),
    ]
    job_id = stack.submit({"Job": {"Type": "batch", "Tasks": tasks}})
    assert stack.wait_for([job_id], 30) == {job_id: "Failed"}
    told = "Task read: the result of task 'make' has no 'outputs'; it holds exitCode, stderr, stdout"
    assert told in skrei("describe", job_id).stdout.decode()
