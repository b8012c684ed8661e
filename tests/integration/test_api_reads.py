"""Executions, results, nodes, blobs and the server itself, over a real record."""

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from skrei_domain.node import Absent, Gpu, NodeInfo, Plugin
from skrei_domain.portions import Portion, place_of
from skrei_orchestrator_api import queries
from skrei_orchestrator_api.queries import token_out
from skrei_orchestrator_api.routes.results import MOST_RESULTS
from skrei_store import lookups, node_intents
from tests.support.api import INTERNAL_TOKEN, JOBS, NODES, Api, listening, running_api

INTERNAL = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}


@pytest.fixture
async def api(postgres_url: str, nats_url: str) -> AsyncIterator[Api]:
    async with running_api(postgres_url, nats_url) as running:
        yield running


@pytest.mark.row("1.4/executions", "3.2/revision", "2.10/partition")
async def test_a_running_execution_shows_numbers_and_no_output_yet(api: Api) -> None:
    job_id = await api.submit(Count=2)
    execution_id = await api.rows.execution(job_id, partition=1)
    (shown,) = (await api.http.get(f"{JOBS}/{job_id}/executions")).json()["Items"]
    assert (shown["ID"], shown["JobID"], shown["NodeID"], shown["EvalID"]) == (execution_id, job_id, "n-1", "v-1")
    assert (shown["ComputeState"], shown["DesiredState"]) == ({"StateType": 6}, {"StateType": 1})
    assert (shown["PartitionIndex"], shown["Revision"], shown["JobVersion"]) == (1, 3, 1)
    assert shown["RunOutput"] is None
    assert shown["PublishedResult"] == {"Type": "", "Params": {}}
    assert shown["AllocatedResources"]["Tasks"]["main"] == {"CPU": 0.5, "Memory": 512_000_000}


@pytest.mark.parametrize(
    ("columns", "compute", "desired"),
    [
        ({"state": "pending", "observed": "offered"}, 1, 0),
        ({"state": "offered", "observed": "offered"}, 2, 1),
        ({"state": "staging", "observed": "staging"}, 5, 1),
        ({"state": "publishing", "observed": "publishing"}, 7, 1),
        ({"state": "unknown", "observed": "running"}, 6, 1),
        ({"state": "running", "want": "stop"}, 6, 2),
        ({"state": "completed", "observed": "completed"}, 9, 2),
        ({"state": "failed", "observed": "failed"}, 10, 2),
        ({"state": "stopped", "observed": "stopped"}, 11, 2),
        ({"state": "refused", "observed": "refused"}, 4, 2),
        ({"state": "lost", "observed": "running"}, 10, 2),
    ],
)
@pytest.mark.row("3.2/states-as-numbers", "3.2/desired", "12/truth")
async def test_states_are_the_numbers_that_clients_know(
    api: Api, columns: dict[str, str], compute: int, desired: int
) -> None:
    job_id = await api.submit()
    await api.rows.execution(job_id, **columns)
    (shown,) = (await api.http.get(f"{JOBS}/{job_id}/executions")).json()["Items"]
    assert (shown["ComputeState"]["StateType"], shown["DesiredState"]["StateType"]) == (compute, desired)


@pytest.mark.row("1.4/executions")
async def test_an_ended_execution_tells_what_it_said(api: Api) -> None:
    job_id = await api.submit()
    said = {"stdout": "15\n", "stderr": "", "stdout_truncated": True, "stderr_truncated": False, "exit_code": 3}
    await api.rows.execution(job_id, state="completed", observed="completed", **said)
    (shown,) = (await api.http.get(f"{JOBS}/{job_id}/executions")).json()["Items"]
    assert shown["RunOutput"] == {
        "Stdout": "15\n",
        "StdoutTruncated": True,
        "stderr": "",
        "StderrTruncated": False,
        "ExitCode": 3,
        "ErrorMsg": "",
    }


async def test_an_execution_tells_which_image_it_ran(api: Api) -> None:
    job_id = await api.submit()
    await api.rows.execution(job_id, state="completed", observed="completed", image_digest="app@sha256:1")
    (shown,) = (await api.http.get(f"{JOBS}/{job_id}/executions")).json()["Items"]
    assert shown["ImageDigest"] == "app@sha256:1"


