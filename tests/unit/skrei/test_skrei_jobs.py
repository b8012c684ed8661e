"""`client.jobs`, `client.nodes` and the values that jobs are made of, against an API in memory."""

import inspect
import signal
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

import skrei
from skrei import (
    Busy,
    Client,
    Conflict,
    Docker,
    Engine,
    Forbidden,
    Input,
    InvalidRequest,
    JobFailed,
    JobSpec,
    NotFound,
    NotSupported,
    Rejected,
    Task,
    Unauthorized,
    Unreachable,
    WaitTimeout,
    Wasm,
    client,
    job_handle,
    job_results,
    jobs,
    nodes,
    sync,
    sync_handle,
    sync_jobs,
    transport,
)
from skrei import answers as answers_module
from skrei import follow as follow_module
from skrei.answers import ATTEMPTS
from skrei.errors import ApiError
from tests.support.fake_api import FakeApi, client_of, error, event, execution, job, page

JOBS = "/api/v1/orchestrator/jobs"
NODES = "/api/v1/orchestrator/nodes"
ID = job()["ID"]
ACCEPTED = {"JobID": ID, "EvaluationID": "ev", "Warnings": ["careful"]}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "pause_seconds", lambda retry_after, attempt: 0.0)
    monkeypatch.setattr(follow_module, "FIRST_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(follow_module, "LONGEST_PAUSE_SECONDS", 0.001)


# ------------------------------------------------------------------ running


async def test_a_run_submits_and_returns_the_job_as_it_stands() -> None:
    api = FakeApi({f"PUT {JOBS}": ACCEPTED, f"GET {JOBS}/{ID}": {"Job": job("Pending")}})
    async with client_of(api) as c:
        ran = await c.jobs.run({"name": "a", "Tasks": []}, name="b", count=0)
    assert (ran.id, ran.state, ran.warnings, ran.is_terminal) == (ID, "Pending", ("careful",), False)
    assert api.body(0)["Job"] == {"Name": "b", "Count": 0, "Tasks": []}
    assert api.body(0)["IdempotencyToken"]


async def test_a_run_whose_answer_is_lost_is_repeated_with_the_same_token() -> None:
    lost = httpx2.ReadError("reset")
    api = FakeApi(
        {
            "GET /api/v1/agent/alive": {"Status": "OK"},
            f"PUT {JOBS}": [lost, httpx2.ConnectError("down"), ACCEPTED],
            f"GET {JOBS}/{ID}": {"Job": job()},
        }
    )
    async with client_of(api) as c:
        assert await c.alive()
        await c.jobs.run({})
    sent = [api.body(at)["IdempotencyToken"] for at, one in enumerate(api.requests) if one.method == "PUT"]
    assert (len(sent), len(set(sent))) == (3, 1)


async def test_an_api_that_never_answered_is_told_at_once_and_one_that_went_away_after_some_tries() -> None:
    api = FakeApi({f"GET {JOBS}/x": httpx2.ConnectError("down"), "GET /api/v1/agent/alive": {"Status": "OK"}})
    async with client_of(api) as c:
        with pytest.raises(Unreachable):
            await c.jobs.get("x")
        assert len(api.requests) == 1
        await c.alive()
        with pytest.raises(Unreachable):
            await c.jobs.get("x")
    assert len(api.requests) == 2 + ATTEMPTS


async def test_what_must_not_be_repeated_is_not() -> None:
    api = FakeApi({f"GET {JOBS}/x": {"Job": job()}, f"DELETE {JOBS}/{ID}": httpx2.ReadError("reset")})
    async with client_of(api) as c:
        with pytest.raises(Unreachable):
            await (await c.jobs.get("x")).stop()
    assert len(api.requests) == 2


async def test_a_job_is_what_a_file_a_mapping_or_an_object_says(tmp_path: Path) -> None:
    class Mine:
        def document(self) -> dict[str, Any]:
            return {"Name": "of an object"}

    (tmp_path / "job.yaml").write_text("Name: of a file\nType: batch\n")
    api = FakeApi({f"PUT {JOBS}": ACCEPTED, f"GET {JOBS}/{ID}": {"Job": job()}})
    async with client_of(api) as c:
        for given in (Mine(), {"Name": "of a mapping"}, tmp_path / "job.yaml", str(tmp_path / "job.yaml")):
            await c.jobs.run(given)
        with pytest.raises(Rejected, match="int is not a job"):
            await c.jobs.run(3)  # type: ignore[arg-type]
    names = [api.body(at)["Job"]["Name"] for at, one in enumerate(api.requests) if one.method == "PUT"]
    assert names == ["of an object", "of a mapping", "of a file", "of a file"]


# ------------------------------------------------------------------ waiting


def followed(*states: str, **more: Any) -> FakeApi:
    return FakeApi(
        {
            f"GET {JOBS}/x": {"Job": job(states[0])},
            f"GET {JOBS}/{ID}": [{"Job": job(state, **more)} for state in states],
            f"GET {JOBS}/{ID}/history": page("", event(1, "one")),
            f"GET {JOBS}/{ID}/executions": page("", execution(1)),
        }
    )


async def test_a_wait_ends_with_the_job_and_check_raises_for_one_that_did_not_complete() -> None:
    async with client_of(followed("Running", "Completed")) as c:
        assert (await (await c.jobs.get("x")).wait(check=True)).state == "Completed"
    failed = followed("Failed", State={"StateType": "Failed", "Message": "no room"})
    async with client_of(failed) as c:
        found = await c.jobs.get("x")
        assert (await found.wait()).state == "Failed"
        with pytest.raises(JobFailed, match=r"hello ended as Failed: no room") as raised:
            await found.wait(check=True)
    assert (raised.value.state, raised.value.job_id) == ("Failed", ID)


async def test_a_wait_that_takes_too_long_says_that_the_job_goes_on() -> None:
    async with client_of(followed("Running")) as c:
        with pytest.raises(WaitTimeout, match=r"hello is Running after 0\.01 s; it goes on"):
            await (await c.jobs.get("x")).wait(timeout=0.01)


def rolled(*items: object, version: int = 2) -> FakeApi:
    return FakeApi(
        {
            f"GET {JOBS}/x": {"Job": job(Version=2)},
            f"GET {JOBS}/{ID}": {"Job": job(Version=version)},
            f"GET {JOBS}/{ID}/history": page("t", event(1, "Version 1 is ready", ReadyVersion="1"), *items),
            f"GET {JOBS}/{ID}/executions": page("", execution(1, state=6)),
        }
    )


async def test_a_version_of_a_service_is_waited_for_until_it_is_ready() -> None:
    async with client_of(rolled(event(2, "Version 2 is ready", ReadyVersion="2"))) as c:
        assert (await (await c.jobs.get("x")).wait_ready()).version == 2
    gone_back = event(2, "back to version 0", GoneBackFrom="1") | {"JobVersion": 2}
    async with client_of(rolled(gone_back)) as c:
        with pytest.raises(WaitTimeout):  # what was gone back to may have to begin again
            await (await c.jobs.get("x")).wait_ready(timeout=0.01)
    async with client_of(rolled(gone_back, event(3, "Version 2 is ready", ReadyVersion="2"))) as c:
        await (await c.jobs.get("x")).wait_ready(timeout=5)
    async with client_of(rolled()) as c:
        with pytest.raises(WaitTimeout):
            await (await c.jobs.get("x")).wait_ready(timeout=0.01)


@pytest.mark.parametrize(
    ("items", "version", "told"),
    [
        ((event(2, "back to version 1", GoneBackFrom="2"),), 3, "back to version 1"),
        ((), 3, "Version 2 was replaced by version 3 first"),
    ],
)
async def test_a_version_that_will_not_be_ready_is_told(items: tuple[object, ...], version: int, told: str) -> None:
    async with client_of(rolled(*items, version=version)) as c:
        with pytest.raises(JobFailed, match=told):
            await (await c.jobs.get("x")).wait_ready(timeout=5)


@pytest.mark.parametrize(("codes", "highest"), [((0, 3), 3), ((0,), 0), ((0, None), None), ((), None)])
async def test_an_exit_code_is_the_highest_once_all_have_one(
    codes: tuple[int | None, ...], highest: int | None
) -> None:
    made = [execution(at, at, RunOutput=None if code is None else {"ExitCode": code}) for at, code in enumerate(codes)]
    api = FakeApi({f"GET {JOBS}/x": {"Job": job()}, f"GET {JOBS}/{ID}/executions": page("", *made)})
    async with client_of(api) as c:
        assert await (await c.jobs.get("x")).exit_code() == highest


# ------------------------------------------------------------------ lists


async def test_a_list_asks_for_the_next_page_when_one_gets_there() -> None:
    api = FakeApi({f"GET {JOBS}": [page("t", job(Name="a"), job(Name="b")), page("", job(Name="c"))]})
    async with client_of(api) as c:
        found = c.jobs.list(labels="team=fish")
        assert [(await anext(found)).name, (await anext(found)).name] == ["a", "b"]
        assert len(api.requests) == 1
        assert [each.name async for each in found] == ["c"]
    assert [one.url.params.get("next_token") for one in api.requests] == [None, "t"]
    assert api.requests[0].url.params["labels"] == "team=fish"


async def test_a_list_asks_for_no_more_than_is_wanted() -> None:
    api = FakeApi({f"GET {JOBS}": page("more", job(Name="a"), job(Name="b"))})
    async with client_of(api) as c:
        assert len([each async for each in c.jobs.list(limit=2)]) == 2
    assert [one.url.params["limit"] for one in api.requests] == ["2"]


async def test_history_ends_where_it_is_now_although_its_token_does_not() -> None:
    api = FakeApi({f"GET {JOBS}/x": {"Job": job()}, f"GET {JOBS}/{ID}/history": page("always", event(1, "one"))})
    async with client_of(api) as c:
        assert [item.message async for item in (await c.jobs.get("x")).history()] == ["one"]


async def test_a_rerun_is_the_new_version_and_versions_are_all() -> None:
    api = FakeApi(
        {
            f"GET {JOBS}/x": {"Job": job()},
            f"PUT {JOBS}/{ID}/rerun": {"EvaluationID": "ev", "JobID": ID, "JobVersion": 2, "Warnings": None},
            f"GET {JOBS}/{ID}": {"Job": job("Pending", Version=2)},
            f"GET {JOBS}/{ID}/versions": [page("more", job()), page("", job(Version=2))],
            f"PUT {JOBS}/diff": {"Diff": "-a\n+b", "Warnings": None},
        }
    )
    async with client_of(api) as c:
        found = await c.jobs.get("x")
        assert (await found.rerun(version=1)).version == 2
        assert (api.body(1)["JobVersion"], "SameInputs" in api.body(1)) == (1, False)
        await found.rerun(same_inputs=True)
        assert api.body(3)["SameInputs"] is True
        assert [one.version for one in await found.versions()] == [1, 2]
        assert api.requests[-1].url.params["next_token"] == "more"
        assert await c.jobs.diff({"Name": "hello"}) == "-a\n+b"


async def test_nodes_are_listed_by_what_they_are_and_changed_by_name() -> None:
    state = {"Info": {"NodeID": "n-1", "NodeType": "Compute"}, "Membership": "PENDING", "Connection": "CONNECTED"}
    api = FakeApi(
        {
            f"GET {NODES}": {"NextToken": "", "Nodes": [state]},
            f"GET {NODES}/n-1": {"Node": state},
            f"PUT {NODES}/n-1": {"Success": True},
        }
    )
    async with client_of(api) as c:
        (found,) = await c.nodes.list(labels=("a=b",), approval="pending", status="connected")
        assert (await c.nodes.get(found.id)).membership == "PENDING"
        await c.nodes.approve("n-1", message="mine")
        await c.nodes.reject("n-1")
        await c.nodes.delete("n-1")
    asked = dict(api.requests[0].url.params.multi_items())
    assert asked == {"labels": "a=b", "filter-approval": "pending", "filter-status": "connected"}
    assert [api.body(at)["Action"] for at in (2, 3, 4)] == ["approve", "reject", "delete"]


# ------------------------------------------------------------------ errors, who asks


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (429, Busy),
        (500, ApiError),
        (501, NotSupported),
        (503, Busy),
    ],
)
async def test_what_the_api_refuses_is_an_error_of_its_kind(status: int, kind: type[ApiError]) -> None:
    async with client_of(FakeApi({f"GET {JOBS}/x": error(status, "no")})) as c:
        with pytest.raises(ApiError, match="no") as raised:
            await c.jobs.get("x")
    assert type(raised.value) is kind
    assert raised.value.retryable == (status in (429, 503)) == raised.value.may_pass


