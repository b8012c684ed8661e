"""One stack for what clients of the API do with it."""

from collections.abc import Iterator

import pytest

from tests.support.docker_daemon import why_no_docker
from tests.support.live_stack import LiveStack, live_stack


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[LiveStack]:
    """A stack of real processes, with a Docker daemon where one can be had."""
    url = "unix:///nowhere/docker.sock" if why_no_docker() else request.getfixturevalue("docker").url
    with live_stack(env={"DOCKER_HOST": url}) as running:
        yield running