async def test_an_execution_tells_what_it_read_and_what_of_it_had_to_move(api: Api) -> None:
    job_id = await api.submit()
    await api.rows.execution(job_id, state="running", observed="running", data_read='{"local":61,"moved":2}')
    (shown,) = (await api.http.get(f"{JOBS}/{job_id}/executions")).json()["Items"]
    assert shown["DataRead"] == {"Local": 61, "Moved": 2, "Cached": 0, "CacheHits": 0, "AtLeast": False}


async def test_an_execution_tells_where_its_ports_are_reached(api: Api) -> None:
    job_id = await api.submit()
    ports = '[{"name":"web","host":"node-7","port":20000,"target":80}]'
    await api.rows.execution(job_id, state="running", observed="running", ports=ports)
    (shown,) = (await api.http.get(f"{JOBS}/{job_id}/executions")).json()["Items"]
    assert shown["Ports"] == [{"Name": "web", "Host": "node-7", "Port": 20_000, "Target": 80}]


@pytest.mark.row("5.5/failed-start", "5.5/failures")
async def test_an_execution_that_never_ran_has_exit_code_minus_one_and_its_problem(api: Api) -> None:
    job_id = await api.submit()
    problem = {"problem_code": "input", "problem_message": "no such file", "message": "no such file"}
    await api.rows.execution(job_id, state="failed", observed="failed", **problem)
    (shown,) = (await api.http.get(f"{JOBS}/{job_id}/executions")).json()["Items"]
    assert (shown["RunOutput"]["ExitCode"], shown["RunOutput"]["ErrorMsg"]) == (-1, "no such file")
    assert shown["ComputeState"] == {"StateType": 10, "Message": "no such file"}


@pytest.mark.row("1.4/results", "6.3/presigned")
async def test_results_are_signed_addresses_of_the_winners_in_the_order_of_partitions(api: Api) -> None:
    job_id = await api.submit(Count=3)
    winners = {
        partition: await api.rows.execution(job_id, partition=partition, state="completed") for partition in (2, 0)
    }
    loser = await api.rows.execution(job_id, partition=1, state="completed", attempt=2)
    for partition, execution_id in winners.items():
        await api.rows.result(job_id, execution_id, partition, inline=b"x" if partition else None)
    await api.rows.result(job_id, loser, 1, inline=b"x", committed=False)
    items = (await api.http.get(f"{JOBS}/{job_id}/results")).json()["Items"]
    assert [item["Params"]["ExecutionID"] for item in items] == [winners[0], winners[2]]
    assert [item["Params"]["PartitionIndex"] for item in items] == [0, 2]
    for item in items:
        url, _, token = item["Params"]["URL"].partition("?token=")
        assert url == f"http://127.0.0.1:9/results/{item['Params']['ExecutionID']}.tar.gz"
        api.deps.verifier.download(token, item["Params"]["ExecutionID"])
        assert (item["Params"]["Size"], item["Params"]["Digest"]) == (1, "sha256:0")
        assert datetime.fromisoformat(item["Params"]["KeptUntil"]) - datetime.now(UTC) > timedelta(hours=167)
    (item,) = (await api.http.get(f"{JOBS}/{job_id}/results?execution_id={loser}")).json()["Items"]
    assert item["Params"]["ExecutionID"] == loser, "what does not count can be had by its id"
    assert (await api.http.get(f"{JOBS}/{job_id}/results?execution_id=e-nope")).status_code == 404


@pytest.mark.row("1.4/results-by-node")
async def test_a_result_names_the_node_that_made_it_and_calls_it_as_it_calls_itself(api: Api) -> None:
    job_id = await api.submit(Type="ops")
    await api.rows.node("n-named")
    for number, node_id in enumerate(("n-named", "n-forgotten")):
        made = await api.rows.execution(job_id, partition=number, state="completed", node_id=node_id)
        await api.rows.result(job_id, made, number, inline=b"x")
    items = (await api.http.get(f"{JOBS}/{job_id}/results")).json()["Items"]
    assert [item["Params"]["NodeID"] for item in items] == ["n-named", "n-forgotten"]
    assert [item["Params"].get("NodeName") for item in items] == ["n-named", None]


