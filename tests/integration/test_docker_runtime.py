"""A container whose process is gone between its creation and its start, which is not the job's doing."""

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from skrei_plugin_api.testing import Running
from skrei_plugin_docker.failures import NotBegun
from tests.support.docker_daemon import DockerDaemon, running_docker, why_no_docker
from tests.support.docker_engine import Bench, a_bench

LOSING = """#!/bin/sh
# runc, but that it kills the process of the next containers once that is made: for each, LEFT says whether.
{runc} "$@" || exit
last=
for word; do
    [ "$last" = --pid-file ] && made=$word
    last=$word
done
if [ -n "$made" ] && [ -s {left} ]; then
    read -r what < {left}
    sed -i 1d {left}
    [ "$what" = keep ] || kill -KILL "$(cat "$made")"
fi
"""


@dataclass(frozen=True)
class Losses:
    """What becomes of the next containers, a line of a file for each."""

    file: Path

    def are(self, *what: str) -> None:
        self.file.write_text("".join(f"{each}\n" for each in what))

    @property
    def left(self) -> list[str]:
        return self.file.read_text().splitlines()


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Losses:
    return Losses(tmp_path_factory.mktemp("losing") / "left")


@pytest.fixture(scope="module")
def losing(losses: Losses) -> Iterator[DockerDaemon]:
    """A daemon whose runtime may lose containers."""
    if reason := why_no_docker():
        pytest.skip(reason)
    runc = shutil.which("runc", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin:/sbin:/bin")
    if runc is None:
        pytest.skip("no runc, which Docker's Debian package brings, on the usual paths")
    runtime = losses.file.with_name("runtime")
    runtime.write_text(LOSING.format(runc=runc, left=losses.file))
    runtime.chmod(0o755)
    with running_docker("--add-runtime", f"losing={runtime}", "--default-runtime", "losing") as daemon:
        yield daemon


@pytest.fixture
async def bench(losing: DockerDaemon, tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, losing) as made:
        yield made


@pytest.mark.parametrize(
    ("network", "what"),
    [("None", ("lose",)), ("HTTP", ("lose",)), ("HTTP", ("keep", "lose"))],  # the first of a filtered network holds it
)
async def test_a_container_that_is_lost_before_it_begins_is_followed_by_another(
    bench: Bench, losses: Losses, network: str, what: tuple[str, ...]
) -> None:
    losses.are(*what)
    assert await bench.says("echo here", network=network) == "here\n"
    assert losses.left == []


async def test_where_that_is_lost_too_it_is_the_nodes_doing(bench: Bench, losses: Losses) -> None:
    losses.are("lose", "lose")
    with pytest.raises(NotBegun, match="gone before its program began") as raised:
        await bench.engine.run(bench.request("echo here"), Running())
    assert raised.value.retryable
    assert losses.left == []
