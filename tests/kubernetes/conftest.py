"""One real Kubernetes for the whole session."""

from collections.abc import Iterator

import pytest

from tests.support.kubernetes_node import KubernetesNode, a_cluster, why_no_kubernetes


@pytest.fixture(scope="session")
def cluster() -> Iterator[KubernetesNode]:
    if reason := why_no_kubernetes():
        pytest.skip(reason)
    with a_cluster() as node:
        yield node