@pytest.mark.row("1.4/results-of-a-service", "B/results-of-a-service")
@pytest.mark.parametrize("kind", ["service", "daemon"])
async def test_what_does_not_end_has_no_results_but_what_an_execution_left_can_be_had(api: Api, kind: str) -> None:
    job_id = await api.submit(Type=kind)
    ended = await api.rows.execution(job_id, state="failed", observed="failed")
    await api.rows.result(job_id, ended, inline=b"x", committed=False)
    refused = await api.http.get(f"{JOBS}/{job_id}/results")
    assert refused.status_code == 409
    assert refused.json()["Message"] == f"job {job_id} is a {kind}: it runs until it is stopped, and has no results"
    assert "--execution" in refused.json()["Hint"]
    (item,) = (await api.http.get(f"{JOBS}/{job_id}/results?execution_id={ended}")).json()["Items"]
    assert item["Params"]["ExecutionID"] == ended


async def test_an_execution_tells_until_when_its_result_is_kept_and_whether_it_still_is(api: Api) -> None:
    job_id = await api.submit()
    execution_id = await api.rows.execution(job_id, state="completed", observed="completed")
    await api.rows.result(job_id, execution_id, inline=None)
    (shown,) = (await api.http.get(f"{JOBS}/{job_id}/executions")).json()["Items"]
    told = shown["PublishedResult"]
    assert (told["Type"], told["Params"]["Kept"], told["Params"]["Size"]) == ("skrei", True, 1)
    await api.rows.link.execute("UPDATE results SET stored_at = NULL, created_at = now() - interval '8 days'")
    (shown,) = (await api.http.get(f"{JOBS}/{job_id}/executions")).json()["Items"]
    assert shown["PublishedResult"]["Params"]["Kept"] is False
    assert datetime.fromisoformat(shown["PublishedResult"]["Params"]["KeptUntil"]) < datetime.now(UTC)
    assert (await api.http.get(f"{JOBS}/{job_id}/results?execution_id={execution_id}")).json()["Items"] == []


async def test_the_internal_route_gives_results_to_the_publisher_alone(api: Api) -> None:
    job_id = await api.submit()
    execution_id = await api.rows.execution(job_id, state="completed")
    await api.rows.result(job_id, execution_id, inline=b"bytes")
    path = f"/internal/results/{execution_id}"
    held = await api.http.get(path, headers={"Authorization": f"Bearer {INTERNAL_TOKEN}"})
    assert (held.status_code, held.content) == (200, b"bytes")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": INTERNAL_TOKEN}):
        assert (await api.http.get(path, headers=headers)).status_code == 401
    taken = await api.rows.execution(job_id, state="completed", partition=1)
    await api.rows.result(job_id, taken, 1, inline=None)
    for unknown in (taken, "e-nope", "a%00"):
        answer = await api.http.get(
            f"/internal/results/{unknown}", headers={"Authorization": f"Bearer {INTERNAL_TOKEN}"}
        )
        assert answer.status_code == 404


async def test_the_supervisor_alone_learns_how_busy_the_api_is(api: Api) -> None:
    assert (await api.http.get("/internal/activity")).status_code == 401
    before = (await api.http.get("/internal/activity", headers=INTERNAL)).json()
    await api.http.get("/api/v1/agent/alive")
    assert (await api.http.get("/internal/activity", headers=INTERNAL)).json() == before
    await api.submit()
    after = (await api.http.get("/internal/activity", headers=INTERNAL)).json()
    assert after == {"Requests": before["Requests"] + 1, "OpenJobs": before["OpenJobs"] + 1}


async def test_the_internal_route_gives_many_results_at_once_in_exact_bytes(api: Api) -> None:
    job_id = await api.submit(Count=4)
    held = {await api.rows.execution(job_id, partition=n): bytes([n, 10, 0, 255]) * (n + 1) for n in range(3)}
    taken = await api.rows.execution(job_id, partition=3)
    for number, (execution_id, content) in enumerate(held.items()):
        await api.rows.result(job_id, execution_id, number, inline=content)
    await api.rows.result(job_id, taken, 3, inline=None)
    asked = [*reversed(held), taken, "e-unknown", "e-\x00"]
    answer = await api.http.post("/internal/results", json=asked, headers=INTERNAL)
    assert answer.status_code == 200
    head, _, rest = answer.content.partition(b"\n")
    assert json.loads(head) == [[execution_id, len(held[execution_id])] for execution_id in reversed(held)]
    assert rest == b"".join(reversed(held.values()))


