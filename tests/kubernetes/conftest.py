"""One real Kubernetes for the whole session. What is missing fails: whoever runs these tests wants to see them run."""

import os
import sys
from collections.abc import Callable, Iterator

import pytest

from scripts.tools import FOLDER
from tests.support import compose
from tests.support.kubernetes_node import KubernetesNode, a_cluster, why_no_kubernetes
from tests.support.release import bring_images


@pytest.fixture(scope="session")
def cluster() -> Iterator[KubernetesNode]:
    if reason := why_no_kubernetes():
        pytest.fail(reason)
    with a_cluster() as node:
        yield node


@pytest.fixture(scope="session")
def stocked(cluster: KubernetesNode, tmp_path_factory: pytest.TempPathFactory) -> KubernetesNode:
    """The cluster with our images, built of what lies here."""
    if reason := compose.why_not():
        pytest.fail(reason)
    if not (FOLDER / "helm").exists():
        pytest.fail("no helm here: `make tools` builds it")
    bring_images(cluster, tmp_path_factory.mktemp("images"))
    return cluster


@pytest.fixture
def record(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Tell whoever watches what was measured, and under which load."""

    def say(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text} (load {os.getloadavg()[0]:.1f})\n")

    return say
