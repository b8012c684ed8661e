"""Images from a real registry on loopback: local first, credentials, and what is said when it will not give any."""

import base64
import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from skrei_domain.errors import SkreiError
from skrei_embedded.nats import free_port
from skrei_plugin_api.testing import Running
from tests.support.docker_daemon import (
    BUSYBOX,
    PASSWORD,
    USER,
    DockerDaemon,
    running_registry,
    why_no_registry,
)
from tests.support.docker_engine import Bench, a_bench
from tests.support.web import serving


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, docker: DockerDaemon) -> Iterator[str]:
    """A registry that wants a login, with one image."""
    if reason := why_no_registry():
        pytest.skip(reason)
    with running_registry(tmp_path_factory.mktemp("registry"), free_port(), login=True) as address:
        docker.cli("login", "--username", USER, "--password-stdin", address, data=PASSWORD.encode())
        docker.cli("tag", BUSYBOX, f"{address}/private/app:1")
        docker.cli("push", "--quiet", f"{address}/private/app:1")
        docker.cli("logout", address)
        docker.cli("image", "rm", f"{address}/private/app:1")
        yield address


def a_login(folder: Path, address: str, password: str = PASSWORD) -> str:
    path = folder / "docker-config.json"
    path.write_text(
        json.dumps({"auths": {address: {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}}})
    )
    return str(path)


async def refused(bench: Bench, **params: Any) -> SkreiError:
    with pytest.raises(SkreiError) as raised:
        await bench.engine.prepare({"Image": BUSYBOX} | params, lambda _: None)
    assert raised.value.hint
    assert "\n" not in raised.value.message
    assert PASSWORD not in f"{raised.value.message} {raised.value.hint}"
    return raised.value


async def test_a_private_image_is_pulled_with_the_nodes_login_and_told_by_its_digest(
    docker: DockerDaemon, registry: str, tmp_path: Path
) -> None:
    image = f"{registry}/private/app:1"
    async with a_bench(tmp_path, docker, config=a_login(tmp_path, registry)) as bench:
        told: list[str] = []
        await bench.engine.prepare({"Image": image}, told.append)
        assert told[-1] == f"pulled {image}"
        outcome = await bench.engine.run(bench.request("echo hello", Image=image), Running())
    assert outcome.stdout_head.data == b"hello\n"
    assert outcome.image_digest.startswith(f"{registry}/private/app@sha256:")
    docker.cli("image", "rm", image)


@pytest.mark.row("5.1/pull")
async def test_an_image_that_is_here_is_run_although_its_registry_is_gone(docker: DockerDaemon, tmp_path: Path) -> None:
    image = f"127.0.0.1:{free_port()}/gone/app:1"
    docker.cli("tag", BUSYBOX, image)
    async with a_bench(tmp_path, docker) as bench:
        for pull in ("missing", "never"):
            await bench.engine.prepare({"Image": image, "Pull": pull}, lambda _: None)
            assert await bench.says("echo here", Image=image, Pull=pull) == "here\n"
        error = await refused(bench, Image=image, Pull="always")
        assert (error.code, error.retryable) == ("registry-unavailable", True)
    docker.cli("image", "rm", image)


async def test_a_run_fetches_an_image_that_went_since_it_was_prepared(
    docker: DockerDaemon, registry: str, tmp_path: Path
) -> None:
    image = f"{registry}/private/app:1"
    async with a_bench(tmp_path, docker, config=a_login(tmp_path, registry)) as bench:
        assert await bench.says("echo again", Image=image) == "again\n"
        await bench.engine.sweep(lambda _: False)
        docker.cli("image", "rm", image)


async def test_without_a_login_or_with_a_wrong_one_it_says_what_to_do(
    docker: DockerDaemon, registry: str, tmp_path: Path
) -> None:
    image = f"{registry}/private/app:1"
    async with a_bench(tmp_path, docker, config=a_login(tmp_path, "elsewhere.example")) as bench:
        error = await refused(bench, Image=image)
        assert (error.code, "docker login" in error.hint) == ("image-unavailable", True), error.message
    async with a_bench(tmp_path, docker, config=a_login(tmp_path, registry, "wrong")) as bench:
        error = await refused(bench, Image=image)
        assert (error.code, "docker login" in error.hint) == ("image-unavailable", True), error.message


