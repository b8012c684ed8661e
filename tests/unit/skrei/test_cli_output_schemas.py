"""What programs read keeps its shape: every command's JSON and YAML fit docs/schemas/output.json."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from skrei.cli import tree
from tests.support.fake_api import FakeApi
from tests.support.output_shapes import PAGE, fits
from tests.support.served_api import serving
from tests.unit.skrei.test_cli_golden import ID, NODES, answers

COMMANDS = {
    "job list": "job list",
    "job describe": f"job describe {ID}",
    "job results": "job results everywhere",
    "job executions": f"job executions {ID}",
    "job history": f"job history {ID}",
    "job versions": f"job versions {ID}",
    "node list": "node list",
    "node describe": "node describe n-1",
    "node data list": "node data list --data-dir {here}",
    "node service list": "node service list --data-dir {here}",
    "admin gc": "admin gc --dry-run",
    "agent alive": "agent alive",
    "agent version": "agent version",
    "version": "version",
    "doctor": "doctor",
    "profile list": "profile list",
    "profile show": "profile show near",
    "config list": "config list log",
}
ELSEWHERE = {"job ls"}  # needs a stored result: tests/integration/test_cli_runs.py
WITHOUT_SHAPE = {"agent node", "agent config"}
"""What the server says of itself, as it says it."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    told = answers() | {"GET /api/v1/orchestrator/nodes/n-1": {"Node": NODES[0]}}
    with serving(FakeApi(told)) as url:
        yield url


@pytest.fixture
def here(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in which everything of this user lies."""
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "SKREI_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("SKREI_API_URL", address)
    (tmp_path / "skrei").mkdir()
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "data-sets.json").write_text('{"books": "/srv/books:rw"}')
    (tmp_path / "agent" / "services.json").write_text('{"duckdb": "file:///srv/x.duckdb:rw", "db": "127.0.0.1:1"}')
    (tmp_path / "skrei" / "profiles.json").write_text('{"profiles": {"near": {"endpoint": "http://near:1"}}}')
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.row("7.3/columns", "7.2/object")
def test_the_output_for_programs_has_its_shape(
    name: str, here: Path, skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        words = COMMANDS[name].replace("{here}", str(here)).split()
        assert skrei(*words, "-o", form) in ((0, 1) if name == "doctor" else (0,))  # 1: something is missing here
        document = read(capsys.readouterr().out)
        assert fits(name, document), document
        assert not fits(name, document | {"apiVersion": "skrei/v2"})


def test_every_command_for_programs_has_a_shape() -> None:
    read = {name for name in tree.COMMANDS if any("json" in option.choices for option in tree.load(name).options)}
    short = {"list", "describe"}  # of `job list` and `job describe`
    makes_jobs = {"run", "job run", "docker run", "wasm run", "data copy"}  # their --format is that of job files
    shaped = set(PAGE["definitions"]) & set(tree.COMMANDS)
    assert read - short - makes_jobs - WITHOUT_SHAPE == shaped
    assert set(COMMANDS) | ELSEWHERE == shaped