async def test_the_publisher_learns_what_jobs_that_have_not_ended_may_read(api: Api) -> None:
    waiting, ended = await api.submit(Count=2), await api.submit()
    won, other = [await api.rows.execution(waiting, partition=n) for n in range(2)]
    old = await api.rows.execution(ended)
    await api.rows.result(waiting, won, 0, inline=None)
    await api.rows.result(waiting, other, 1, inline=None, committed=False)
    await api.rows.result(ended, old, 0, inline=None)
    for number, job_id in enumerate((waiting, ended)):
        await api.rows.link.execute(
            "INSERT INTO manifests VALUES ($1, 1, 'main', 0, $2, 1, 1, 1)", job_id, f"sha256:{number:064}"
        )
    await api.rows.link.execute("UPDATE jobs SET state = 'Stopped' WHERE id = $1", ended)
    asked = {"Results": [won, other, old, "e-\x00"], "Manifests": [f"sha256:{n:064}" for n in range(3)]}
    assert (await api.http.post("/internal/needed", json=asked)).status_code == 401
    answer = await api.http.post("/internal/needed", json=asked, headers=INTERNAL)
    assert answer.json() == {"Results": [won], "Manifests": [f"sha256:{0:064}"]}
    for rubbish in ([], {"Results": []}, {"Results": [1], "Manifests": []}):
        assert (await api.http.post("/internal/needed", json=rubbish, headers=INTERNAL)).status_code == 400


async def test_many_results_are_the_publishers_alone(api: Api) -> None:
    for headers in ({}, {"Authorization": "Bearer guess"}, {"Authorization": f"Basic {INTERNAL_TOKEN}"}):
        answer = await api.http.post("/internal/results", content=b"[]", headers=headers)
        assert (answer.status_code, answer.json()["Code"]) == (401, "Unauthorized")


@pytest.mark.parametrize("body", [b"", b"no json", b"\xff\xfe", b"{}", b'"e-1"', b"[1]", b'[["e-1"]]', b"[" * 100_000])
async def test_rubbish_is_no_list_of_results(api: Api, body: bytes) -> None:
    answer = await api.http.post("/internal/results", content=body, headers=INTERNAL)
    assert answer.status_code == 400


async def test_so_many_results_at_once_and_no_more(api: Api) -> None:
    for count, status in ((MOST_RESULTS, 200), (MOST_RESULTS + 1, 400)):
        ids = [f"e-{number}" for number in range(count)]
        answer = await api.http.post("/internal/results", json=ids, headers=INTERNAL)
        assert answer.status_code == status


async def test_a_run_token_opens_its_own_blobs_and_nothing_else(api: Api) -> None:
    await api.rows.link.execute(
        "INSERT INTO blobs (digest, size, data, created_at)"
        " VALUES ('sha256:a', 1, 'A', now()), ('sha256:b', 1, 'B', now())"
    )
    token = api.deps.signer.run("e-1", "n-1", ["sha256:a", "sha256:gone"], seconds=60)
    bearer = {"Authorization": f"Bearer {token}"}
    mine = await api.http.get("/api/v1/blobs/sha256:a", headers=bearer)
    assert (mine.status_code, mine.content) == (200, b"A")
    for other in ("sha256:b", "sha256:gone", "nonsense"):
        assert (await api.http.get(f"/api/v1/blobs/{other}", headers=bearer)).status_code == 404
    assert (await api.http.get("/api/v1/blobs/sha256:a")).status_code == 401
    assert (await api.http.get("/api/v1/blobs/sha256:a", headers={"Authorization": "Bearer x"})).status_code == 401
    old = api.deps.signer.run("e-1", "n-1", ["sha256:a"], seconds=-60)
    assert (await api.http.get("/api/v1/blobs/sha256:a", headers={"Authorization": f"Bearer {old}"})).status_code == 401
    wrong = api.deps.signer.download("e-1", seconds=60)
    answer = await api.http.get("/api/v1/blobs/sha256:a", headers={"Authorization": f"Bearer {wrong}"})
    assert answer.status_code == 403