async def test_a_token_that_was_given_is_shown_instead_of_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api = FakeApi({"GET /api/v1/agent/alive": {"Status": "OK"}})
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    monkeypatch.setenv("SKREI_API_KEY_FILE", str(file))
    async with client_of(api) as c:
        await c.alive()
    async with client_of(api, token="of-the-call") as c:
        await c.alive()
    assert [one.headers["Authorization"] for one in api.requests] == ["Bearer of-the-file", "Bearer of-the-call"]


@pytest.mark.parametrize("text", ["", "two words", "naïve", None])
async def test_a_token_s_file_without_a_token_is_refused_before_anybody_is_asked(
    text: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("SKREI_API_KEY_FILE", str(file))
    api = FakeApi({})
    async with client_of(api) as c:
        with pytest.raises(Rejected, match=str(file)):
            await c.alive()
    assert api.requests == []


# ------------------------------------------------------------------ values


def test_a_job_of_values_is_the_job_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "m.wasm").write_bytes(b"\0asm")
    spec = JobSpec(
        name="fish",
        count=2,
        labels={"team": "fish"},
        tasks=[
            Task(engine=Docker(image="busybox", command=["echo", "hi"], workdir="/tmp"), env={"A": "b"}, cpu="1"),
            Task(
                name="next",
                engine=Wasm(module=tmp_path / "m.wasm", arguments=["x"]),
                results={"out": "/out"},
                inputs=[Input.url("http://example.org/a", "/a")],
                depends_on=["main"],
                timeout_seconds=5,
                more={"Network": {"Type": "None"}},
            ),
        ],
        more={"Offline": {"Wait": "1h"}},
    )
    assert spec.document() == {
        "Name": "fish",
        "Type": "batch",
        "Count": 2,
        "Labels": {"team": "fish"},
        "Offline": {"Wait": "1h"},
        "Tasks": [
            {
                "Name": "main",
                "Engine": {
                    "Type": "docker",
                    "Params": {"Image": "busybox", "Parameters": ["echo", "hi"], "WorkingDirectory": "/tmp"},
                },
                "InputSources": [],
                "Env": {"A": "b"},
                "Resources": {"CPU": "1"},
            },
            {
                "Name": "next",
                "Engine": {
                    "Type": "wasm",
                    "Params": {"EntryModule": "/main.wasm", "Entrypoint": "_start", "Parameters": ["x"]},
                },
                "InputSources": [
                    {
                        "Source": {"Type": "inline", "Params": {"URL": "data:application/wasm;base64,AGFzbQ=="}},
                        "Target": "/main.wasm",
                    },
                    {"Source": {"Type": "urlDownload", "Params": {"URL": "http://example.org/a"}}, "Target": "/a"},
                ],
                "ResultPaths": [{"Name": "out", "Path": "/out"}],
                "Timeouts": {"ExecutionTimeout": 5},
                "DependsOn": ["main"],
                "Network": {"Type": "None"},
            },
        ],
    }


