"""`skrei devstack`: several nodes on one machine, usable as it says, and nothing left of it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.docker_daemon import BUSYBOX, running_docker, why_no_docker
from tests.support.servers import server_folder
from tests.support.wasm_steps import Say, program

pytestmark = pytest.mark.timeout(180)
SKREI = str(Path(sys.executable).with_name("skrei"))
START_SECONDS = 90.0
STOP_SECONDS = 40


@pytest.mark.row("7.3/devstack")
def test_a_devstack_has_its_nodes_takes_work_and_leaves_nothing() -> None:
    with contextlib.ExitStack() as opened:
        no_docker = why_no_docker()
        docker = None if no_docker else opened.enter_context(running_docker())
        place = opened.enter_context(server_folder())
        log = place / "devstack.log"
        (place / "hello.wasm").write_bytes(program(Say(b"hello\n")))
        own = {"XDG_STATE_HOME": str(place / "state"), "XDG_CONFIG_HOME": str(place / "config"), "TMPDIR": str(place)}
        own |= {"DOCKER_HOST": docker.url if docker else "unix:///nobody"}
        with log.open("wb") as out:
            command = [SKREI, "devstack", "--random-ports", "--computes", "2"]
            stack = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | own, start_new_session=True)
        try:
            told = _until(log, "export BACALHAU_API_PORT=", stack)
            exported = dict(re.findall(r"^export (\w+)=(.*)$", told, re.MULTILINE))
            assert "Devstack is ready!" in told
            environment = {k: v for k, v in os.environ.items() if not k.startswith("SKREI_")} | own | exported

            def skrei(*words: str) -> str:
                done = subprocess.run([SKREI, *words], env=environment, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
                return done.stdout

            listed = skrei("node", "list", "--show", "labels", "--order-by", "id").splitlines()
            assert sorted(re.findall(r" id=(node-\d) ", "\n".join(listed))) == ["node-1", "node-2"]
            assert all("env=devstack" in line for line in listed[1:])
            assert skrei("wasm", "run", "-q", "-s", "id=node-2", str(place / "hello.wasm")) == "hello\n"
            if docker:
                job = skrei("docker", "run", "-d", BUSYBOX, "sleep", "600").strip()
                skrei("job", "wait", "--for", "running", job)
                assert len(docker.named()) == 1
        finally:
            stack.send_signal(signal.SIGINT)
            assert stack.wait(STOP_SECONDS) == 130
        left = subprocess.run(["pgrep", "-f", str(place)], capture_output=True, text=True, check=False).stdout
        assert (left, list(place.glob("skrei-devstack-*"))) == ("", [])
        if docker is None:
            pytest.skip(f"all but what becomes of containers held; {no_docker}")
        assert docker.named() == []


def _until(log: Path, text: str, stack: "subprocess.Popen[bytes]") -> str:
    end = time.monotonic() + START_SECONDS
    while text not in (told := log.read_text()):
        assert stack.poll() is None, told
        assert time.monotonic() < end, told
        time.sleep(0.1)  # another process is awaited: there is nothing in this one to wait for
    return told