@pytest.mark.row("1.6/node-state", "1.6/orchestrators")
async def test_nodes_show_what_they_have_and_what_is_free(api: Api) -> None:
    await api.rows.node("n-1", region="eu")
    await api.rows.node("n-2", "DISCONNECTED", region="us")
    job_id = await api.submit()
    await api.rows.execution(job_id, node_id="n-1")
    await api.rows.execution(job_id, node_id="n-1", partition=1, state="completed", holds=False)
    first, second = (await api.http.get(NODES)).json()["Nodes"]
    compute = first["Info"]["ComputeNodeInfo"]
    assert (first["Info"]["NodeID"], first["Info"]["NodeType"], first["Membership"]) == ("n-1", "Compute", "APPROVED")
    assert (first["Connection"], second["Connection"]) == ("CONNECTED", "DISCONNECTED")
    assert compute["ExecutionEngines"] == ["wasm"]
    assert (compute["MaxCapacity"]["CPU"], compute["AvailableCapacity"]["CPU"]) == (4.0, 3.5)
    assert (compute["RunningExecutions"], compute["MaxCapacity"]["Memory"]) == (1, 8 << 30)
    assert first["Info"]["Labels"] == {"os_type": "linux", "os_arch": "amd64", "name": "n-1", "region": "eu"}
    assert second["ConnectionState"]["DisconnectedSince"] == "0001-01-01T00:00:00Z"
    one = (await api.http.get(f"{NODES}/n-2")).json()
    assert one["Node"]["Info"]["NodeID"] == "n-2"


async def test_a_node_is_drained_once_nothing_runs_there_and_nothing_that_has_won_waits_to_be_shown(api: Api) -> None:
    await api.rows.node("n-1")
    await api.rows.link.execute("UPDATE nodes SET intake = 'draining'")
    job_id = await api.submit()

    async def looks() -> tuple[str, int, float]:
        info = (await api.http.get(f"{NODES}/n-1")).json()["Node"]
        compute = info["Info"]["ComputeNodeInfo"]
        return info["Intake"], compute["RunningExecutions"], compute["AvailableCapacity"]["CPU"]

    execution_id = await api.rows.execution(job_id)
    assert await looks() == ("draining", 1, 3.5)
    await api.rows.link.execute("UPDATE executions SET state = 'publishing', staged = true, holds = false")
    await api.rows.result(job_id, execution_id, inline=None)
    for publisher, place, waits in (
        ("s3", "a place", False),
        ("localDirectory", "/srv/results/e-1", True),
        ("resultPaths", place_of([Portion(), Portion(("out",), "s3")]), False),
        ("resultPaths", place_of([Portion(), Portion(("out",), "localdirectory", {"Path": "/srv/out"})]), True),
    ):
        sql = "UPDATE results SET staged = true, publisher = $1, place = $2"
        await api.rows.link.execute(sql, publisher, place)
        assert await looks() == (("draining", 1, 4.0) if waits else ("drained", 0, 4.0)), place
    await api.rows.link.execute("UPDATE results SET staged = false")
    await api.rows.link.execute("UPDATE executions SET state = 'completed', staged = false")
    assert await looks() == ("drained", 0, 4.0)


async def test_a_node_tells_what_happened_to_it_and_what_it_cannot_use(api: Api) -> None:
    info = NodeInfo(
        node_id="n-1",
        engines=(Plugin(name="wasm", version="50.0"),),
        absent=(Absent(kind="engine", name="docker", reason="no socket"),),
        gpus=(Gpu(index=0, name="Tesla T4", vendor="NVIDIA", memory_bytes=15360 * 2**20, pci_address="0000:00:1e.0"),),
    )
    await api.rows.node("n-1")
    await api.rows.link.execute("UPDATE nodes SET info = $1", info.model_dump_json())
    await api.rows.link.execute(
        "INSERT INTO node_events VALUES ('n-1', 1, now(), 'Joined', 'joined'), ('n-1', 2, now(), 'Changed', 'changed')"
    )
    node = (await api.http.get(f"{NODES}/n-1")).json()["Node"]
    assert [(event["Topic"], event["Message"]) for event in node["Events"]] == [
        ("Changed", "changed"),
        ("Joined", "joined"),
    ]
    assert node["Info"]["Plugins"] == [
        {"Kind": "engine", "Name": "wasm", "Version": "50.0", "Available": True},
        {"Kind": "engine", "Name": "docker", "Available": False, "Reason": "no socket"},
    ]
    assert node["Info"]["ComputeNodeInfo"]["MaxCapacity"]["GPUs"] == [
        {"Index": 0, "Name": "Tesla T4", "Vendor": "NVIDIA", "Memory": 15360, "PCIAddress": "0000:00:1e.0"}
    ]


