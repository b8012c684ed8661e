"""What the last release left goes on with this one, and a node of the last release works for this control plane."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from scripts.environment import ROOT
from tests.support.live_stack import LiveStack, live_stack, sleeper_job

pytestmark = pytest.mark.faults

LAST = "v0.1.0"
"""The last release; its tag is in the repository."""


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last release's command: its own sources, and what it depends on from this environment."""
    folder = tmp_path_factory.mktemp("last")
    archive = folder / "last.tar"
    command = ["git", "archive", "-o", archive, LAST, "libs", "services"]
    if subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"the tag {LAST} is not in this checkout; `git fetch --tags` brings it")
    shutil.unpack_archive(archive, folder)
    archive.unlink()
    return an_environment(folder / "venv", sorted(folder.glob("**/src")))


def an_environment(folder: Path, sources: list[Path]) -> Path:
    """Make an environment that finds these sources before all that the one of the tests has; return its `skrei`."""
    packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(Path(sys.executable).resolve())
    (folder / "bin/nats-server").symlink_to(Path(sys.executable).with_name("nats-server"))
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    others = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
    (packages / "last.pth").write_text("\n".join((*map(str, sources), others)) + "\n")
    program = folder / "bin/skrei"
    program.write_text(f"#!{folder}/bin/python\nimport sys\nfrom skrei.cli.main import main\nsys.exit(main())\n")
    program.chmod(0o755)
    return program


def test_the_last_release_goes_on_with_this_one_step_by_step(last: Path) -> None:
    """Its stack is stopped with a job under way; the control plane is upgraded first, then the node."""
    with live_stack(program=last) as old:
        assert httpx2.get(old.state()["api_url"] + "/healthz").status_code == 404, "it is the last release"
        done = old.submit(sleeper_job(0))
        assert old.wait_for([done], 60) == {done: "Completed"}
        running, waiting = old.submit(sleeper_job(2)), old.submit(sleeper_job(0, cpu="1000m"))
        old.wait_until(lambda: old.state_of(running) == "Running", 60, "it runs")
        node_id = old.state()["node_id"]
        old.stop()
        new = LiveStack(old.folder, "--orchestrator")
        try:
            assert new.state_of(done) == "Completed"
            with agent(last.with_name("python"), new, node_id):
                assert new.wait_for([running, waiting], 60) == {running: "Completed", waiting: "Completed"}
            with agent(Path(sys.executable), new, node_id):
                more = new.submit(sleeper_job(0))
                assert new.wait_for([more], 60) == {more: "Completed"}
            for job in (done, running, waiting, more):
                new.check_once(job)
        finally:
            new.stop()


@contextmanager
def agent(python: Path, stack: LiveStack, node_id: str) -> Iterator[None]:
    """Run the node of a stack, of any version, as the supervisor would."""
    environment = {
        "SKREI_NATS_URL": stack.state()["nats_url"],
        "SKREI_NATS_CREDS": str(stack.keys / "node.creds"),
        "SKREI_API_URL": stack.state()["api_url"],
        "SKREI_NODE_ID": node_id,
        "SKREI_DATA_DIR": str(stack.folder / "data" / "agent"),
    }
    command = [python, "-P", "-m", "skrei_compute_agent"]
    with (stack.folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        yield
        assert process.poll() is None, (stack.folder / "agent.log").read_text()
    finally:
        process.terminate()
        process.wait(20)
