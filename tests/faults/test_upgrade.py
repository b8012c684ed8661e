"""What an earlier release left goes on with this one, and a node of it works for this control plane."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts import release
from scripts.environment import ROOT
from tests.support.live_stack import LiveStack, live_stack, sleeper_job

pytestmark = pytest.mark.faults

RELEASES = release.before_this()[:2]
"""The last two, for who left one out."""


@pytest.fixture
def last(version: str, tmp_path: Path) -> Path:
    """An earlier release's command: its own sources, and what it depends on from this environment."""
    folder = tmp_path / "last"
    folder.mkdir()
    archive = folder / "last.tar"
    commit = release.commit_of(version)
    if commit is None:
        pytest.skip(f"{version} is not in this checkout's history; `git fetch --unshallow` brings it")
    subprocess.run(["git", "archive", "-o", archive, commit, "libs", "services"], cwd=ROOT, check=True)
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
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


@pytest.mark.parametrize("version", RELEASES)
def test_an_earlier_release_goes_on_with_this_one_step_by_step(version: str, last: Path) -> None:
    """Its stack is stopped with a job under way; the control plane is upgraded first, then the node."""
    with live_stack(program=last) as old:
        asked = [last.with_name("python"), "-c", "import skrei; print(skrei.__version__)"]
        assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == f"{version}\n"
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