@pytest.mark.row("1.6/list", "B/selector", "1.5/nodes-order")
async def test_nodes_are_filtered_and_ordered(api: Api) -> None:
    for node_id, connection, region in (
        ("n-a", "CONNECTED", "eu"),
        ("n-b", "DISCONNECTED", "us"),
        ("n-c", "CONNECTED", "us"),
    ):
        await api.rows.node(node_id, connection, region=region)
    await api.rows.execution(await api.submit(), node_id="n-a")

    async def ids(query: str) -> list[str]:
        return [node["Info"]["NodeID"] for node in (await api.http.get(f"{NODES}?{query}")).json()["Nodes"]]

    assert await ids("labels=region%3Dus") == ["n-b", "n-c"]
    assert await ids("labels=region%3Dus&filter-status=connected") == ["n-c"]
    assert await ids("filter-approval=pending") == []
    assert await ids("order_by=available_cpu&limit=2") == ["n-b", "n-c"]
    assert await ids("reverse=true") == ["n-c", "n-b", "n-a"]
    for bad in ("order_by=beauty", "filter-status=asleep", "labels=a+in+("):
        assert (await api.http.get(f"{NODES}?{bad}")).status_code == 400


@pytest.mark.row("1.6/ambiguous", "1.6/get", "B/nodes-unknown")
async def test_an_unknown_node_is_404_and_an_ambiguous_one_409(api: Api) -> None:
    await api.rows.node("n-1a")
    await api.rows.node("n-1b")
    unknown = await api.http.get(f"{NODES}/n-9")
    assert (unknown.status_code, unknown.json()["Component"]) == (404, "NodeManager")
    ambiguous = await api.http.get(f"{NODES}/n-1")
    assert (ambiguous.status_code, ambiguous.json()["Details"]) == (409, {"ids": "n-1a, n-1b"})
    assert ambiguous.json()["Code"] == "MultipleNodesFound"


@pytest.mark.row("1.6/put", "1.6/put-prefix")
async def test_what_is_wanted_of_a_node_is_written_down_for_the_leader_with_its_audit(api: Api) -> None:
    await api.rows.node("n-1a")
    for action, message in (("reject", "not ours"), ("Delete", "")):
        answer = await api.http.put(f"{NODES}/n-1", json={"action": action, "Message": message, "NodeID": "ignored"})
        assert (answer.status_code, answer.json()) == (200, {"Success": True}), answer.text
    asked = await api.rows.link.fetch("SELECT node_id, action, message FROM node_intents ORDER BY id")
    assert [tuple(row) for row in asked] == [("n-1a", "reject", "not ours"), ("n-1a", "delete", "")]
    audit = await api.rows.link.fetch("SELECT actor, action, object, details FROM audit ORDER BY id")
    assert tuple(audit[0]) == ("anonymous", "node.reject", "n-1a", '{"Message": "not ours"}')
    assert len(audit) == 2


async def test_drains_and_labels_are_written_down_with_what_belongs_to_them(api: Api) -> None:
    await api.rows.node("n-1a")
    for body in (
        {"Action": "cordon"},
        {"Action": "drain", "Deadline": "30m", "Message": "a new disk"},
        {"Action": "drain", "Deadline": 0},
        {"Action": "label", "Labels": {"rack": "b7", "spare": None}},
    ):
        answer = await api.http.put(f"{NODES}/n-1a", json=body)
        assert (answer.status_code, answer.json()) == (200, {"Success": True}), answer.text
    found = await node_intents.pending(api.rows.link, 9)
    assert [(each.action, each.seconds, dict(each.labels)) for each in found] == [
        ("cordon", None, {}),
        ("drain", 1800, {}),
        ("drain", 0, {}),
        ("label", None, {"rack": "b7", "spare": None}),
    ]
    details = await api.rows.link.fetchval("SELECT details FROM audit WHERE action = 'node.drain' ORDER BY id LIMIT 1")
    assert json.loads(details) == {"Message": "a new disk", "Seconds": 1800}
    for wrong, named in (
        ({"Action": "drain", "Deadline": "soon"}, "Deadline"),
        ({"Action": "drain", "Deadline": -1}, "Deadline"),
        ({"Action": "cordon", "Deadline": "5m"}, "Deadline"),
        ({"Action": "label"}, "Labels"),
        ({"Action": "label", "Labels": {}}, "Labels"),
        ({"Action": "label", "Labels": {"": "x"}}, "Labels"),
        ({"Action": "label", "Labels": {"a": 7}}, "Labels.a"),
        ({"Action": "label", "Labels": {"a": "x" * 257}}, "Labels.a"),
        ({"Action": "label", "Labels": {str(n): "x" for n in range(101)}}, "Labels"),
    ):
        answer = await api.http.put(f"{NODES}/n-1a", json=wrong)
        assert answer.status_code == 400, wrong
        assert answer.json()["Message"].startswith(f"{named}:"), answer.text
    assert len(await node_intents.pending(api.rows.link, 9)) == 4


