"""The docker engine beyond the contract, on a real dockerd: what programs are given, may do, and how they fail."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from skrei_domain.errors import SkreiError
from skrei_plugin_api.engine import Mount
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.streams import cut_line
from skrei_plugin_api.testing import Running, contents, eventually
from skrei_plugin_docker.engine import DockerEngine
from tests.support.docker_daemon import AS_USER, BUSYBOX, COMMAND, SPEAKING, DockerDaemon
from tests.support.docker_engine import LONGEST_SECONDS, Bench, a_bench, failure

MIB = 1024 * 1024


@pytest.fixture
async def bench(tmp_path: Path, docker: DockerDaemon) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, docker) as made:
        yield made


@pytest.mark.parametrize(
    ("image", "entrypoint", "parameters", "said"),
    [
        (SPEAKING, None, None, "entry cmd\n"),
        (SPEAKING, None, [], "entry cmd\n"),
        (SPEAKING, None, ["a", "b"], "entry a b\n"),
        (SPEAKING, ["/bin/echo", "own"], None, "own\n"),
        (SPEAKING, ["/bin/echo", "own"], ["a"], "own a\n"),
        (SPEAKING, [], ["/bin/echo", "a"], "a\n"),
        (SPEAKING, [""], ["/bin/echo", "a"], "a\n"),
        (COMMAND, None, None, "cmd\n"),
        (COMMAND, None, ["/bin/echo", "a"], "a\n"),
        (COMMAND, ["/bin/echo"], None, "\n"),
        (COMMAND, ["/bin/echo"], ["two  words", "$HOME"], "two  words $HOME\n"),
        (BUSYBOX, None, ["echo", "from PATH"], "from PATH\n"),
    ],
)
@pytest.mark.row("5.1/entrypoint")
async def test_entrypoint_and_parameters_are_dockers_own(
    bench: Bench, image: str, entrypoint: list[str] | None, parameters: list[str] | None, said: str
) -> None:
    given: dict[str, Any] = {"Entrypoint": entrypoint, "Parameters": parameters}
    assert await bench.says(Image=image, **given) == said


@pytest.mark.row("5.1/environment", "2.7/engine-wins")
async def test_the_engines_variables_win_over_the_tasks_and_both_over_the_images(bench: Bench) -> None:
    said = await bench.says(
        "env",
        Image=SPEAKING,
        env={"A": "task", "B": "task", "BACALHAU_JOB_ID": "j-1"},
        EnvironmentVariables=["B=engine", "C==with = signs"],
    )
    lines = said.splitlines()
    assert {"A=task", "B=engine", "C==with = signs", "BACALHAU_JOB_ID=j-1", "FROM_IMAGE=yes"} <= set(lines)


@pytest.mark.row("5.1/working-directory")
async def test_the_working_directory_is_the_images_or_the_tasks(bench: Bench) -> None:
    assert await bench.says("pwd", Image=SPEAKING) == "/srv\n"
    assert await bench.says("pwd", Image=SPEAKING, WorkingDirectory="/tmp") == "/tmp\n"


@pytest.mark.row("5.1/exit-code", "5.1/no-terminal")
async def test_an_exit_code_is_the_programs_own_and_there_is_no_terminal(bench: Bench) -> None:
    outcome = await bench.run("test -t 0 || test -t 1 || exit 42", Image=BUSYBOX)
    assert (outcome.exit_code, outcome.failure) == (42, None)


async def test_rights_are_few_also_for_root(bench: Bench) -> None:
    said = await bench.says("grep -E '^(NoNewPrivs|CapEff|CapBnd)' /proc/self/status")
    fields = dict(line.split(":\t") for line in said.splitlines())
    kept = sum(1 << bit for bit in (0, 1, 3, 6, 7))  # CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID
    assert fields == {"NoNewPrivs": "1", "CapEff": f"{kept:016x}", "CapBnd": f"{kept:016x}"}


async def test_a_node_may_take_the_last_rights_away(tmp_path: Path, docker: DockerDaemon) -> None:
    async with a_bench(tmp_path, docker, capabilities="none") as bench:
        assert await bench.says("grep ^CapBnd /proc/self/status") == f"CapBnd:\t{0:016x}\n"
        assert (await bench.run("chown 1 /tmp")).exit_code == 1


@pytest.mark.row("5.1/limits")
async def test_limits_are_the_containers(bench: Bench, docker: DockerDaemon) -> None:
    request = bench.request("sleep 60", memory_bytes=64 * MIB, cpu_milli=1500)
    run = asyncio.ensure_future(bench.engine.run(request, running := Running()))
    await eventually(lambda: running.times == 1)
    wanted = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}"
    told = docker.cli("inspect", "--format", wanted, f"skrei-{request.execution_id}-1")
    run.cancel()
    await asyncio.wait([run])
    assert told.split() == [str(64 * MIB), str(64 * MIB), "1500000000", "4096"]


async def test_a_fork_bomb_meets_the_limit_of_processes(tmp_path: Path, docker: DockerDaemon) -> None:
    async with a_bench(tmp_path, docker, pids="20") as bench:
        outcome = await bench.run("for i in $(seq 50); do sleep 5 & done; echo never", timeout_seconds=20.0)
    assert b"fork" in outcome.stderr_head.data
    assert outcome.exit_code not in (None, 0)


@pytest.mark.row("5.1/oom")
async def test_memory_beyond_the_limit_is_a_failure_that_names_it(bench: Bench) -> None:
    code, message = failure(await bench.run("echo before; exec tail /dev/zero", memory_bytes=16 * MIB))
    assert code == "out-of-memory"
    assert "memory limit exceeded" in message
    assert str(16 * MIB) in message


@pytest.mark.row("5.2/networks")
async def test_networks_are_none_bridge_and_host(bench: Bench, docker: DockerDaemon) -> None:
    interfaces = "ls /sys/class/net"
    assert (await bench.says(interfaces, network="None")).split() == ["lo"]
    assert docker.bridge in (await bench.says(interfaces, network="Host")).split()
    assert docker.bridge in (await bench.says(interfaces, network="Full")).split()
    if docker.bridge:
        for name in ("Bridge", "Default"):
            assert (await bench.says(interfaces, network=name)).split() == ["eth0", "lo"]
        gateway = await bench.says("grep host.docker.internal /etc/hosts; ip route", network="Bridge")
        assert gateway.split()[0] in gateway.splitlines()[1]


@pytest.mark.parametrize("staging", ["bind", "volume"])
@pytest.mark.row("5.1/inputs-and-outputs")
async def test_an_input_cannot_be_written_and_an_output_can_by_any_user(
    tmp_path: Path, docker: DockerDaemon, staging: str
) -> None:
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.txt").write_text("A")
    script = (
        "cat /in/deep/a.txt; touch /in/x 2>/dev/null || echo refused; id -u > /out/who; mkdir /out/d; echo b >/out/d/b"
    )
    async with a_bench(tmp_path, docker, staging=staging) as bench:
        outcome = await bench.run(
            script, Image=AS_USER, mounts=[Mount(source, "/in")], outputs={"made": "/out", "empty": "/other"}
        )
    assert outcome.stdout_head.data == b"Arefused\n"
    found = contents(outcome)
    assert (found["made/who"], found["made/d/b"], found["empty"]) == (b"1234\n", b"b\n", None)


@pytest.mark.parametrize("staging", ["auto", "volume"])
async def test_a_writable_input_is_written_in_place_or_refused(
    tmp_path: Path, docker: DockerDaemon, staging: str
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    async with a_bench(tmp_path, docker, staging=staging) as bench:
        outcome = await bench.run("echo new > /in/file", mounts=[Mount(source, "/in", read_write=True)])
    if staging == "auto":
        assert (source / "file").read_text() == "new\n"
    else:
        code, message = failure(outcome)
        assert code == "input-invalid"
        assert "/in" in message


async def test_what_lies_in_volumes_comes_back_as_files_and_folders_alone(tmp_path: Path, docker: DockerDaemon) -> None:
    script = "cd /out; ln -s /etc/passwd link; mkfifo pipe; echo a > a; ln a again; mkdir -p d/e; printf x > d/e/f"
    async with a_bench(tmp_path, docker, staging="volume") as bench:
        outcome = await bench.run(script, outputs={"made": "/out"})
    found = contents(outcome)
    assert {name: data for name, data in found.items() if name.startswith("made/")} == {
        "made/d": None,
        "made/d/e": None,
        "made/a": b"a\n",
        "made/again": b"a\n",
        "made/d/e/f": b"x",
    }


@pytest.mark.parametrize("staging", ["bind", "volume"])
async def test_outputs_beyond_the_limit_are_a_failure(tmp_path: Path, docker: DockerDaemon, staging: str) -> None:
    async with a_bench(tmp_path, docker, staging=staging) as bench:
        outcome = await bench.run(
            "head -c 3000000 /dev/zero > /out/large", outputs={"made": "/out"}, max_output_bytes=2_000_000
        )
    assert failure(outcome)[0] == "output-too-large"


@pytest.mark.row("5.6/streams")
async def test_bytes_are_what_was_written_and_streams_are_apart(bench: Bench) -> None:
    outcome = await bench.run(r"printf '\377\000\001'; printf 'no newline' >&2; printf '\n\r'")
    found = contents(outcome)
    assert (found["stdout"], found["stderr"]) == (b"\xff\x00\x01\n\r", b"no newline")


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        ({"Entrypoint": ["/nowhere"]}, "executable-invalid", "no such program (127)"),
        ({"Parameters": ["nowhere"]}, "executable-invalid", "no such program (127)"),
        ({"Entrypoint": ["/srv/plain.txt"]}, "executable-invalid", "may not be executed (126)"),
        ({"Entrypoint": ["/srv/broken"]}, "executable-invalid", "none that this machine can run (126)"),
        ({"Entrypoint": ["/srv"]}, "executable-invalid", "(126)"),
        ({}, "executable-invalid", "names no program to run"),
        (
            {"Parameters": ["true"], "Image": "nowhere.invalid/x:1", "Pull": "never"},
            "image-unavailable",
            "`Pull: never`",
        ),
    ],
)
@pytest.mark.row("5.1/start-failure")
async def test_what_cannot_start_says_why_and_what_to_do(
    bench: Bench, params: dict[str, Any], code: str, words: str
) -> None:
    found, message = failure(await bench.run(**params))
    assert found == code, message
    assert words in message
    assert "\n" not in message
    assert message.endswith(")")


async def test_memory_below_what_a_container_needs_says_how_much(bench: Bench) -> None:
    code, message = failure(await bench.run("true", memory_bytes=MIB))
    assert code == "container-refused"
    assert "6mb" in message


async def test_two_at_one_place_are_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    mounts = [Mount(tmp_path / "a", "/x"), Mount(tmp_path / "a", "/x/")]
    code, message = failure(await bench.run("true", mounts=mounts))
    assert (code, "same place" in message) == ("input-invalid", True), message


@pytest.mark.row("5.5/output-limit")
async def test_a_program_that_says_too_much_goes_on_and_what_is_kept_says_where_it_was_cut(bench: Bench) -> None:
    outcome = await bench.run("yes | head -c 3000000; echo done >&2; exit 3", max_stream_bytes=100_000)
    assert (outcome.exit_code, outcome.failure) == (3, None)
    found = contents(outcome)
    assert found["stdout"] == b"y\n" * 50_000 + cut_line("stdout", 100_000)
    assert found["stderr"] == b"done\n"


async def test_an_end_from_outside_is_told_before_it_is_known_whether_the_daemon_goes_too(
    bench: Bench, docker: DockerDaemon
) -> None:
    request = bench.request("echo ready; sleep 600")
    run = asyncio.ensure_future(bench.engine.run(request, running := Running()))
    stdout = request.workdir / "stdout"
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"ready\n")
    docker.cli("kill", docker.named()[0]["Names"])
    await eventually(lambda: running.ends == 1)
    assert ((await run).exit_code, running.ends) == (137, 1)


@pytest.mark.row("5.1/stop")
async def test_a_stop_is_polite_first(bench: Bench, docker: DockerDaemon) -> None:
    request = bench.request("trap 'echo asked; exit 3' TERM; echo ready; while true; do sleep 0.05; done")
    run = asyncio.ensure_future(bench.engine.run(request, Running()))
    stdout = request.workdir / "stdout"
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"ready\n")
    run.cancel()
    await asyncio.wait([run])
    assert stdout.read_bytes() == b"ready\nasked\n"
    assert "Exited (3)" in docker.named()[0]["Status"]


@pytest.mark.row("5.1/stop")
@pytest.mark.parametrize(("grace", "code"), [(0, 137), (20, 3)])
async def test_a_task_says_how_long_its_stop_may_take_and_is_heard_meanwhile(
    bench: Bench, docker: DockerDaemon, grace: int, code: int
) -> None:
    """Its node would end it after a second; it takes two."""
    script = "trap 'echo asked; sleep 2; echo done; exit 3' TERM; echo ready; while true; do sleep 0.05; done"
    request = bench.request(script, stop_grace_seconds=grace)
    run = asyncio.ensure_future(bench.engine.run(request, Running()))
    stdout = request.workdir / "stdout"
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"ready\n")
    run.cancel()
    if grace:
        await eventually(lambda: stdout.read_bytes() == b"ready\nasked\n")
        assert not run.done()
    await asyncio.wait([run])
    assert (b"done" in stdout.read_bytes()) is bool(grace)
    assert f"Exited ({code})" in docker.named()[0]["Status"]


async def test_an_agent_that_ends_does_not_wait_for_a_stop_that_is_under_way(bench: Bench) -> None:
    script = "trap 'echo asked; sleep 600' TERM; echo ready; while true; do sleep 0.05; done"
    request = bench.request(script, stop_grace_seconds=600)
    run = asyncio.ensure_future(bench.engine.run(request, Running()))
    stdout = request.workdir / "stdout"
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"ready\n")
    run.cancel()
    await eventually(lambda: stdout.read_bytes() == b"ready\nasked\n")
    bench.engine.leave()
    run.cancel()
    async with asyncio.timeout(LONGEST_SECONDS):
        await asyncio.wait([run])
    assert run.cancelled()


async def test_an_image_is_told_by_its_id_when_no_registry_gave_it(bench: Bench, docker: DockerDaemon) -> None:
    outcome = await bench.run("true")
    assert outcome.image_digest == docker.cli("image", "inspect", "--format", "{{.Id}}", BUSYBOX).strip()


async def test_an_engine_without_a_daemon_says_so_at_once(tmp_path: Path) -> None:
    engine = DockerEngine(PluginContext(tmp_path, options={"docker_host": f"unix://{tmp_path}/none.sock"}))
    info = await engine.describe()
    assert not info.available
    assert "cannot be reached" in info.reason
    with pytest.raises(SkreiError, match="cannot be reached") as raised:
        await engine.prepare({"Image": BUSYBOX}, lambda _: None)
    assert raised.value.retryable
    await engine.close()


async def test_a_node_that_cannot_filter_networks_says_so_of_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await bench.engine.describe()).reason == ""
    monkeypatch.setattr(bench.engine._filtered, "_image", "")
    info = await bench.engine.describe()
    assert info.available
    assert "no networks filtered by domain on machines of the kind" in info.reason


@pytest.mark.row("5.1/installed")
async def test_the_daemon_that_answers_is_told_with_its_version(bench: Bench, docker: DockerDaemon) -> None:
    info = await bench.engine.describe()
    assert info.available
    assert info.version == docker.cli("version", "--format", "{{.Server.Version}}").strip()


@pytest.mark.row("5.1/left-overs")
async def test_others_containers_are_never_touched(bench: Bench, docker: DockerDaemon, tmp_path: Path) -> None:
    docker.cli("run", "--detach", "--name", "foreign", "--network", "none", BUSYBOX, "sleep", "60")
    neighbour = Bench(tmp_path / "neighbour", docker, node="n-neighbour")
    neighbour.folder.mkdir()
    try:
        await neighbour.run("true", name="e-neighbour")
        await bench.run("true", name="e-mine")
        await bench.run("true", name="e-kept")
        assert await bench.engine.sweep(lambda execution_id: execution_id == "e-kept") == 1
        names = docker.cli("ps", "--all", "--format", "{{.Names}}").split()
        assert {"foreign", "skrei-e-neighbour-1", "skrei-e-kept-1"} == set(names)
        await bench.engine.release("e-kept")
        assert "skrei-e-kept-1" not in docker.cli("ps", "--all", "--format", "{{.Names}}").split()
    finally:
        docker.cli("rm", "--force", "foreign")
        await neighbour.engine.sweep(lambda _: False)
        await neighbour.engine.close()


@pytest.mark.parametrize("staging", ["auto", "volume"])
async def test_files_are_bound_where_the_daemon_sees_them(tmp_path: Path, docker: DockerDaemon, staging: str) -> None:
    """So that the two runs of the contract's suite are about two things."""
    source = tmp_path / "in"
    source.mkdir()
    async with a_bench(tmp_path, docker, staging=staging) as bench:
        request = bench.request("true", mounts=[Mount(source, "/in")], outputs={"made": "/out"})
        await bench.engine.run(request, Running())
        kinds = docker.cli(
            "inspect", "--format", "{{range .Mounts}}{{.Type}} {{end}}", f"skrei-{request.execution_id}-1"
        )
    assert kinds.split() == ["bind" if staging == "auto" else "volume"] * 2


