import asyncio

import httpx2
import pytest

from skrei import follow as module
from skrei import transport
from skrei.errors import ApiError, Unreachable
from skrei.follow import follow
from skrei.progress import WIDEST, Progress, best_attempts
from skrei.sync import Client
from skrei.views import Execution, Job
from tests.support.fake_api import FakeApi, client_of, error, event, execution, job, page

BASE = "/api/v1/orchestrator/jobs"
ID = job()["ID"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(transport, "pause_seconds", lambda retry_after, attempt: 0.0)


def api_of(jobs: list[object], histories: list[object]) -> FakeApi:
    return FakeApi(
        {
            f"GET {BASE}/x": jobs,
            f"GET {BASE}/{ID}/history": histories,
            f"GET {BASE}/{ID}/executions": {"NextToken": "", "Items": [execution(1)]},
        }
    )


async def looks(api: FakeApi) -> list[Progress]:
    async with client_of(api) as client:
        async with asyncio.timeout(10):
            return [progress async for progress in follow(client, "x")]


async def test_every_event_is_told_once_and_the_end_is_the_job_s_end() -> None:
    api = api_of(
        [{"Job": job("Pending")}, {"Job": job("Running")}, {"Job": job("Completed")}],
        [page("a", event(1, "one")), page("b", event(2, "two")), page("", event(2, "two"), event(3, "three"))],
    )
    seen = await looks(api)
    assert [item.message for look in seen for item in look.events] == ["one", "two", "three"]
    assert seen[-1].job.state == "Completed"


async def test_a_token_that_never_empties_does_not_keep_a_finished_job_open() -> None:
    api = api_of([{"Job": job("Failed")}], [page("always", event(1, "one"))])
    assert [look.job.state for look in await looks(api)] == ["Failed"]


async def test_an_api_that_restarts_in_between_is_waited_for() -> None:
    api = api_of(
        [{"Job": job()}, httpx2.ConnectError("gone"), httpx2.ConnectError("gone"), {"Job": job("Completed")}],
        [page("a", event(1, "one")), page("", event(2, "two"))],
    )
    assert [item.message for look in await looks(api) for item in look.events] == ["one", "two"]


async def test_an_api_that_stays_away_ends_the_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.003)
    api = api_of([{"Job": job()}, httpx2.ConnectError("gone")], [page("a", event(1, "one"))])
    with pytest.raises(Unreachable):
        await looks(api)


async def test_an_unknown_job_is_told_at_once() -> None:
    with pytest.raises(ApiError, match="not found"):
        await looks(api_of([error(404, "job not found: x")], []))


async def test_a_wide_job_is_followed_without_reading_all_its_executions() -> None:
    api = api_of([{"Job": job("Completed", count=WIDEST + 1)}], [page("")])
    await looks(api)
    assert not [one for one in api.requests if one.url.path.endswith("/executions")]


def test_the_blocking_client_waits_for_the_end() -> None:
    api = api_of([{"Job": job()}, {"Job": job("Stopped")}], [page("a", event(1, "one"))])
    with Client("http://127.0.0.1:9", transport=api.transport) as client:
        assert client.wait("x").state == "Stopped"


def test_a_partition_is_told_by_the_attempt_that_counts() -> None:
    attempts = [execution(1, 0, 9), execution(2, 0, 10), execution(3, 1, 10), execution(4, 1, 6), execution(5, 2, 4)]
    executions = tuple(map(Execution.parse, attempts))
    assert [one.state for one in best_attempts(executions)] == ["Completed", "Running", "Refused"]
    look = Progress(Job.parse(job(count=4)), (), executions)
    assert look.partitions == {"Completed": 1, "Running": 1, "Refused": 1, "Waiting": 1}


async def test_of_a_job_with_many_partitions_the_few_that_moved_last_say_how_far_it_is() -> None:
    many = [execution(number, number, 2) for number in range(40)]
    moved = [execution(7, 7, ComputeState={"StateType": 5, "Message": "pulling: 1"})]
    api = FakeApi(
        {
            f"GET {BASE}/x": [{"Job": job("Running", count=40)}] * 2 + [{"Job": job("Completed", count=40)}],
            f"GET {BASE}/{ID}/history": [page("a", event(1, "one")), page("a"), page("", event(2, "end"))],
            f"GET {BASE}/{ID}/executions": [{"NextToken": "", "Items": each} for each in (many, moved, moved, many)],
        }
    )
    assert [look.notes for look in await looks(api)] == [("pulling: 1",), ()]
    asked = [request.url.query for request in api.requests if request.url.path.endswith("/executions")]
    wide, few = b"order_by=modified_at" not in asked[0], b"order_by=modified_at" in asked[1]
    assert (wide, few, b"limit=32" in asked[1]) == (True, True, True)


@pytest.mark.parametrize(("number", "says"), [(5, "pulling:"), (7, "Its result waits:")])
async def test_how_far_an_execution_is_is_told_although_it_makes_no_history(number: int, says: str) -> None:
    staging = [
        execution(1, state=number, ComputeState={"StateType": number, "Message": f"{says} {done}"}) for done in (1, 2)
    ]
    api = FakeApi(
        {
            f"GET {BASE}/x": [{"Job": job("Running")}] * 3 + [{"Job": job("Completed")}],
            f"GET {BASE}/{ID}/history": [page("a", event(1, "one")), page("a"), page("a"), page("", event(2, "end"))],
            f"GET {BASE}/{ID}/executions": [
                {"NextToken": "", "Items": [each]}
                for each in (execution(1, state=2), staging[0], staging[1], execution(1))
            ],
        }
    )
    assert [look.notes for look in await looks(api)] == [(), (f"{says} 1",), (f"{says} 2",), ()]
