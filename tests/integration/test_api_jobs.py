"""Jobs through the door, over a real record: submit, read, list, stop, history."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest

from skrei_domain import constraints, subjects
from skrei_domain.envelope import unwrap
from skrei_domain.errors import Unavailable
from skrei_domain.messages import EvaluationHint
from skrei_orchestrator_api.queries import token_out
from skrei_orchestrator_api.routes import jobs as routes_jobs
from skrei_orchestrator_api.submissions import Submissions
from tests.support.api import HELLO, JOBS, Api, running_api

ORIGIN = {f"bacalhau.org/{name}.id" for name in ("requester", "orchestrator", "server.installation", "server.instance")}


@pytest.fixture
async def api(postgres_url: str, nats_url: str) -> AsyncIterator[Api]:
    async with running_api(postgres_url, nats_url) as running:
        yield running


@pytest.mark.row("2.10/ids", "1.1/success-is-200", "1.1/unknown-keys", "1.4/put", "2.1/lists")
async def test_a_submitted_job_reads_back_as_clients_know_it(api: Api) -> None:
    answer = await api.http.put(JOBS, json={"Job": HELLO | {"Labels": {"team": "x"}, "Cuont": 2}})
    told = answer.json()
    assert (answer.status_code, set(told)) == (200, {"JobID", "EvaluationID", "Warnings"})
    assert told["Warnings"] == ["unknown key \"Cuont\" is kept but has no effect; did you mean 'Count'?"]
    uuid.UUID(told["EvaluationID"])
    job = (await api.http.get(f"{JOBS}/{told['JobID']}")).json()["Job"]
    assert job["ID"] == job["Name"] == told["JobID"]
    assert (job["Namespace"], job["Type"], job["Count"], job["Priority"]) == ("default", "batch", 1, 0)
    assert (job["State"], job["Version"], job["Revision"]) == ({"StateType": "Pending"}, 1, 1)
    assert job["Tasks"][0]["Publisher"] == {"Type": "", "Params": {}}
    assert job["Tasks"][0]["Engine"] == {"Type": "wasm", "Params": {"EntryModule": "m"}}
    assert (job["Labels"], job["Cuont"], job["Constraints"]) == ({"team": "x"}, 2, [])
    assert set(job["Meta"]) == ORIGIN
    assert isinstance(job["CreateTime"], int)
    assert job["CreateTime"] <= job["ModifyTime"]


@pytest.mark.row("2.1/server-meta")
async def test_the_server_writes_where_a_job_came_from_into_its_meta(api: Api) -> None:
    sent = {"mine": "x", "bacalhau.org/requester.id": "n-of-another"}
    headers = {"X-Bacalhau-InstallationID": "i-1", "X-Bacalhau-InstanceID": "x" * 65}
    answer = await api.http.put(JOBS, json={"Job": HELLO | {"Meta": sent}}, headers=headers)
    reserved = 'job meta key "bacalhau.org/requester.id" is reserved and will be ignored'
    assert answer.json()["Warnings"] == [reserved]
    meta = (await api.http.get(f"{JOBS}/{answer.json()['JobID']}")).json()["Job"]["Meta"]
    assert set(meta) == {*ORIGIN, "mine", "bacalhau.org/client.installation.id"}
    assert (meta["mine"], meta["bacalhau.org/client.installation.id"]) == ("x", "i-1")
    assert meta["bacalhau.org/requester.id"] == meta["bacalhau.org/orchestrator.id"] == "skrei"
    uuid.UUID(meta["bacalhau.org/server.installation.id"])


@pytest.mark.row("1.1/success-is-200", "1.4/put")
async def test_no_warnings_are_null_and_post_is_put(api: Api) -> None:
    answer = await api.http.post(JOBS, json={"Job": HELLO})
    assert (answer.status_code, answer.json()["Warnings"]) == (200, None)


@pytest.mark.row("2.10/ids", "1.7/by-name-id-or-prefix")
async def test_a_job_answers_to_its_name_its_id_and_any_beginning_of_it(api: Api) -> None:
    job_id = await api.submit(Name="my job")
    for key in (job_id, "my%20job", job_id[:10], job_id[:3]):
        answer = await api.http.get(f"{JOBS}/{key}")
        assert (answer.status_code, answer.json()["Job"]["ID"]) == (200, job_id), key


@pytest.mark.row("1.7/ambiguous", "B/ambiguous-job", "12/statuses")
async def test_a_beginning_that_several_share_is_answered_with_their_ids(api: Api) -> None:
    first, second = sorted([await api.submit(), await api.submit()])
    answer = await api.http.get(f"{JOBS}/j-")
    assert (answer.status_code, answer.json()["Code"]) == (409, "MultipleJobsFound")
    assert answer.json()["Message"] == f"multiple jobs found for id j-: {first}, {second}"
    assert answer.json()["Details"] == {"ids": f"{first}, {second}"}
    assert answer.json()["Hint"] == "use the full id"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/history"),
        ("GET", "/executions"),
        ("GET", "/results"),
        ("GET", "/versions"),
    ],
)
@pytest.mark.parametrize("key", ["j-1234", "nope", "j-00000000-0000-0000-0000-000000000000", "a%00b", "%ff"])
@pytest.mark.row("1.7/unknown", "B/unknown-job")
async def test_an_unknown_job_is_404_everywhere(api: Api, method: str, path: str, key: str) -> None:
    answer = await api.http.request(method, f"{JOBS}/{key}{path}")
    assert (answer.status_code, answer.json()["Code"], answer.json()["Component"]) == (404, "NotFound", "JobStore")
    if key == "j-1234":
        assert answer.json()["Message"] == "job not found: j-1234"


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"", 400, "BadRequest", "the body is not a JSON object"),
        (b"{", 400, "BadRequest", "the body is not JSON: EOF while parsing an object at line 1 column 1"),
        (b"{}", 400, "ValidationError", "empty/nil job"),
        (b'{"Job":null}', 400, "ValidationError", "empty/nil job"),
        (
            json.dumps({"Job": HELLO | {"Count": -1, "Priority": "high"}}).encode(),
            400,
            "ValidationError",
            'Priority: "high"; allowed: a whole number from -2,147,483,647 to 2,147,483,647\n'
            "Count: -1; allowed: a whole number from 0 to 10,000",
        ),
        (
            b'{"Job":{"Type":"batch","Name":"a\\u0000","Labels":{"k":"\\ud800"},"Tasks":[{"Name":"m","Engine":{"Type":"wasm","Params":{"EntryModule":"m"}}}]}}',
            400,
            "ValidationError",
            'Name: "a\\u0000"; allowed: text without NUL characters\n'
            'Labels.k: "\\ud800"; allowed: text without lone surrogates (U+D800 to U+DFFF)',
        ),
        (
            json.dumps({"Job": HELLO | {"Type": "daemon", "Count": 2}}).encode(),
            400,
            "ValidationError",
            "Count: 2; allowed: 0 or none with Type daemon: it runs once on every node that matches",
        ),
        (
            json.dumps({"Job": HELLO | {"Tasks": HELLO["Tasks"] * 2}}).encode(),
            400,
            "ValidationError",
            'Tasks[1].Name: "main"; allowed: a name that is not also at Tasks[0].Name',
        ),
        (
            json.dumps({"Job": HELLO | {"Meta": {"k": "x" * 70_000}}}).encode(),
            400,
            "ValidationError",
            None,
        ),
    ],
)
@pytest.mark.row("1.1/validation-errors", "B/invalid-spec", "B/unparsable-body")
async def test_bad_submissions_are_answered_by_what_is_wrong(
    api: Api, body: bytes, status: int, code: str, message: str | None
) -> None:
    answer = await api.http.put(JOBS, content=body)
    assert (answer.status_code, answer.json()["Code"]) == (status, code)
    if message is not None:
        assert answer.json()["Message"] == message
    else:
        assert "allowed: at most 65,536 bytes without inline data" in answer.json()["Message"]
    assert (await api.http.get(JOBS)).json() == {"NextToken": "", "Items": []}


@pytest.mark.row("1.1/body-limit", "B/large-body")
async def test_an_oversized_body_is_413(api: Api) -> None:
    answer = await api.http.put(JOBS, content=b" " * (10 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["Message"]) == (
        413,
        "Request Entity Too Large: at most 10,485,760 bytes",
    )


@pytest.mark.row("1.4/unchanged-spec")
async def test_a_name_in_use_is_a_conflict_and_other_submissions_of_the_group_are_not_hurt(api: Api) -> None:
    answers = await asyncio.gather(
        *(api.http.put(JOBS, json={"Job": HELLO | {"Name": name}}) for name in ("a", "b", "a", "c", "a"))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 409, 409]
    (refused, _) = [answer.json() for answer in answers if answer.status_code == 409]
    assert (refused["Code"], "'a'" in refused["Message"] or '"a"' in refused["Message"]) == ("ResourceInUse", True)
    other = await api.http.put(JOBS, json={"Job": HELLO | {"Name": "a", "Namespace": "other"}})
    assert other.status_code == 200


@pytest.mark.row("1.4/idempotency-token", "12/without-effect")
async def test_the_same_token_and_body_get_the_same_answer_and_another_body_is_a_conflict(api: Api) -> None:
    body = {"Job": HELLO, "IdempotencyToken": "t-1"}
    first, again = [(await api.http.put(JOBS, json=body)).json() for _ in range(2)]
    assert first == again
    spaced = await api.http.put(JOBS, content=json.dumps(body, indent=2), headers={"Content-Type": "application/json"})
    assert spaced.json() == first, "how the JSON is written is no difference"
    other = await api.http.put(JOBS, json=body | {"Job": HELLO | {"Count": 2}})
    assert (other.status_code, other.json()["Code"]) == (409, "ResourceInUse")
    assert len((await api.http.get(JOBS)).json()["Items"]) == 1


async def test_the_same_token_twice_in_one_group_makes_one_job(api: Api) -> None:
    body = {"Job": HELLO, "IdempotencyToken": "t-2"}
    answers = await asyncio.gather(*(api.http.put(JOBS, json=body) for _ in range(4)))
    assert len({answer.json()["JobID"] for answer in answers}) == 1


@pytest.mark.row("1.4/list-inline-data")
async def test_large_inline_data_is_kept_apart_and_put_back_for_readers(api: Api) -> None:
    url = "data:application/wasm;base64," + base64.b64encode(bytes(5_000)).decode()
    source = {"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": "main.wasm"}
    job_id = await api.submit(Tasks=[HELLO["Tasks"][0] | {"InputSources": [source]}])
    stored = await api.rows.link.fetchval("SELECT spec FROM job_versions WHERE job_id = $1", job_id)
    assert "blob:sha256:" in stored
    for _ in range(2):
        job = (await api.http.get(f"{JOBS}/{job_id}")).json()["Job"]
        assert job["Tasks"][0]["InputSources"][0]["Source"]["Params"]["URL"] == url
    (listed,) = (await api.http.get(JOBS)).json()["Items"]
    assert listed["Tasks"][0]["InputSources"][0]["Source"]["Params"]["URL"].startswith("blob:sha256:")


async def test_the_scheduler_is_told_with_all_it_needs_while_it_is_small(api: Api, nats_url: str) -> None:
    heard: asyncio.Queue[EvaluationHint] = asyncio.Queue()
    client = await nats.connect(nats_url)

    async def take(message: Any) -> None:
        await heard.put(unwrap(EvaluationHint, message.data))

    await client.subscribe(subjects.HINT_EVALUATION, cb=take)
    await client.flush()
    answer = (await api.http.put(JOBS, json={"Job": HELLO}, headers={"traceparent": TRACE})).json()
    async with asyncio.timeout(5):
        (hinted,) = (await heard.get()).evaluations
    assert (hinted.evaluation_id, hinted.job_id) == (answer["EvaluationID"], answer["JobID"])
    assert (hinted.trigger, hinted.state, hinted.generation, hinted.version) == ("job-register", "Pending", 1, 1)
    assert (hinted.traceparent, hinted.job_type) == (TRACE, "batch")
    assert hinted.spec_json == await api.rows.link.fetchval("SELECT spec FROM job_versions")
    await asyncio.gather(*(api.submit(Meta={"k": "x" * 40_000}) for _ in range(4)))
    async with asyncio.timeout(5):
        while (await heard.get()).evaluations:
            pass  # the group of four is too large to carry, and says only: look now
    await client.close()


@pytest.mark.row("1.4/stop", "B/stop-ended", "2.1/revision", "3.1/stopped", "3.5/stop")
async def test_stopping_writes_the_reason_and_asks_the_scheduler_once(api: Api) -> None:
    job_id = await api.submit()
    first = await api.http.request("DELETE", f"{JOBS}/{job_id}", json={"reason": "enough"})
    again = await api.http.request("DELETE", f"{JOBS}/{job_id}?reason=other", json={})
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["EvaluationID"] != ""
    assert again.json() == {"EvaluationID": ""}
    job = (await api.http.get(f"{JOBS}/{job_id}")).json()["Job"]
    assert (job["State"]["StateType"], job["State"]["Message"]) == ("Stopped", "enough")
    told = (await api.http.get(f"{JOBS}/{job_id}/history?event_type=job")).json()["Items"][1:]
    assert [(item["Event"]["Topic"], item["Event"]["Message"]) for item in told] == [
        ("Scheduling", "Job requested to stop before completion"),
        ("State Update", "Stopped"),
    ]
    assert told[0]["Event"]["Details"] == {"Reason": "enough"}
    assert job["Revision"] == told[-1]["SeqNum"] == 3


@pytest.mark.row("1.4/stop-reason", "1.9/web-ui-reads")
async def test_the_reason_is_read_from_the_query_where_the_body_has_none(api: Api) -> None:
    job_id = await api.submit()
    await api.http.request("DELETE", f"{JOBS}/{job_id}?reason=from+the+query", content=b"{}")
    assert (await api.http.get(f"{JOBS}/{job_id}")).json()["Job"]["State"]["Message"] == "from the query"


@pytest.mark.parametrize("state", ["Completed", "Failed"])
@pytest.mark.row("1.4/stop-ended", "B/stop-ended", "3.1/stopped", "12/statuses")
async def test_what_has_ended_cannot_be_stopped(api: Api, state: str) -> None:
    job_id = await api.submit()
    await api.rows.state(job_id, state, units_won=1 if state == "Completed" else 0)
    answer = await api.http.request("DELETE", f"{JOBS}/{job_id}")
    assert (answer.status_code, answer.json()["Message"]) == (
        409,
        f"cannot stop job in state {state} (job {job_id})",
    )


@pytest.mark.row("1.5/history-token")
async def test_history_goes_on_until_the_job_is_terminal_and_drained(api: Api) -> None:
    job_id = await api.submit()
    page = (await api.http.get(f"{JOBS}/{job_id}/history")).json()
    assert [item["Event"]["Message"] for item in page["Items"]] == ["Job submitted"]
    assert (page["Items"][0]["SeqNum"], page["Items"][0]["Type"]) == (1, "JobLevel")
    assert page["Items"][0]["Event"]["Topic"] == "Submission"
    empty = (await api.http.get(f"{JOBS}/{job_id}/history?next_token={page['NextToken']}")).json()
    assert empty["Items"] == []
    assert empty["NextToken"] != ""
    execution_id = await api.rows.execution(job_id)
    await api.rows.history(job_id, "Requested execution on n-1", execution_id, NodeID="n-1")
    await api.rows.history(job_id, "Completed")
    await api.rows.state(job_id, "Completed", units_won=1)
    partly = (await api.http.get(f"{JOBS}/{job_id}/history?limit=1&next_token={empty['NextToken']}")).json()
    assert (partly["Items"][0]["SeqNum"], partly["Items"][0]["ExecutionID"]) == (2, execution_id)
    assert partly["Items"][0]["Event"]["Details"] == {"NodeID": "n-1"}
    rest = (await api.http.get(f"{JOBS}/{job_id}/history?limit=10&next_token={partly['NextToken']}")).json()
    assert [item["SeqNum"] for item in rest["Items"]] == [3]
    assert rest["NextToken"] == ""


@pytest.mark.row("1.4/history", "1.4/history-of-an-execution")
async def test_history_is_filtered_by_level_execution_and_time(api: Api) -> None:
    job_id = await api.submit()
    first, second = await api.rows.execution(job_id), await api.rows.execution(job_id, partition=1, state="failed")
    for execution_id in (first, second):
        await api.rows.history(job_id, "Running", execution_id)

    async def seen(query: str) -> list[int]:
        answer = await api.http.get(f"{JOBS}/{job_id}/history?{query}")
        return [item["SeqNum"] for item in answer.json()["Items"]]

    assert await seen("event_type=job") == [1]
    assert await seen("event_type=execution") == [2, 3]
    assert await seen(f"execution_id={second[:13]}") == [3]
    assert await seen("since=99999999999") == []
    over = (await api.http.get(f"{JOBS}/{job_id}/history?execution_id={second}")).json()
    assert over["NextToken"] == ""
    assert (await api.http.get(f"{JOBS}/{job_id}/history?execution_id=e-nope")).status_code == 404


@pytest.mark.parametrize(
    "query", ["since=-1", "since=1099511627776", "event_type=node", "next_token=nonsense", "limit=x"]
)
@pytest.mark.row("1.4/history", "B/history-queries")
async def test_bad_history_queries_are_400(api: Api, query: str) -> None:
    job_id = await api.submit()
    assert (await api.http.get(f"{JOBS}/{job_id}/history?{query}")).status_code == 400


@pytest.mark.row("1.4/list", "1.5/jobs-token")
async def test_jobs_are_listed_in_pages_that_miss_none_and_repeat_none(api: Api) -> None:
    ids = [await api.submit(Labels={"n": str(number)}) for number in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        page = (await api.http.get(f"{JOBS}?limit=2&reverse=True&order_by=&namespace=&next_token={token}")).json()
        seen += [job["ID"] for job in page["Items"]]
        token = page["NextToken"]
        if not token:
            break
    assert seen == ids[::-1]
    assert [job["ID"] for job in (await api.http.get(JOBS)).json()["Items"]] == ids


@pytest.mark.row("1.5/limit-zero", "1.6/included-history")
async def test_no_limit_is_as_many_as_one_answer_holds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_jobs, "MAX_JOBS", 2)
    monkeypatch.setattr(routes_jobs, "INCLUDED_HISTORY", 2)
    ids = [await api.submit() for _ in range(3)]
    for query in ("", "?limit=0", "?limit=99999"):
        page = (await api.http.get(f"{JOBS}{query}")).json()
        assert ([job["ID"] for job in page["Items"]], page["NextToken"] != "") == (ids[:2], True), query
    for number in range(3):
        await api.rows.history(ids[0], f"event {number}")
    beside = (await api.http.get(f"{JOBS}/{ids[0]}?include=history")).json()["History"]
    assert ([item["SeqNum"] for item in beside["Items"]], beside["NextToken"]) == ([1, 2], "")


@pytest.mark.row("1.4/list", "1.5/all-namespaces")
async def test_jobs_are_listed_by_labels_and_namespace(api: Api) -> None:
    eu = await api.submit(Labels={"region": "eu", "size": "9"})
    us = await api.submit(Labels={"region": "us"}, Namespace="team")

    async def ids(query: str) -> list[str]:
        return [job["ID"] for job in (await api.http.get(f"{JOBS}?{query}")).json()["Items"]]

    assert await ids("labels=region%3Deu") == [eu]
    assert await ids("labels=region&labels=region!%3Deu") == [us]
    assert await ids("labels=region in (eu,us)") == [eu, us]
    assert await ids("labels=size%3E8") == [eu]
    assert await ids("labels=!size") == [us]
    assert await ids("namespace=team") == [us]
    assert await ids("namespace=*") == [eu, us]
    assert await ids("namespace=none") == []


SELECTORS = [
    "region", "!region", "region=eu", "region==eu", "region!=eu", "region in (eu, us)", "region in (eu)",
    "region in ()", "region notin (eu)", "region notin (eu,us)", "size>8", "size<8", "size > -1", "size<+100",
    "size=9", "size!=", "empty", "empty=", "empty in (,x)", "!empty", "region=eu,size=9", "region,!size",
    "not in (a)", "in notin (a)", "in=b", "team.io/stage=test", "team.io/stage in (test,prod),region",
    "canary != true", "big>5", "big<99999999999999999999",
]  # fmt: skip
LABELS: list[dict[str, str]] = [
    {},
    {"region": "eu", "size": "9", "empty": ""},
    {"region": "us", "size": "-2", "in": "b", "not": "a"},
    {"region": "EU", "size": "9 ", "team.io/stage": "test", "canary": "true"},
    {"size": "1e3", "big": "9999999999999999999", "team.io/stage": "prod", "in": "a"},
]


@pytest.mark.row("1.4/label-selectors")
async def test_labels_select_jobs_as_they_select_nodes(api: Api) -> None:
    names = [await api.submit(Labels=labels) for labels in LABELS]
    told = []
    for selector in SELECTORS:
        try:
            wanted = constraints.parse(selector)
        except ValueError:
            wanted = ()
        answer = await api.http.get(JOBS, params={"labels": selector})
        expected = [name for name, labels in zip(names, LABELS, strict=True) if constraints.matches(wanted, labels)]
        if not wanted:
            told.append(selector)
            assert answer.status_code == 400, selector
        else:
            assert [job["ID"] for job in answer.json()["Items"]] == expected, selector
    assert told == ["big<99999999999999999999"], "an integer has at most 19 digits"


@pytest.mark.parametrize(
    "query",
    [
        "order_by=id",
        "labels=a+in+(",
        "next_token=OlE6MToy",
        f"next_token={token_out('jobs', 'created_at', 0, 10, 2**62, 'j-1')}",
        "reverse=maybe",
        "limit=-1",
    ],
)
@pytest.mark.row("1.5/order", "B/order-by-id", "B/selector", "12/statuses")
async def test_bad_list_queries_are_400(api: Api, query: str) -> None:
    assert (await api.http.get(f"{JOBS}?{query}")).status_code == 400


@pytest.mark.row("1.4/get")
async def test_a_job_comes_with_what_include_asks_for(api: Api) -> None:
    job_id = await api.submit()
    execution_id = await api.rows.execution(job_id)
    whole = (await api.http.get(f"{JOBS}/{job_id}?include=executions,history")).json()
    assert [item["ID"] for item in whole["Executions"]["Items"]] == [execution_id]
    assert [item["SeqNum"] for item in whole["History"]["Items"]] == [1]
    assert whole["History"]["NextToken"] == ""
    await api.rows.execution(job_id, partition=1, ports='[{"name":"web","host":"::1","port":20000,"target":80}]')
    reached = (await api.http.get(f"{JOBS}/{job_id}?include=endpoints")).json()["Endpoints"]
    assert [item["Address"] for item in reached["Items"]] == ["[::1]:20000"]
    assert reached == (await api.http.get(f"{JOBS}/{job_id}/endpoints")).json()
    assert set((await api.http.get(f"{JOBS}/{job_id}?include=")).json()) == {"Job"}
    assert (await api.http.get(f"{JOBS}/{job_id}?include=dreams")).status_code == 400


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.row("1.5/offset-tokens")
async def test_a_counting_token_goes_on_where_it_says_and_is_answered_with_one_of_ours(api: Api) -> None:
    ids = [await api.submit(Name=f"job-{number}") for number in range(5)]
    token = base64.urlsafe_b64encode(b":Y:2:1").decode().rstrip("=")
    page = (await api.http.get(f"{JOBS}?next_token={token}")).json()
    assert [job["ID"] for job in page["Items"]] == [ids[3], ids[2]]
    page = (await api.http.get(f"{JOBS}?next_token={page['NextToken']}")).json()
    assert [job["ID"] for job in page["Items"]] == [ids[1], ids[0]]
    await api.rows.history(ids[0], "second")
    answer = await api.http.get(f"{JOBS}/{ids[0]}/history?event_type=all&limit=10&next_token=Ok46MTA6Mg")
    assert [item["SeqNum"] for item in answer.json()["Items"]] == [2]


@pytest.mark.row("1.1/old-clients-history")
async def test_clients_before_v1_5_find_a_state_in_each_item_of_history(api: Api) -> None:
    job_id = await api.submit()
    await api.rows.history(job_id, "placed", "e-1")
    for version, states in (
        ("v1.4.0", [{"JobState"}, {"ExecutionState"}]),
        ("v1.5.0", [set(), set()]),
        ("", [set()] * 2),
    ):
        answer = await api.http.get(f"{JOBS}/{job_id}/history", headers={"X-Bacalhau-Git-Version": version})
        found = [{"JobState", "ExecutionState"} & set(item) for item in answer.json()["Items"]]
        assert found == states, version


async def test_a_commit_that_is_cancelled_and_nobody_asked_for_that_ends_the_service_loudly(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing would be stored any more, by a server that looks well."""

    async def cancelled(*_: object, **__: object) -> None:
        answer = asyncio.get_running_loop().create_future()
        answer.cancel()  # by whoever was to give it
        await answer

    monkeypatch.setattr(api.deps.record, "submit_many", cancelled)
    submissions = Submissions(api.deps.record, api.deps.bus, api.deps.settings)
    storing = asyncio.create_task(submissions.run())
    with pytest.raises(Unavailable, match="not known"):
        await submissions.submit(json.dumps({"Job": HELLO}).encode(), {}, "owner")
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(10):
            await storing
    assert raised.group_contains(RuntimeError, match="'group_commit' was cancelled")
