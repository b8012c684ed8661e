"""What programs do with bacalhau-sdk and bacalhau-apiclient, row by row, in an environment that holds these alone.

Run as a program it reads `{"wasm": job, "sleep": job, "docker": job or null}` from standard input and writes a line of
JSON for each row to the file named on its command line: `{"row": …, "problem": …}`, an empty problem being good.
The rows are named here, so that the test that reads them needs nothing of the clients.
"""

import json
import re
import sys
import time
import traceback
from pathlib import Path

ROWS = {}
"""By name: the function that does it, in the order in which they run."""
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.05
TERMINAL = ("Completed", "Failed", "Stopped")


def row(name):
    """Take a function as a row."""

    def take(function):
        assert name not in ROWS, name
        ROWS[name] = function
        return function

    return take


class Run:
    """One run: the clients, the jobs that the rows share, and how the rows look at them."""

    def __init__(self, jobs):
        from bacalhau_apiclient import ApiClient, OpsApi, OrchestratorApi
        from bacalhau_sdk.config import init_config
        from bacalhau_sdk.jobs import Jobs

        self.specs = jobs
        self.jobs = Jobs()
        client = ApiClient(init_config())
        self.api, self.ops = OrchestratorApi(client), OpsApi(client)
        self.ids = {}

    def put(self, which, **changes):
        """Submit one of the jobs as the SDK's users write it: out of model objects."""
        from bacalhau_apiclient import models

        spec = dict(self.specs[which], **changes)
        task = spec["Tasks"][0]
        inputs = [
            models.InputSource(source=models.SpecConfig(**_lowered(one["Source"])), target=one["Target"])
            for one in task.get("InputSources", [])
        ]
        made = models.Task(
            name=task["Name"],
            engine=models.SpecConfig(**_lowered(task["Engine"])),
            publisher=models.SpecConfig(),
            input_sources=inputs or None,
            resources=models.Resources(cpu=task["Resources"]["CPU"], memory=task["Resources"]["Memory"]),
        )
        job = models.Job(name=spec.get("Name"), type=spec["Type"], count=spec["Count"], tasks=[made])
        return self.jobs.put(models.ApiPutJobRequest(job=job))

    def state(self, job_id):
        return self.jobs.get(job_id).job.state.state_type

    def wait(self, job_id, *wanted):
        end = time.monotonic() + PATIENCE_SECONDS
        while (state := self.state(job_id)) not in (wanted or TERMINAL):
            assert time.monotonic() < end, f"{job_id} is {state}"
            time.sleep(LOOK_SECONDS)  # another process is awaited
        return state

    def completed(self, which):
        """The id of a job of this kind that has completed, submitted by its own row."""
        job_id = self.ids[which]
        assert self.wait(job_id) == "Completed", self.jobs.get(job_id).job
        return job_id


def _lowered(spec):
    return {name.lower(): value for name, value in spec.items()}


