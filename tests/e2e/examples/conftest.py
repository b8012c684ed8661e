"""One stack, with a Docker daemon where one can be had, for what strangers copy."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.environment import ROOT
from tests.support.docker_daemon import DockerDaemon, busybox_root, running_docker, why_no_docker
from tests.support.duckdb_image import import_duckdb
from tests.support.example_programs import made
from tests.support.installed_plugin import install_plugin
from tests.support.live_stack import LiveStack, live_stack
from tests.support.s3_server import PROGRAM, S3Server, s3_server

DATA = {
    "digits": ("onnx/make_digits.py", "600"),
    "logs": ("logs/make_logs.py", "500"),
    "packages": ("fleet/make_status.py",),
    "patients": ("federated/make_patients.py", "500"),
    "pictures": ("thumbnails/make_pictures.py", "3"),
    "reads": ("kmers/make_reads.py", "5000"),
    "sensors": ("sensors/make_readings.py",),
}
"""Data sets of the node, and what makes them: the examples' own scripts, as their files say."""


@pytest.fixture(scope="package")
def docker() -> Iterator[DockerDaemon | None]:
    """A daemon with the image that the examples name: no registry is asked for what is there."""
    if why_no_docker():
        yield None
        return
    with running_docker() as daemon:
        daemon.cli("import", "--change", "ENV PATH=/bin", "-", "busybox:1.37", data=busybox_root())
        import_duckdb(daemon)
        yield daemon


@pytest.fixture(scope="package")
def objects() -> Iterator[S3Server | None]:
    """A server of S3, where one was built, for what goes to a bucket."""
    if not PROGRAM.exists():
        yield None
        return
    with s3_server() as server:
        yield server


@pytest.fixture(scope="package")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the database that the node offers."""
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="package")
def stack(
    docker: DockerDaemon | None, objects: S3Server | None, shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveStack]:
    allowed = ROOT / "examples/wordcount/texts"
    data = tmp_path_factory.mktemp("data")
    data.chmod(0o755)
    sets = {"books": str(allowed), "checkpoints": f"{data / 'checkpoints'}:rw"}
    (data / "checkpoints").mkdir()
    for name, (script, *words) in DATA.items():
        sets[name] = str(made(script, data / name, *words))
    declared = ",".join(f"{name}={place}" for name, place in sets.items())
    options = ["--allow-local", str(allowed), "--allow-local", f"{allowed}/**", "-c", f"data={declared}"]
    options += ["-c", f"services=duckdb=file://{shop}:rw"]
    env = {
        "DOCKER_HOST": docker.url if docker else "unix:///nowhere/docker.sock",
        "PYTHONPATH": str(install_plugin("python", tmp_path_factory.mktemp("plugins"))),
        "SKREI_PLUGIN_OPTIONS": f"python_environments=gpu={sys.prefix} onnx={sys.prefix}",
    }
    if objects is not None:
        env |= objects.environment | {"AWS_ENDPOINT_URL_S3": objects.url}
    with live_stack(*options, env=env) as running:
        yield running


@pytest.fixture
def here(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root of the checkout, with the stack as the API of whoever asks."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SKREI_API_URL", stack.state()["api_url"])
    for name in ("SKREI_API_KEY", "SKREI_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
