"""How long a blocking client lives: as long as anybody holds something of it, and no longer than its program."""

import gc
import subprocess
import sys
import threading

import pytest

from skrei import AsyncClient, Client, Closed
from tests.support.fake_api import FakeApi, job

JOBS = "/api/v1/orchestrator/jobs"
SCRIPT = """
import httpx2, skrei
client = skrei.Client("http://127.0.0.1:9", transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json={})))
print(client.version())
left = client.jobs.list()
"""
LIMIT_SECONDS = 60


def api() -> FakeApi:
    found = {"Job": job()}
    return FakeApi(
        {
            f"GET {JOBS}/x": found,
            f"GET {JOBS}/{job()['ID']}": found,
            f"GET {JOBS}": {"NextToken": "", "Items": [job(), job()]},
        }
    )


def client_threads() -> int:
    return sum(thread.name == "skrei client" for thread in threading.enumerate())


@pytest.mark.parametrize("more", ["", "raise SystemExit(3)", "next(left, None); 1 / 0"])
def test_a_program_that_closes_nothing_ends(more: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT + more],
        capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("{}\n", {"": 0, "raise SystemExit(3)": 3}.get(more, 1)), done.stderr
    assert done.stderr == "" or "ZeroDivisionError" in done.stderr.splitlines()[-1]


def test_what_a_client_gave_keeps_it_alive_and_nothing_else_does() -> None:
    gc.collect()  # of the tests before
    before = client_threads()
    found = Client("http://127.0.0.1:9", transport=api().transport).jobs.get("x")
    gc.collect()
    assert found.refresh().name == "hello"
    listed = Client("http://127.0.0.1:9", transport=api().transport).jobs.list()
    assert len(list(listed)) == 2
    del found, listed
    gc.collect()
    assert client_threads() == before


def test_a_closed_client_says_so() -> None:
    client = Client("http://127.0.0.1:9", transport=api().transport)
    found, jobs = client.jobs.get("x"), client.jobs
    client.close()
    client.close()
    for ask in (client.version, found.refresh, lambda: jobs.get("x"), lambda: list(jobs.list()), found.results().list):
        with pytest.raises(Closed, match="This client is closed"):
            ask()


async def test_a_closed_client_says_so_without_blocking_too() -> None:
    async with AsyncClient("http://127.0.0.1:9", transport=api().transport) as client:
        found = await client.jobs.get("x")
    with pytest.raises(Closed, match="This client is closed"):
        await found.refresh()