def test_one_text_where_words_are_wanted_is_refused() -> None:
    task = Task(engine=Docker(image="busybox", command="echo hi"))
    with pytest.raises(Rejected, match="one text where a sequence of words is wanted"):
        task.document()


def test_any_engine_can_be_named() -> None:
    assert Task(engine=Engine(type="mine", params={"A": 1})).document()["Engine"] == {
        "Type": "mine",
        "Params": {"A": 1},
    }


# ------------------------------------------------------------------ the blocking twin


def methods_of(kind: type) -> dict[str, Any]:
    members = dict(inspect.getmembers(kind, inspect.isfunction))
    return {name: member for name, member in members.items() if not name.startswith("_")}


PAIRS = [
    (jobs.AsyncJobs, sync_jobs.Jobs),
    (job_handle.AsyncJobHandle, sync_handle.JobHandle),
    (job_results.AsyncResults, sync_handle.Results),
    (nodes.AsyncNodes, sync_jobs.Nodes),
    (client.AsyncClient, sync.Client),
]
ONLY_BLOCKING = {sync.Client: {"fetch", "follow", "wait"}}
ONLY_ASYNCHRONOUS = {client.AsyncClient: {"download", "headers", "stream", "unreachable"}}


@pytest.mark.parametrize(("asynchronous", "blocking"), PAIRS, ids=lambda kind: kind.__name__)
def test_the_blocking_twin_has_every_method_with_the_same_arguments(asynchronous: type, blocking: type) -> None:
    theirs, ours = methods_of(asynchronous), methods_of(blocking)
    assert set(theirs) - ONLY_ASYNCHRONOUS.get(asynchronous, set()) == set(ours) - ONLY_BLOCKING.get(blocking, set())
    for name in set(theirs) & set(ours):
        told = inspect.signature(ours[name]).parameters.values()
        assert [str(each) for each in inspect.signature(theirs[name]).parameters.values()] == [
            str(each) for each in told
        ], f"{blocking.__name__}.{name}"