async def test_an_agent_in_a_container_finds_what_the_daemon_sees_of_it(
    tmp_path: Path, docker: DockerDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its container has one folder of the host mounted: paths below it are translated, others are copied."""
    host, inside, unseen = tmp_path / "host", tmp_path / "inside", tmp_path / "unseen"
    for folder in (host, inside, unseen):
        folder.mkdir()
    (host / "data").mkdir()
    (host / "data" / "a.txt").write_text("seen")
    (unseen / "a.txt").write_text("unseen")
    agent = docker.cli("run", "--detach", "--network", "none", "--volume", f"{host}:{inside}", BUSYBOX, "sleep", "60")
    monkeypatch.setattr("skrei_plugin_docker.sight.own_container", lambda *_: agent.strip())
    subprocess.run(["mount", "--bind", host, inside], check=True)  # noqa: ASYNC221
    try:
        async with a_bench(inside, docker) as bench:
            request = bench.request(
                "cat /seen/a.txt /unseen/a.txt; echo b > /out/b",
                mounts=[Mount(inside / "data", "/seen"), Mount(unseen, "/unseen")],
                outputs={"made": "/out"},
            )
            outcome = await bench.engine.run(request, Running())
            form = "{{range .Mounts}}{{.Destination}}={{.Type}}:{{.Source}} {{end}}"
            told = docker.cli("inspect", "--format", form, f"skrei-{request.execution_id}-1")
    finally:
        subprocess.run(["umount", inside], check=True)  # noqa: ASYNC221
        docker.cli("rm", "--force", agent.strip())
    assert outcome.stdout_head.data == b"seenunseen"
    assert contents(outcome)["made/b"] == b"b\n"
    mounted = dict(entry.split("=", 1) for entry in told.split())
    assert mounted["/seen"] == f"bind:{host}/data"
    assert mounted["/out"] == f"bind:{host}/work-{request.execution_id}-1/outputs/made"
    assert mounted["/unseen"].startswith("volume:")


async def test_a_daemon_that_sees_other_files_at_the_same_paths_is_found_out(
    tmp_path: Path, docker: DockerDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like one in a virtual machine: the path is there as well, and is not ours."""
    other = tmp_path / "other"
    (other / "canary").mkdir(parents=True)
    (tmp_path / "in").mkdir()
    monkeypatch.setattr("skrei_plugin_docker.sight.translate", lambda *_: str(other))
    async with a_bench(tmp_path, docker) as bench:
        request = bench.request("true", mounts=[Mount(tmp_path / "in", "/in")])
        assert await bench.engine._sight._look(BUSYBOX) == ()
        monkeypatch.undo()
        await bench.engine.run(request, Running())
