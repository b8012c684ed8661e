"""`skrei docker run` with a real Docker daemon behind a real stack, as one types it instead of `docker run`."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docker_daemon import BUSYBOX, DockerDaemon, running_docker, why_no_docker
from tests.support.live_stack import LiveStack, live_stack
from tests.support.terminal import CTRL_C, Terminal
from tests.support.typing_at import SKREI, Typist, environment_at

pytestmark = [pytest.mark.timeout(180), pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker())]


@pytest.fixture(scope="module")
def docker() -> Iterator[DockerDaemon]:
    with running_docker() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def stack(docker: DockerDaemon) -> Iterator[LiveStack]:
    with live_stack(env={"DOCKER_HOST": docker.url}) as running:
        yield running


@pytest.fixture
def environment(stack: LiveStack, tmp_path: Path) -> dict[str, str]:
    return environment_at(stack, tmp_path)


@pytest.fixture
def run(environment: dict[str, str]) -> Typist:
    return Typist(environment, ("docker", "run"))


def test_it_fits_into_a_pipe_as_docker_run_does(environment: dict[str, str]) -> None:
    piped = subprocess.run(
        f"{SKREI} docker run {BUSYBOX} echo hello | wc -c",
        shell=True,
        capture_output=True,
        check=False,
        env=environment,
    )
    assert piped.stdout.strip() == b"6"
    assert re.fullmatch(rb"Job j-[0-9a-f-]{36}\n", piped.stderr)


@pytest.mark.row("7.3/docker-run")
def test_streams_exit_code_environment_and_folder_are_those_of_the_container(run: Typist) -> None:
    script = 'echo "$A in $(pwd)"; echo oh >&2; exit 42'
    done = run("-q", "-e", "A=one", "-w", "/tmp", BUSYBOX, "sh", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == (b"one in /tmp\n", b"oh\n", 42)


def test_live_output_is_whole_to_its_last_byte(run: Typist) -> None:
    done = run("-q", BUSYBOX, "sh", "-c", "echo first; sleep 1; seq 1 20000; printf end")
    assert done.stdout == b"first\n" + b"".join(b"%d\n" % number for number in range(1, 20_001)) + b"end"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((BUSYBOX, "nosuchprogram"), 125, "the image has no such program (127)"),
        (("--pull", "never", "skrei-test/absent:1", "true"), 125, "is not on this node, and `Pull: never`"),
        (("--timeout", "2", BUSYBOX, "sleep", "60"), 124, "took longer than"),
        (("Ubuntu:Latest", "true"), 125, "IMAGE says it."),
    ],
)
def test_what_cannot_be_run_or_takes_too_long_has_its_own_exit_code(
    run: Typist, words: tuple[str, ...], code: int, told: str
) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (code, b""), done.stderr
    assert told in done.stderr.decode()


def test_a_second_ctrl_c_ends_the_container(
    stack: LiveStack, environment: dict[str, str], docker: DockerDaemon
) -> None:
    script = "trap exit TERM; echo begun; sleep 600 & wait"  # the first of a container hears no signal unasked
    command = [SKREI, "docker", "run", BUSYBOX, "sh", "-c", script]
    with Terminal(command, environment) as terminal:
        terminal.until("begun")
        assert docker.cli("ps", "--quiet").split()
        terminal.press(CTRL_C)
        terminal.until("again stops it.")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
    stack.wait_until(lambda: not docker.cli("ps", "--quiet").split(), 30, "the end of the container")
