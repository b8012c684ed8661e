"""What a checkout may contain: nothing of one machine, no index but the one default, every package where it belongs."""

import ast
import importlib
import inspect
import itertools
import pkgutil
import re
import subprocess
import textwrap
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from scripts import pip_settings
from scripts.environment import ROOT, members

LIMIT_BYTES = 1 << 20  # a file beyond this does not belong into git; requirements/dev.txt has 0.2 MB

LAYOUT = {
    "libs/domain": "skrei_domain",
    "libs/kit": "skrei_kit",
    "libs/plugin-api": "skrei_plugin_api",
    "libs/plugins/basic": "skrei_plugin_basic",
    "libs/plugins/docker": "skrei_plugin_docker",
    "libs/plugins/ipfs": "skrei_plugin_ipfs",
    "libs/plugins/kubernetes": "skrei_plugin_kubernetes",
    "libs/plugins/s3": "skrei_plugin_s3",
    "libs/plugins/wasm": "skrei_plugin_wasm",
    "libs/scheduling": "skrei_scheduling",
    "libs/store": "skrei_store",
    "libs/skrei": "skrei",
    "libs/embedded": "skrei_embedded",
    "libs/cluster-init": "skrei_cluster_init",
    "services/orchestrator-api": "skrei_orchestrator_api",
    "services/scheduler": "skrei_scheduler",
    "services/compute-agent": "skrei_compute_agent",
    "services/publisher": "skrei_publisher",
}

# Written in parts, or this file would be the first to break its own rule.
REGISTRIES = (
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "docker" + ".io/library",
    "conda" + ".anaconda",
)
MACHINE_PATHS = re.compile(
    "(?<![A-Za-z0-9_.])/("
    + "|".join(
        ("work/" + "main", "work/" + "shared", "home/[a-z]+", "Users/[a-z]+", "opt/" + "wheels", r"root/\." + "pyenv")
    )
    + ")\\b"
)
INVENTED_USERS = {"/home/ada"}


def tracked() -> list[Path]:
    """Every file that git keeps, and what is new and not ignored."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def texts() -> dict[str, str]:
    found = {}
    for file in tracked():
        content = file.read_bytes()
        if b"\0" not in content:
            found[str(file.relative_to(ROOT))] = content.decode()
    return found


def test_no_file_names_a_package_registry_but_the_one_default() -> None:
    named = {name: text for name, text in texts().items() if any(host in text for host in REGISTRIES)}
    assert set(named) == {"scripts/pip_settings.py"}
    assert sum(text.count(host) for text in named.values() for host in REGISTRIES) == 1
    assert any(host in pip_settings.DEFAULT_INDEX_URL for host in REGISTRIES)


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    found = {
        f"{name}: {match.group()}"
        for name, text in texts().items()
        for match in MACHINE_PATHS.finditer(text)
        if match.group() not in INVENTED_USERS
    }
    assert found == set()


def test_no_file_is_large() -> None:
    assert {str(file.relative_to(ROOT)) for file in tracked() if file.stat().st_size > LIMIT_BYTES} == set()


def test_the_packages_are_those_of_the_layout() -> None:
    assert {str(folder.relative_to(ROOT)) for folder in members(ROOT)} == set(LAYOUT)


@pytest.mark.parametrize(("folder", "module"), LAYOUT.items())
def test_a_package_is_typed_licensed_and_described(folder: str, module: str) -> None:
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == module.replace("_", "-")
    assert project["license"] == "Apache-2.0"
    assert project["requires-python"] == ">=3.11"
    assert project["description"]
    assert (ROOT / folder / "src" / module / "py.typed").is_file()


@pytest.mark.parametrize(("folder", "module"), LAYOUT.items())
def test_every_module_says_which_question_it_answers(folder: str, module: str) -> None:
    silent = {
        str(file.relative_to(ROOT))
        for file in (ROOT / folder / "src" / module).rglob("*.py")
        if not ast.get_docstring(ast.parse(file.read_text()))
    }
    assert silent == set()


@pytest.mark.parametrize("module", LAYOUT.values())
def test_every_setting_is_explained(module: str) -> None:
    unexplained = {
        f"{model.__module__}.{model.__name__}.{name}"
        for model in _settings_models(module)
        for name in set(model.__annotations__) - _documented(model)
        if name != "model_config"
    }
    assert unexplained == set()


def _documented(model: type[BaseModel]) -> set[str]:
    """The fields with a description, or with a docstring below them."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    below = {
        field.target.id
        for field, text in itertools.pairwise(body.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
    return below | {name for name, field in model.model_fields.items() if field.description}


@pytest.mark.parametrize("service", ["orchestrator_api", "scheduler", "compute_agent", "publisher"])
def test_every_service_has_typed_settings(service: str) -> None:
    """So that the test above cannot pass by finding nothing."""
    assert _settings_models(f"skrei_{service}")


def _settings_models(package: str) -> list[type[BaseModel]]:
    """The models that the package's `settings` modules define themselves."""
    root = importlib.import_module(package)
    names = [
        found.name for found in pkgutil.walk_packages(root.__path__, f"{package}.") if found.name.endswith(".settings")
    ]
    modules = [importlib.import_module(name) for name in names]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.__name__
    ]


def test_the_default_verb_lists_every_verb() -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines() if line.split()[:1] == ["make"]} == verbs


def test_nothing_is_raised_where_groups_are_taken_apart() -> None:
    """Python 3.11.0 to 3.11.3 (Debian 12 has 3.11.2) wrap what an `except*` raises in a group: raise it after."""
    found = [
        f"{path}:{node.lineno}"
        for path, text in texts().items()
        if path.endswith(".py") and "except*" in text
        for star in ast.walk(ast.parse(text))
        if isinstance(star, ast.TryStar)
        for handler in star.handlers
        for node in ast.walk(handler)
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit")
    ]
    assert not found


def test_archives_are_not_unpacked_by_filters_that_debian_12_has_not() -> None:
    """Python before 3.11.4 (Debian 12 has 3.11.2) knows no `filter`; without one 3.12 warns, and unpacks anywhere."""
    whole = re.compile(r"\.extractall\(|unpack_archive\(")
    assert [path for path, text in texts().items() if path.endswith(".py") and whole.search(text)] == []
    assert whole.search("tar.extract" + "all(")


def test_one_place_of_the_client_knows_the_paths_of_the_api() -> None:
    """ADR 0015: what the command line and the Python client ask is a value of `skrei.calls`."""
    client = ROOT / "libs/skrei/src/skrei"
    others = [file for file in client.rglob("*.py") if file.parent != client / "calls"]
    path = re.compile(r"""["'](?:/orchestrator|/agent|/api/v1)/""")
    assert [str(file) for file in others if path.search(file.read_text("utf-8"))] == []
    assert path.search((client / "calls/about_server.py").read_text("utf-8"))


def test_whoever_connects_to_nats_hears_when_that_is_over_for_good() -> None:
    """A service that went on without would be alive, and do nothing, until somebody started it again."""
    connecting = [
        path
        for folder in ("libs", "services")
        for path in (ROOT / folder).rglob("src/**/*.py")
        if "Bus.connect(" in path.read_text("utf-8")
    ]
    assert connecting
    deaf = [path.name for path in connecting if not re.search(r"\.(lasting|ended)\(\)", path.read_text("utf-8"))]
    assert not deaf, f"say what happens where `Bus.ended`, or let `Bus.lasting` be one of the loops: {deaf}"