def test_the_blocking_twin_does_the_same() -> None:
    api = followed("Running", "Completed")
    api.answers |= {
        f"PUT {JOBS}": ACCEPTED,
        f"GET {JOBS}": page("", job(Name="a"), job(Name="b")),
        f"DELETE {JOBS}/{ID}": {"EvaluationID": "ev"},
        f"GET {NODES}": {"NextToken": "", "Nodes": []},
    }
    with Client("http://127.0.0.1:9", transport=api.transport) as c:
        ran = c.jobs.run(JobSpec(tasks=[Task(engine=Docker(image="busybox"))]))
        assert ran.wait(timeout=10).state == "Completed"
        assert repr(ran) == f"<Job 'hello' {ID} version 1: Completed>"
        assert [one.state for one in ran.executions()] == ["Completed"]
        assert [item.message for item in ran.history()] == ["one"]
        assert [each.name for each in c.jobs.list()] == ["a", "b"]
        assert ran.stop(reason="enough").refresh().id == ID
        assert c.nodes.list() == ()
        first = next(c.jobs.list())
        assert first.name == "a"


def test_ctrl_c_ends_a_wait_and_what_it_waits_for() -> None:
    api = followed("Running")
    c = Client("http://127.0.0.1:9", transport=api.transport)
    found = c.jobs.get("x")
    timer = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        found.wait()
    timer.join()
    c.close()


def test_an_iterator_may_outlive_its_client() -> None:
    api = FakeApi({f"GET {JOBS}": page("t", job(Name="a"), job(Name="b"))})
    with Client("http://127.0.0.1:9", transport=api.transport) as c:
        found = c.jobs.list()
        next(found)
    found.close()  # type: ignore[attr-defined]


def test_every_public_name_is_there() -> None:
    public = {name: getattr(skrei, name) for name in skrei.__all__}
    assert not [name for name, value in public.items() if inspect.ismodule(value)], "a module hides the name"
    assert inspect.signature(skrei.Client) == inspect.signature(skrei.AsyncClient)
    assert set(skrei.__all__) <= set(dir(skrei))
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        skrei.nope  # noqa: B018
    assert answers_module.ATTEMPTS == ATTEMPTS
