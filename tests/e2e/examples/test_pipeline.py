"""examples/ci/deploy.sh as a pipeline runs it: green, with tests that fail, and with a version that is never ready."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.environment import ROOT
from skrei import Client
from tests.support.docker_daemon import DockerDaemon, why_no_docker
from tests.support.live_stack import LiveStack

CI = ROOT / "examples/ci"
BROKEN_TEST = ('echo "$VERSION" >', 'echo "not $VERSION" >')
"""What the tests find."""
SOON_ENOUGH = ("Update:\n", "Update:\n  MinReady: 1s\n")
"""For a test: what was ready for a second counts."""
NEVER_READY = ("exec httpd", '[ -z "${BACALHAU_PORT_http:-}" ] || exec sleep 600\nexec httpd')
"""What they do not: it hangs where Skrei gives it a port."""


class Repository:
    """Somebody's checkout with these files in it."""

    def __init__(self, folder: Path, url: str, docker: DockerDaemon) -> None:
        self.folder = folder / "deploy"
        shutil.copytree(CI, self.folder)
        self.change(*SOON_ENOUGH, "service.yaml")
        (folder / "token").write_text("")
        self._words = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "SKREI_API_URL": url,
            "DOCKER_HOST": docker.url,
            "DOCKER_BUILDKIT": "0",
            "READY_SECONDS": "10",
        }

    def change(self, before: str, after: str, name: str = "app/serve.sh") -> None:
        file = self.folder / name
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))

    def deploy(self, version: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["sh", str(self.folder / "deploy.sh")],
            env=self._words | {"VERSION": version},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "\x1b" not in done.stdout + done.stderr
        return done


@pytest.fixture
def repository(docker: DockerDaemon | None, stack: LiveStack, tmp_path: Path) -> Repository:
    if docker is None:
        pytest.skip(why_no_docker())
    return Repository(tmp_path, stack.state()["api_url"], docker)


@pytest.mark.usefixtures("here")
def test_a_pipeline_deploys_refuses_what_fails_its_tests_and_goes_back_from_what_is_never_ready(
    repository: Repository,
) -> None:
    with Client() as client:
        for version in ("one", "two"):
            green = repository.deploy(version)
            assert green.returncode == 0, green.stderr
            assert f"ok: the shop says it is {version}" in green.stdout
            assert green.stderr.splitlines()[-1] == f"== shop is at {version}"
        served = client.jobs.get("shop")

        repository.change(*BROKEN_TEST)
        again = repository.deploy("two")  # the same version in another run: its tests run anew
        assert (again.returncode, "FAILED: the shop says it is 'not two'" in again.stderr) == (3, True), again.stderr
        red = repository.deploy("three")
        assert (red.returncode, "FAILED: the shop says it is 'not three'" in red.stderr) == (3, True), red.stderr
        assert "roll" not in red.stderr
        assert client.jobs.get("shop").version == served.version

        repository.change(*reversed(BROKEN_TEST))
        repository.change(*NEVER_READY)
        hung = repository.deploy("four")
        assert hung.returncode == 1, hung.stderr
        assert re.search(r"back to version \d", hung.stderr), hung.stderr
        assert hung.stderr.splitlines()[-1] == "== shop is not at four: it was never ready"
        back = client.jobs.get("shop").wait_ready(timeout=30)
        assert (back.version, back.view.document["Labels"]["version"]) == (served.version + 2, "two")
        back.stop()


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_a_pipeline_s_file_is_yaml_and_calls_the_script(name: str) -> None:
    text = (CI / name).read_text("utf-8")
    assert yaml.safe_load(text)
    assert "sh deploy/deploy.sh" in text
    for word in ("SKREI_API_URL", "SKREI_API_KEY_FILE", "VERSION", "IMAGE", "RUN_ID"):
        assert word in text
