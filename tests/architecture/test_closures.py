"""What each package brings along when it is installed: dependencies, where import contracts see only imports."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.environment import ROOT, members

PACKAGES = {
    tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"]: folder for folder in members(ROOT)
}


def closure(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Every distribution that installing `name` installs on this platform, itself included."""
    found: set[str] = set()
    waiting = [(canonicalize_name(name), extras)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        found.add(current[0])
        waiting += [(canonicalize_name(needed.name), frozenset(needed.extras)) for needed in _needed(*current)]
    return found


def _needed(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in requires(name) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement


def test_the_closure_follows_dependencies_of_dependencies_and_extras() -> None:
    """So that the tests below can fail."""
    assert {"skrei-kit", "nats-py", "nkeys", "pynacl"} <= closure("skrei-compute-agent")
    assert {"starlette", "sqlalchemy", "greenlet"} <= closure("skrei-orchestrator-api")
    assert "skrei-embedded" not in closure("skrei")
    assert "skrei-embedded" in closure("skrei", frozenset({"serve"}))


@pytest.mark.parametrize(
    ("package", "unwanted"),
    [
        ("skrei-compute-agent", {"sqlalchemy", "asyncpg", "alembic", "fastapi", "starlette", "uvicorn", "numpy"}),
        ("skrei-compute-agent", {"skrei-plugin-docker", "aiodocker", "skrei-plugin-wasm", "wasmtime", "botocore"}),
        ("skrei-plugin-docker", {"wasmtime", "nats-py", "sqlalchemy", "numpy"}),
        ("skrei-plugin-kubernetes", {"aiodocker", "nats-py", "sqlalchemy", "numpy"}),
        ("skrei-publisher", {"sqlalchemy", "asyncpg", "alembic", "fastapi", "numpy", "wasmtime"}),
        ("skrei-scheduler", {"fastapi", "starlette", "uvicorn", "aiohttp", "wasmtime"}),
        ("skrei-orchestrator-api", {"wasmtime", "psutil"}),
        ("skrei", {"skrei-kit", "nats-py", "sqlalchemy", "asyncpg", "fastapi", "aiohttp", "numpy", "wasmtime"}),
        ("skrei-plugin-api", {"nats-py", "aiohttp", "sqlalchemy"}),
    ],
)
@pytest.mark.row("1.1/compute-nodes")
def test_a_package_does_not_bring_what_belongs_to_others(package: str, unwanted: set[str]) -> None:
    assert closure(package) & unwanted == set()


@pytest.mark.parametrize(
    ("extra", "brings", "not_this"),
    [("docker", "aiodocker", "botocore"), ("s3", "botocore", "wasmtime"), ("wasm", "wasmtime", "aiodocker")],
)
def test_a_nodes_image_brings_the_engines_that_it_names(extra: str, brings: str, not_this: str) -> None:
    found = closure("skrei-compute-agent", frozenset({extra}))
    assert (brings in found, not_this in found) == (True, False)


def test_the_whole_stack_has_every_engine() -> None:
    assert {"aiodocker", "aioboto3", "wasmtime"} <= closure("skrei", frozenset({"serve"}))


def test_the_domain_brings_pydantic_alone() -> None:
    assert closure("skrei-domain") - closure("pydantic") == {"skrei-domain"}


def test_the_scheduling_core_adds_numpy_alone() -> None:
    assert closure("skrei-scheduling") - closure("skrei-domain") == {"skrei-scheduling", "numpy"}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_declares_what_it_imports(package: str) -> None:
    """An import that works only because somebody else installed the module breaks the smaller images."""
    importable = _importable(package)
    undeclared = {
        f"{file.relative_to(ROOT)} imports {module}"
        for file in (PACKAGES[package] / "src").rglob("*.py")
        for module in set(_imported(file)) - sys.stdlib_module_names
        if not _distributions(module) & importable
    }
    assert undeclared == set()


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_what_is_declared_is_what_is_installed(package: str) -> None:
    """An editable install that lags behind its pyproject.toml would make this whole file answer about the past."""
    project = tomllib.loads((PACKAGES[package] / "pyproject.toml").read_text())["project"]
    installed = {str(Requirement(line)) for line in distribution(package).requires or [] if "extra ==" not in line}
    assert installed == {str(Requirement(line)) for line in project.get("dependencies", [])}


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


# What belongs to the interface of a declared dependency: who declares the key may import these.
INTERFACE_OF = {
    "pydantic": {"pydantic-core", "typing-extensions"},
    "typer": {"click"},
    "nats-py": {"nkeys"},
    "aioboto3": {"aiobotocore", "botocore"},
}


def _importable(package: str) -> set[str]:
    """What a package may import: itself, what it declares, and what the workspace packages it brings declare."""
    own = {name for name in closure(package) if name in PACKAGES}
    declared = {canonicalize_name(Requirement(line).name) for name in own for line in _declared(PACKAGES[name])}
    declared |= {canonicalize_name(Requirement(line).name) for line in _declared(PACKAGES[package], optional=True)}
    return own | declared | {name for key in declared for name in INTERFACE_OF.get(key, ())}


def _declared(folder: Path, *, optional: bool = False) -> list[str]:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values() if optional else ()
    return [*project.get("dependencies", []), *(line for lines in extras for line in lines)]


@cache
def _distributions(module: str) -> set[str]:
    """The distributions that hold a module. An editable install does not list its own: there the names agree."""
    return {canonicalize_name(name) for name in (*packages_distributions().get(module, ()), module)}