async def test_what_the_registry_does_not_have_is_said(docker: DockerDaemon, registry: str, tmp_path: Path) -> None:
    async with a_bench(tmp_path, docker, config=a_login(tmp_path, registry)) as bench:
        for name in ("private/app:none", "private/nothing:1"):
            error = await refused(bench, Image=f"{registry}/{name}")
            assert (error.code, error.retryable) == ("image-unavailable", False)
            assert "404" in error.message, error.message


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("no-such-registry.invalid", "registry-not-found", "finds no registry of that name"),
        ("nobody-listens", "registry-unavailable", "refused"),
    ],
)
async def test_a_registry_that_is_not_there_is_told_from_one_without_the_image(
    docker: DockerDaemon, tmp_path: Path, address: str, code: str, words: str
) -> None:
    registry = f"127.0.0.1:{free_port()}" if address == "nobody-listens" else address
    async with a_bench(tmp_path, docker) as bench:
        error = await refused(bench, Image=f"{registry}/app:1")
    assert (error.code, error.retryable) == (code, True), error.message
    assert words in error.message


@pytest.fixture
async def unwilling(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A registry that answers everything with one status."""

    async def answer(_: web.Request) -> web.Response:
        body = {"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit"}]}
        return web.json_response(body if request.param == 429 else {}, status=request.param)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        yield url.removeprefix("http://")


@pytest.mark.parametrize(("unwilling", "words"), [(429, "429"), (503, "cannot be pulled")], indirect=["unwilling"])
async def test_a_registry_that_does_not_serve_now_may_do_so_later(
    docker: DockerDaemon, unwilling: str, words: str, tmp_path: Path
) -> None:
    async with a_bench(tmp_path, docker) as bench:
        error = await refused(bench, Image=f"{unwilling}/a:1")
    assert (error.code, error.retryable) == ("registry-unavailable", True), error.message
    assert words in error.message


# ---------------------------------------------------------------- platforms

OTHER = "linux/s390x"
FOREIGN = "skrei-test/foreign:1"


@pytest.fixture
def foreign(docker: DockerDaemon) -> Iterator[str]:
    """An image for machines of another kind."""
    yield _load_foreign(docker)
    docker.cli("image", "rm", "--force", FOREIGN)


def _load_foreign(docker: DockerDaemon) -> str:
    """Load an image of ours that says to be for other machines: no tool makes one without such a machine."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(docker.cli_bytes("save", BUSYBOX))) as saved,
        tarfile.open(fileobj=packed, mode="w") as changed,
    ):

        def read(name: str) -> bytes:
            file = saved.extractfile(name)
            assert file is not None
            return file.read()

        def write(name: str, data: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            changed.addfile(entry, io.BytesIO(data))

        (told,) = json.loads(read("manifest.json"))
        config = json.loads(read(told["Config"]))
        config["os"], config["architecture"] = OTHER.split("/")
        write("config.json", json.dumps(config).encode())  # Docker since 25 names what it saves by its digest
        for layer in told["Layers"]:
            write(layer, read(layer))
        whole = {"Config": "config.json", "RepoTags": [FOREIGN], "Layers": told["Layers"]}
        write("manifest.json", json.dumps([whole]).encode())
    docker.cli("load", data=packed.getvalue())
    return FOREIGN


@pytest.mark.parametrize("pull", ["missing", "never"])
@pytest.mark.row("5.1/platform")
async def test_an_image_for_other_machines_is_refused_where_it_is(
    docker: DockerDaemon, foreign: str, tmp_path: Path, pull: str
) -> None:
    async with a_bench(tmp_path, docker) as bench:
        error = await refused(bench, Image=foreign, Pull=pull)
    assert error.retryable  # on another node
    assert f"{foreign} is for {OTHER}, and this node is linux/" in error.message
    assert "os_arch" in error.hint


@pytest.mark.row("5.1/platform")
async def test_a_node_that_emulates_others_takes_their_images(
    docker: DockerDaemon, foreign: str, tmp_path: Path
) -> None:
    async with a_bench(tmp_path, docker, platforms=f"linux/riscv64 {OTHER}") as bench:
        await bench.engine.prepare({"Image": foreign}, lambda _: None)


@pytest.mark.row("5.1/platform")
async def test_an_image_for_other_machines_is_refused_before_it_is_fetched(
    docker: DockerDaemon, registry: str, foreign: str, tmp_path: Path
) -> None:
    image, login = f"{registry}/private/foreign:1", a_login(tmp_path, registry)
    docker.cli("tag", foreign, image)
    docker.cli("login", "--username", USER, "--password-stdin", registry, data=PASSWORD.encode())
    docker.cli("push", "--quiet", image)
    docker.cli("logout", registry)
    docker.cli("image", "rm", image, foreign)
    async with a_bench(tmp_path, docker, config=login) as bench:
        told: list[str] = []
        with pytest.raises(SkreiError, match=f"is for {OTHER}") as raised:
            await bench.engine.prepare({"Image": image}, told.append)
    assert raised.value.retryable
    assert told == []  # nothing was pulled
    _load_foreign(docker)  # for the fixture's end
