"""README.md, run as it is written: its five minutes, and the same with curl, on a machine of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.environment import ROOT
from tests.support.docker_daemon import DockerDaemon, docker_with_ubuntu
from tests.support.netns import Host, hosts
from tests.support.servers import server_folder

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]
README = (ROOT / "README.md").read_text("utf-8")
START_SECONDS = 60.0
STOP_SECONDS = 30


def blocks(section: str) -> list[str]:
    """The commands of a section, block by block."""
    found = re.search(rf"^## {re.escape(section)}$(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    assert found, section
    return re.findall(r"^```\n(.*?)^```$", found[1], re.MULTILINE | re.DOTALL)


@pytest.fixture
def docker() -> Iterator[DockerDaemon]:
    with docker_with_ubuntu() as daemon:
        yield daemon


class Reader:
    """Somebody with a checkout, a home folder, and a machine whose usual ports are free."""

    def __init__(self, host: Host, home: Path, docker: DockerDaemon) -> None:
        self.checkout = home / "skrei"
        self.checkout.mkdir()
        shutil.copytree(ROOT / "examples", self.checkout / "examples")
        (self.checkout / ".venv" / "bin").mkdir(parents=True)
        (self.checkout / ".venv" / "bin" / "skrei").symlink_to(Path(sys.executable).with_name("skrei"))
        self._host = host
        named = ("SKREI_", "BACALHAU_", "XDG_")
        self._words = {name: value for name, value in os.environ.items() if not name.startswith(named)}
        self._words |= {"HOME": str(home), "DOCKER_HOST": docker.url, "SKREI_DATA_DIR": str(home / "data")}

    def run(self, script: str, **more: str) -> str:
        """Run a block; its output once it has ended well."""
        done = subprocess.run(
            self._host.inside("bash", "-eu", "-o", "pipefail", "-c", script), cwd=self.checkout,
            env=self._words | more, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False,
            text=True, errors="replace",  # the frames of a WebSocket
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def serve(self, script: str, log: Path) -> "subprocess.Popen[bytes]":
        with log.open("wb") as out:
            return subprocess.Popen(
                self._host.inside("bash", "-euc", f"export PATH=$PWD/.venv/bin:$PATH; exec {script}"),
                cwd=self.checkout, env=self._words, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip


def test_the_five_minutes_and_the_same_with_curl_do_what_they_say(docker: DockerDaemon) -> None:
    first, serve, second = blocks("Five minutes")
    (curl,) = blocks("The same with curl")
    with hosts(1) as (host,), server_folder() as home:
        reader = Reader(host, home, docker)
        assert "hello\n" in reader.run(first, SKREI_AUTOSTART="1")
        stack = reader.serve(serve.strip(), home / "serve.log")
        try:
            _until_listed(reader, home / "serve.log", stack)
            told = reader.run(second)
            assert "Completed" in told
            fetched = (reader.checkout / "words").rglob("words.txt")
            places = sorted(str(path.relative_to(reader.checkout)) for path in fetched)
            assert places == [f"words/{partition}/counts/words.txt" for partition in range(4)]
            told = reader.run(
                "export PATH=$PWD/.venv/bin:$PATH\n" + curl.replace("curl -s $API/jobs/words/results", POLL)
            )
            assert '"StateType"' in told
            assert '"Params"' in told
        finally:
            stack.send_signal(signal.SIGTERM)
            stack.wait(STOP_SECONDS)


POLL = "skrei job wait words; curl -s $API/jobs/words/results"
"""Whoever reads waits until the job has ended; a script has to say so."""


def _until_listed(reader: Reader, log: Path, stack: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_SECONDS
    while "CONNECTED" not in reader.run(".venv/bin/skrei node list || true"):
        assert stack.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)  # another process is awaited
