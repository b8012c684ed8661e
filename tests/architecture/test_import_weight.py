"""What a process really loads: some imports are late on purpose, and only running tells whether they stay late."""

import subprocess
import sys

import pytest


def loaded_by(*modules: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after importing these."""
    code = f"import sys, {', '.join(modules)}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_agent_loads_no_web_framework_no_database_and_no_wasm_runtime() -> None:
    loaded = loaded_by("skrei_compute_agent.__main__", "skrei_plugin_wasm.engine")
    assert not loaded & {"wasmtime", "fastapi", "starlette", "sqlalchemy", "asyncpg", "numpy", "skrei_store"}


def test_the_sandbox_does_load_the_wasm_runtime() -> None:
    """So that the test above can fail."""
    assert "wasmtime" in loaded_by("skrei_plugin_wasm.sandbox")


def test_the_command_line_starts_without_the_server() -> None:
    loaded = loaded_by("skrei.cli.main")
    assert not loaded & {"skrei_embedded", "skrei_kit", "nats", "numpy", "fastapi", "sqlalchemy", "aiohttp"}


@pytest.mark.parametrize("service", ["skrei_scheduler", "skrei_publisher"])
def test_a_service_without_users_loads_no_web_framework(service: str) -> None:
    assert not loaded_by(f"{service}.__main__") & {"fastapi", "starlette", "uvicorn", "wasmtime"}


SERVICES = ("skrei_orchestrator_api", "skrei_scheduler", "skrei_publisher", "skrei_compute_agent")


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_holds_what_only_others_use(service: str) -> None:
    """Each is some megabytes and a tenth of a second: the client's tables, config files, WebSockets to NATS."""
    unused = {"rich", "pygments", "typer", "yaml", "pydantic_settings"}
    if service != "skrei_publisher":  # its door is made of it
        unused.add("aiohttp")
    assert not loaded_by(f"{service}.__main__") & unused


def test_the_supervisor_is_slim() -> None:
    loaded = loaded_by("skrei.cli.supervise", "skrei_embedded.stack")
    assert not loaded & {"typer", "click", "rich", "pydantic", "cryptography", "jwt", "nats", "aiohttp", "numpy"}