@pytest.mark.row("1.6/put-again", "1.6/put-other-action", "B/nodes-again", "B/nodes-other-action")
async def test_what_a_node_is_already_and_what_nobody_can_want_are_refused(api: Api) -> None:
    await api.rows.node("n-1a")
    again = await api.http.put(f"{NODES}/n-1a", json={"Action": "approve"})
    assert (again.status_code, again.json()["Code"]) == (409, "ConflictNodeState")
    assert again.json()["Message"] == "node n-1a is approved already"
    for action in ("move", "", None, 7, "\ud800", ["approve"]):
        answer = await api.http.put(f"{NODES}/n-1a", content=json.dumps({"Action": action}))
        assert (answer.status_code, answer.json()["Component"]) == (400, "NodeManager"), action
        assert "allowed: approve, reject, delete" in answer.json()["Message"]
    assert (await api.http.put(f"{NODES}/n-9", json={"Action": "delete"})).status_code == 404
    assert await api.rows.link.fetchval("SELECT count(*) FROM node_intents") == 0


@pytest.mark.row("1.5/nodes-token", "12/paging")
async def test_nodes_come_in_pages_that_miss_none_and_repeat_none(api: Api) -> None:
    for number in range(5):
        await api.rows.node(f"n-{number}", "CONNECTED" if number % 2 else "DISCONNECTED")
    await api.rows.execution(await api.submit(), node_id="n-3")
    for order in ("order_by=id", "order_by=available_cpu", "order_by=status&reverse=true", "order_by=available_gpu"):
        whole = [node["Info"]["NodeID"] for node in (await api.http.get(f"{NODES}?{order}")).json()["Nodes"]]
        seen: list[str] = []
        page = (await api.http.get(f"{NODES}?{order}&limit=2")).json()
        while True:
            seen += [node["Info"]["NodeID"] for node in page["Nodes"]]
            if not page["NextToken"]:
                break
            page = (await api.http.get(f"{NODES}?next_token={page['NextToken']}")).json()
        assert seen == whole, order
    for bad in ("x", token_out("nodes", "beauty", 0, 2, 0, "", "n-1"), token_out("nodes", "id", 0, 0, 0, "", "n-1")):
        assert (await api.http.get(f"{NODES}?next_token={bad}")).status_code == 400


@pytest.mark.row("1.1/allow")
async def test_a_path_tells_the_methods_that_it_knows(api: Api) -> None:
    for path, methods in (
        (JOBS, "GET, HEAD, POST, PUT"),
        (f"{JOBS}/diff", "PUT"),
        (f"{JOBS}/j-1", "DELETE, GET, HEAD"),
        (f"{NODES}/n-1", "GET, HEAD, POST, PUT"),
    ):
        answer = await api.http.request("PATCH", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)


@pytest.mark.row("1.1/redirects", "1.2/alive", "1.2/node", "1.2/version", "1.6/orchestrators")
async def test_the_server_tells_that_it_lives_and_what_it_is(api: Api) -> None:
    assert (await api.http.get("/api/v1/agent/alive")).json() == {"Status": "OK"}
    version = (await api.http.get("/api/v1/agent/version")).json()
    assert set(version) == {"Major", "Minor", "GitVersion", "GitCommit", "BuildDate", "GOOS", "GOARCH"}
    assert (await api.http.get("/api/v1/agent/node")).json()["NodeType"] == "Requester"
    assert (await api.http.get("/readyz")).json()["Status"] == "OK"
    for path, target in (("/", "version"), ("/version", "version"), ("/livez", "alive")):
        answer = await api.http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (301, f"/api/v1/agent/{target}")


@pytest.mark.row("1.1/unknown-route", "B/head", "B/unknown-route")
async def test_an_unknown_route_is_answered_in_the_known_words(api: Api) -> None:
    answer = await api.http.get("/api/v2/everything")
    assert (answer.status_code, answer.json()["Message"]) == (404, "The requested resource/URL was not found.")
    assert (answer.json()["Code"], answer.json()["Component"]) == ("NotFound", "APIServer")
    assert "cli_usage" in answer.json()["Details"]
    head = await api.http.head("/api/v1/orchestrator/jobs/nope")
    assert (head.status_code, head.content) == (404, b"")


