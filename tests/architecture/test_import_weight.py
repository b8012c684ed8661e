"""What a process really loads: some imports are late on purpose, and only running tells whether they stay late."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skrei_embedded import nursery as nursery_module
from tests.support import fake_api
from tests.support.served_api import serving


def all_loaded_by(*modules: str) -> set[str]:
    """The modules that a fresh interpreter holds after importing these."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def loaded_by(*modules: str) -> set[str]:
    """The top-level modules among them."""
    return {name.partition(".")[0] for name in all_loaded_by(*modules)}


def test_the_agent_loads_no_web_framework_no_database_and_no_wasm_runtime() -> None:
    loaded = loaded_by(
        "skrei_compute_agent.__main__",
        "skrei_plugin_wasm.engine",
        "skrei_plugin_docker.engine",
        "skrei_plugin_kubernetes.engine",
        "skrei_plugin_s3.storage",
    )
    assert not loaded & {
        "aioboto3",
        "botocore",
        "re2",
        "wasmtime",
        "aiodocker",
        "aiohttp",
        "fastapi",
        "starlette",
        "sqlalchemy",
        "asyncpg",
        "numpy",
        "skrei_store",
    }


def with_nothing_around(code: str) -> "subprocess.CompletedProcess[str]":
    """Run a program where no tool, no setting and no home can be found."""
    environment = {"PATH": "", "HOME": "/nowhere"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_an_agent_without_docker_sweeps_without_a_client_for_it() -> None:
    """It does so at each start, before it is greeted; and the client would be held for weeks."""
    code = (
        "import asyncio, sys\n"
        "from skrei_plugin_docker import daemon, failures, reaper, settings\n"
        "daemon.SOCKETS = ('/nowhere/docker.sock',)\n"
        "try:\n"
        "    asyncio.run(reaper.Reaper(daemon.Daemon(settings.DockerSettings()), 'n-1').sweep(lambda _: False))\n"
        "except failures.DaemonAway:\n"
        "    print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = with_nothing_around(code)
    loaded = set(done.stdout.split())
    assert "skrei_plugin_docker" in loaded, done.stderr
    assert not loaded & {"aiodocker", "aiohttp"}


def test_an_agent_without_an_ipfs_daemon_says_what_is_near_without_a_client_for_one() -> None:
    code = (
        "import asyncio, pathlib, sys\n"
        "from skrei_plugin_api.plugin import PluginContext\n"
        "from skrei_plugin_ipfs.storage import IpfsStorage\n"
        "near = asyncio.run(IpfsStorage(PluginContext(pathlib.Path('/nowhere'))).near())\n"
        "print(near.holds, *{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = with_nothing_around(code)
    assert done.stdout.startswith("() "), done.stderr
    assert "aiohttp" not in done.stdout.split()


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
    """Each is some megabytes and a tenth of a second: the client's tables, config files, WebSockets to NATS, the tables
    that migrations are made from (20 MB, where statements are text)."""
    unused = {"rich", "pygments", "typer", "yaml", "pydantic_settings", "cryptography", "sqlalchemy"}
    if service != "skrei_publisher":  # its door is made of it
        unused.add("aiohttp")
    assert not loaded_by(f"{service}.__main__") & unused


def test_the_nursery_imports_what_every_service_holds_and_leaves_nothing_of_ours_to_each() -> None:
    """More would be in processes that have no use for it; less would be imported, and held, once for each."""
    shared = set.intersection(*(all_loaded_by(f"{service}.__main__") for service in SERVICES))
    nursery = all_loaded_by("skrei_embedded.nursery", *nursery_module.SHARED)
    assert nursery - shared <= {"skrei_embedded", "skrei_embedded.nursery"}
    assert not {name for name in shared - nursery if name.startswith("skrei_")}


def test_the_nursery_begins_before_the_supervisor_has_imported_anything() -> None:
    """They share the time: what both wait for is not there yet."""
    assert not loaded_by("skrei.cli.supervise", "skrei_embedded.births") & {"asyncio", "structlog", "skrei_kit"}


def test_the_supervisor_is_slim() -> None:
    loaded = loaded_by("skrei.cli.supervise", "skrei_embedded.stack")
    assert not loaded & {"typer", "click", "rich", "pydantic", "cryptography", "jwt", "nats", "aiohttp", "numpy"}


HEAVY = {"typer", "click", "rich", "httpx2", "pydantic", "asyncio", "websockets", "yaml", "anyio"}
"""Each costs a light command more than everything else that it does."""
JOBS = "/api/v1/orchestrator/jobs"


@pytest.fixture(scope="module")
def answering() -> Iterator[str]:
    """The address of an API that knows one finished job."""
    output = {"Stdout": "15\n", "stderr": "", "ExitCode": 0}
    page = {"NextToken": "", "Items": [fake_api.execution(1, RunOutput=output)]}
    told = {"NextToken": "", "Items": [fake_api.event(1, "Job submitted")]}
    api = fake_api.FakeApi(
        {
            "GET /api/v1/agent/version": {"GitVersion": "v0.5.0"},
            "GET /api/v1/orchestrator/nodes": {"NextToken": "", "Nodes": []},
            f"GET {JOBS}": {"NextToken": "", "Items": [fake_api.job("Completed")]},
            f"GET {JOBS}/x": {"Job": fake_api.job("Completed"), "Executions": page, "History": told},
            f"GET {JOBS}/x/executions": page,
            f"GET {JOBS}/x/versions": {"NextToken": "", "Items": [fake_api.job()]},
            f"GET {JOBS}/x/history": told,
            f"DELETE {JOBS}/x": {"EvaluationID": "ev"},
            f"PUT {JOBS}": {"JobID": "x", "EvaluationID": "ev", "Warnings": None},
            f"GET {JOBS}/{fake_api.job()['ID']}/history": told,
            f"GET {JOBS}/{fake_api.job()['ID']}/executions": page,
        }
    )

    with serving(api) as url:
        yield url


@pytest.mark.parametrize(
    "command",
    [
        "version",
        "list",
        "job list -o json",
        "describe x",
        "job executions x",
        "job history x",
        "stop x",
        "node list",
        "docker run ubuntu echo hello",
        "--help",
        "docker run --help",
        "job versions x",
        "job executions x -o csv",
        "profile list",
        "agent version",
        "completion bash",
        "__complete describe",
        "serve --help",
        "lst",
    ],
)
def test_a_command_loads_no_library_that_costs_more_than_the_command(
    command: str, answering: str, tmp_path: Path
) -> None:
    code = (
        f"import sys; sys.argv = {['skrei', *command.split()]!r}\nfrom skrei.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        "    print('loaded', *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    environment = {"SKREI_API_URL": answering, "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == (2 if command == "lst" else 0), done.stderr
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "skrei" in loaded
    assert not loaded & HEAVY