def equal(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


# ------------------------------------------------------------------ submit


@row("sdk put: a wasm job is accepted, with ids and no warnings")
def put_wasm(run):
    answer = run.put("wasm", Name="sdk-wasm")
    run.ids["wasm"] = answer.job_id
    assert re.fullmatch(r"j-[0-9a-f-]{36}", answer.job_id), answer.job_id
    assert answer.evaluation_id
    equal(answer.warnings, None)


@row("sdk put: a docker job is accepted, and completes")
def put_docker(run):
    run.ids["docker"] = run.put("docker", Name="sdk-docker").job_id
    found = run.jobs.executions(run.completed("docker")).items
    equal([one.run_output.stdout for one in found], ["hello from docker\n"])


@row("sdk put: a job without a name is called by its id")
def put_nameless(run):
    job_id = run.put("wasm").job_id
    equal(run.jobs.get(job_id).job.name, job_id)


@row("sdk put: what the server refuses is an ApiException with the documented body")
def put_refused(run):
    from bacalhau_apiclient import models
    from bacalhau_apiclient.rest import ApiException

    try:
        run.api.orchestratorput_job(models.ApiPutJobRequest(job=models.Job(type="batch", tasks=[])))
    except ApiException as error:
        body = json.loads(error.body)
        equal((error.status, body["Status"], body["Code"]), (400, 400, "ValidationError"))
        assert "Tasks" in body["Message"], body
    else:
        raise AssertionError("it was accepted")


# ------------------------------------------------------------------ get


@row("sdk get: a job reads back as it was sent, by id, by prefix and by name")
def get_job(run):
    job_id = run.completed("wasm")
    for key in (job_id, job_id[:10], "sdk-wasm"):
        job = run.jobs.get(key).job
        equal((job.id, job.name, job.namespace, job.type, job.count), (job_id, "sdk-wasm", "default", "batch", 1))
        equal((job.version, job.tasks[0].name, job.tasks[0].engine.type), (1, "main", "wasm"))
        assert job.tasks[0].publisher is not None
        assert job.create_time <= job.modify_time


@row("sdk get: the state is text, a terminal one once the job has ended")
def get_state(run):
    equal(run.state(run.completed("wasm")), "Completed")


@row("sdk get: include=history brings its items")
def get_history(run):
    found = run.jobs.get(run.completed("wasm"), include="history")
    assert found.executions is None
    equal([item.type for item in found.history.items][:1], ["JobLevel"])
    assert "Job submitted" in [item.event.message for item in found.history.items]


@row("sdk get: include=executions brings its items")
def get_executions(run):
    found = run.jobs.get(run.completed("wasm"), include="executions")
    assert found.history is None
    equal([one.job_id for one in found.executions.items], [run.ids["wasm"]])


@row("sdk get: include=executions,history brings both")
def get_both(run):
    found = run.jobs.get(run.completed("wasm"), include="executions,history")
    assert found.executions.items
    assert found.history.items


@row("sdk get: an unknown job is an ApiException 404 with Code NotFound")
def get_unknown(run):
    from bacalhau_apiclient.rest import ApiException

    equal(run.jobs.get("j-00000000-0000-4000-8000-000000000000"), None)  # the SDK prints errors and returns None
    try:
        run.api.orchestratorget_job("j-00000000-0000-4000-8000-000000000000")
    except ApiException as error:
        equal((error.status, json.loads(error.body)["Code"]), (404, "NotFound"))
    else:
        raise AssertionError("it was found")


# ------------------------------------------------------------------ list


@row("sdk list: pages by limit and token, each job once, oldest first")
def list_pages(run):
    more = [run.put("wasm", Name=f"sdk-page-{number}").job_id for number in range(3)]
    seen, token = [], ""
    for _ in range(50):
        page = run.jobs.list(limit=2, next_token=token)
        assert len(page.items) <= 2
        seen += [job.id for job in page.items]
        token = page.next_token
        if not token:
            break
    equal(token, "")
    equal(len(seen), len(set(seen)))
    equal([job_id for job_id in seen if job_id in more], more)


@row("sdk list: reverse is newest first")
def list_reverse(run):
    newest = run.put("wasm", Name="sdk-newest").job_id
    equal(run.jobs.list(limit=1, reverse=True).items[0].id, newest)


@row("sdk list: ordered by modified_at")
def list_modified(run):
    times = [job.modify_time for job in run.jobs.list(limit=10, order_by="modified_at").items]
    equal(times, sorted(times))


@row("sdk list: a token that is none is 400")
def list_bad_token(run):
    from bacalhau_apiclient.rest import ApiException

    try:
        run.api.orchestratorlist_jobs(next_token="rubbish")
    except ApiException as error:
        equal(error.status, 400)
    else:
        raise AssertionError("it was taken")


# ------------------------------------------------------------------ executions, history, results


@row("sdk executions: states are integers, output and exit code are there once it has ended")
def executions(run):
    (one,) = run.jobs.executions(run.completed("wasm")).items
    equal((one.compute_state.state_type, one.desired_state.state_type), (9, 2))
    equal((one.run_output.stdout, one.run_output.exit_code), ("slept\n", 0))
    assert one.node_id
    assert one.allocated_resources.tasks
    assert one.published_result.type


@row("sdk executions: limit, reverse and order_by are taken")
def executions_query(run):
    job_id = run.put("wasm", Name="sdk-three", Count=3).job_id
    run.wait(job_id)
    every = [one.id for one in run.jobs.executions(job_id, limit=10).items]
    equal(len(every), 3)
    equal([one.id for one in run.jobs.executions(job_id, limit=2).items], every[:2])
    backwards = run.jobs.executions(job_id, limit=10, reverse=True, order_by="create_time").items
    equal(sorted(one.id for one in backwards), sorted(every))


@row("sdk history: the items of executions, with text times and text details")
def history(run):
    found = run.jobs.history(run.completed("wasm")).items
    equal({item.type for item in found}, {"ExecutionLevel"})
    assert "Completed successfully" in [item.event.message for item in found]
    for item in found:
        assert re.match(r"\d{4}-\d\d-\d\dT", item.time)
        assert all(isinstance(value, str) for value in (item.event.details or {}).values())


@row("sdk history: event_type job and all, and one execution by its id")
def history_kinds(run):
    job_id = run.completed("wasm")
    levels = {item.type for item in run.jobs.history(job_id, event_type="job").items}
    equal(levels, {"JobLevel"})
    equal({item.type for item in run.jobs.history(job_id, event_type="all").items}, {"JobLevel", "ExecutionLevel"})
    (one,) = run.jobs.executions(job_id).items
    equal({item.execution_id for item in run.jobs.history(job_id, execution_id=one.id).items}, {one.id})


@row("sdk history: the token is empty once the job has ended and all was read")
def history_token(run):
    equal(run.jobs.history(run.completed("wasm"), event_type="all").next_token or "", "")


@row("sdk results: an address for each partition that completed")
def results(run):
    (one,) = run.jobs.results(run.completed("wasm")).items
    equal(one.type, "urlDownload")
    assert one.params["URL"].startswith("http://"), one.params


# ------------------------------------------------------------------ stop


@row("sdk stop: a running job stops, with the reason from the query")
def stop(run):
    job_id = run.put("sleep", Name="sdk-sleep").job_id
    run.wait(job_id, "Running")
    answer = run.jobs.stop(job_id, "enough slept")
    assert answer.evaluation_id
    job = run.jobs.get(job_id).job
    equal((job.state.state_type, job.state.message), ("Stopped", "enough slept"))
    run.ids["stopped"] = job_id


@row("sdk stop: a job that was stopped before is 200 with no evaluation")
def stop_again(run):
    equal(run.jobs.stop(run.ids["stopped"], "again").evaluation_id, "")


@row("sdk stop: its execution ends as Cancelled, and the history says who asked")
def stop_history(run):
    job_id = run.ids["stopped"]
    end = time.monotonic() + PATIENCE_SECONDS
    while [one.compute_state.state_type for one in run.jobs.executions(job_id).items] != [11]:
        assert time.monotonic() < end, run.jobs.executions(job_id).items
        time.sleep(LOOK_SECONDS)  # another process is awaited
    told = [item.event.message for item in run.jobs.history(job_id, event_type="job").items]
    assert any("stop" in text.lower() for text in told), told


@row("sdk stop: a job that has completed is an ApiException")
def stop_completed(run):
    from bacalhau_apiclient.rest import ApiException

    try:
        run.api.orchestratorstop_job(run.completed("wasm"))
    except ApiException as error:
        equal((error.status, "cannot stop job in state Completed" in json.loads(error.body)["Message"]), (409, True))
    else:
        raise AssertionError("it was stopped")


# ------------------------------------------------------------------ nodes and the agent


@row("apiclient nodes: the list's document, whose key its own models spell otherwise")
def nodes(run):
    raw = run.api.orchestratorlist_nodes(limit=10, order_by="id", reverse=False, _preload_content=False)
    (one,) = json.loads(raw.data)["Nodes"]
    equal((one["Info"]["NodeType"], one["Membership"], one["Connection"]), ("Compute", "APPROVED", "CONNECTED"))
    run.ids["node"] = one["Info"]["NodeID"]


@row("apiclient nodes: filters by approval and status")
def nodes_filtered(run):
    asked = {"order_by": "id", "filter_approval": "approved", "filter_status": "disconnected"}
    raw = run.api.orchestratorlist_nodes(_preload_content=False, **asked)
    equal(json.loads(raw.data)["Nodes"], [])


@row("apiclient nodes: one by a prefix of its id")
def node(run):
    raw = run.api.orchestratorget_node(run.ids["node"][:8], _preload_content=False)
    equal(json.loads(raw.data)["Node"]["Info"]["NodeID"], run.ids["node"])


@row("apiclient agent: alive")
def alive(run):
    # Its generated code takes the answer for a text.
    equal(json.loads(run.ops.agentalive(_preload_content=False).data), {"Status": "OK"})


@row("apiclient agent: version")
def version(run):
    raw = run.ops.agentversion(_preload_content=False)
    assert json.loads(raw.data)["GitVersion"].startswith("v")


@row("apiclient agent: node")
def agent_node(run):
    found = run.ops.agentnode()
    assert found.node_id
    equal(found.bacalhau_version.git_version[:1], "v")


def main():
    """Do every row, in order; 0 whatever became of them."""
    jobs = json.load(sys.stdin)
    run = Run(jobs)
    with Path(sys.argv[1]).open("w") as told:
        for name, function in ROWS.items():
            problem = ""
            try:
                function(run)
            except Exception:  # noqa: BLE001 - each row is told, whatever went wrong in it
                problem = traceback.format_exc()
            told.write(json.dumps({"row": name, "problem": problem}) + "\n")
            told.flush()


if __name__ == "__main__":
    main()