@pytest.mark.row("1.1/record-away")
async def test_with_the_record_away_the_door_says_try_again(postgres_url: str, nats_url: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        async with running_api(postgres_url, nats_url) as reachable:
            from skrei_orchestrator_api.record import Record

            settings = reachable.deps.settings.model_copy(
                update={
                    "database_url": type(reachable.deps.settings.database_url)(f"postgresql://x@127.0.0.1:{port}/x")
                }
            )
            async with Record.open(settings) as away:
                object.__setattr__(reachable.deps, "record", away)
                answer = await reachable.http.get(JOBS)
                reachable.deps.health.check("record", away.wrong)
                ready = await reachable.http.get("/readyz")
                alive = await reachable.http.get("/healthz")
    assert (alive.status_code, ready.status_code) == (200, 503)
    assert ready.json()["Message"].startswith("not ready: the record does not answer")
    assert (answer.status_code, answer.json()["Code"]) == (503, "ServiceUnavailable")
    assert answer.headers["retry-after"] == "1"


async def test_over_a_real_port_a_foreign_origin_is_refused_and_a_body_is_cut_off(api: Api) -> None:
    import httpx2

    async with listening(api) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/api/v1/agent/alive")).status_code == 200
        foreign = await client.get("/api/v1/agent/alive", headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield b" " * 65_536

        try:
            answer = await client.put(JOBS, content=endless())
        except httpx2.TransportError:
            pass  # the server had answered and closed while the client was still sending
        else:
            assert answer.status_code == 413


async def test_a_client_that_writes_first_reads_why_its_body_was_refused(api: Api) -> None:
    def put(port: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("PUT", JOBS, body=b" " * (api.deps.settings.max_body_bytes * 11 // 10))
            return connection.getresponse().status
        finally:
            connection.close()

    async with listening(api) as port:
        assert await asyncio.to_thread(put, port) == 413


@pytest.mark.parametrize(
    "path", ["/jobs?labels=%00", "/jobs?namespace=%00", "/jobs/j-?namespace=%00", "/nodes?labels=%00"]
)
async def test_a_nul_in_a_query_is_400(api: Api, path: str) -> None:
    answer = await api.http.get(f"/api/v1/orchestrator{path}")
    assert (answer.status_code, answer.json()["Code"]) == (400, "ValidationError")


async def test_a_paging_token_with_half_a_character_is_400(api: Api) -> None:
    token = queries.token_out("jobs", "created_at", 0, 10, 5, "\ud800")
    answer = await api.http.get(JOBS, params={"next_token": token})
    assert (answer.status_code, answer.json()["Code"]) == (400, "ValidationError")


async def test_a_queued_job_tells_its_place_in_line_by_priority_and_age_as_of_now(api: Api) -> None:
    async def place(job_id: str) -> str | None:
        state = (await api.http.get(f"{JOBS}/{job_id}")).json()["Job"]["State"]
        return (state.get("Details") or {}).get("Position")  # type: ignore[no-any-return]

    jobs = [await api.submit() for _ in range(3)] + [await api.submit(Priority=5)]
    for job_id in jobs:
        assert await place(job_id) is None
        await api.rows.state(job_id, "Queued", details='{"Reasons":"none"}')
    assert [await place(job_id) for job_id in jobs] == ["2", "3", "4", "1"]
    await api.rows.state(jobs[0], "Running")
    assert [await place(job_id) for job_id in jobs] == [None, "2", "3", "1"]


async def test_a_job_far_back_in_line_is_told_no_more_than_that(api: Api) -> None:
    last = await api.submit()
    ahead = (
        "INSERT INTO jobs (id, namespace, name, type, priority, count, state, history_seq, units_total, labels,"
        " created_at, asked_at, modified_at) SELECT 'j-' || n, 'default', 'j-' || n, 'batch', 0, 1, 'Queued', 1, 1,"
        " '{}', now(), '-infinity', now() FROM generate_series(1, $1::int) AS n"
    )
    await api.rows.link.execute(ahead, lookups.FURTHEST - 2)
    await api.rows.state(last, "Queued")
    job = (await api.http.get(f"{JOBS}/{last}")).json()["Job"]
    assert job["State"]["Details"]["Position"] == str(lookups.FURTHEST - 1)
    await api.rows.link.execute(ahead.replace("'j-' || n", "'k-' || n"), 5)
    job = (await api.http.get(f"{JOBS}/{last}")).json()["Job"]
    assert job["State"]["Details"]["Position"] == f"{lookups.FURTHEST} or further"
