"""How a run ends that is cut off before its pod began, where the cluster does not remove pods."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from skrei_plugin_api.engine import EngineFailure, FailureCode, RunRequest
from skrei_plugin_api.testing import Running
from skrei_plugin_kubernetes.access import Access
from skrei_plugin_kubernetes.cluster import Cluster
from skrei_plugin_kubernetes.run import Ending, Run
from skrei_plugin_kubernetes.settings import KubernetesSettings


def answers(status: int, asked: list[str], begun: asyncio.Event) -> web.Application:
    """An API that tells of a pod which waits, and answers so to whoever wants it removed."""

    async def read(_: web.Request) -> web.Response:
        begun.set()
        pod: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Pending"}}
        return web.json_response(pod)

    async def remove(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"message": "no", "reason": "Forbidden"}, status=status)

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/n/pods/p", read)
    app.router.add_delete("/api/v1/namespaces/n/pods/p", remove)
    return app


@pytest.mark.parametrize("status", [403, 500])
async def test_a_cluster_that_refuses_to_remove_a_pod_changes_nothing_about_why_its_run_ended(
    tmp_path: Path, status: int
) -> None:
    asked: list[str] = []
    begun = asyncio.Event()
    why = EngineFailure(FailureCode.DISK_LIMIT_EXCEEDED, "too much")
    cut = asyncio.get_running_loop().create_future()
    request = RunRequest("e-1", 1, {"Image": "a"}, tmp_path, cut=cut)
    async with TestServer(answers(status, asked, begun)) as server:
        cluster = Cluster(Access(server=str(server.make_url("")).rstrip("/")), "n", answer_seconds=5)
        run = Run(request, "p", cluster=cluster, settings=KubernetesSettings(), events=Running(), left=lambda: False)
        try:
            ended = asyncio.ensure_future(run.begin(()))
            async with asyncio.timeout(10):
                await begun.wait()
                cut.set_result(why)
                outcome = await ended
        finally:
            await cluster.close()
    assert (outcome.failure, outcome.exit_code) == (why, None)
    assert asked == ["/api/v1/namespaces/n/pods/p"]


async def test_a_stop_with_a_short_grace_does_not_lose_files_for_a_word_about_the_exit_code(tmp_path: Path) -> None:
    """A program that ends on SIGTERM has 143, and the cluster may know why; its kubelet takes its time to say so."""
    request = RunRequest("e-1", 1, {"Image": "a"}, tmp_path)
    async with TestServer(answers(200, [], asyncio.Event())) as server:
        cluster = Cluster(Access(server=str(server.make_url("")).rstrip("/")), "n", answer_seconds=5)
        run = Run(request, "p", cluster=cluster, settings=KubernetesSettings(), events=Running(), left=lambda: False)
        run._running.set()

        async def attend() -> Ending:
            assert await run._told() is None
            return Ending(143)

        try:
            lost = await run._end(asyncio.ensure_future(attend()), grace=0.5)
        finally:
            await cluster.close()
    assert not lost
