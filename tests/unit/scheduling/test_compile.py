"""What the planner keeps of a spec."""

from dataclasses import replace
from datetime import timedelta

import pytest

from skrei_domain.job import JobSpec
from skrei_domain.job_parse import parse_job
from skrei_domain.lifecycle import JobState
from skrei_domain.paths import LocalPath
from skrei_scheduling.compile import compile_job, requirement
from skrei_scheduling.rows import JobRow, OnReturn
from skrei_scheduling.waiting import WaitingLine
from tests.support.builders import NOW

SPEC = {
    "Type": "batch",
    "Priority": 3,
    "Count": 4,
    "Constraints": [{"Key": "region", "Operator": "=", "Values": ["eu"]}],
    "Offline": {"Wait": 60, "Replace": False, "OnReturn": "stop"},
    "Tasks": [
        {
            "Name": "main",
            "Engine": {"Type": "WASM", "Params": {}},
            "Publisher": {"Type": "Local"},
            "InputSources": [
                {"Source": {"Type": "localDirectory", "Params": {}}, "Target": "/in"},
                {"Source": {"Type": "inline", "Params": {}}, "Target": "/program"},
            ],
            "Resources": {"CPU": "500m", "Memory": "64Mi", "GPU": "1"},
            "Timeouts": {"TotalTimeout": 90, "QueueTimeout": 30},
        }
    ],
}


def compiled(spec: dict[str, object], submitter: str = "anonymous") -> JobRow:
    return compile_job(
        JobSpec.model_validate(spec),
        id="j-1",
        namespace="default",
        name="count",
        generation=1,
        version=1,
        state=JobState.PENDING,
        created_at=NOW,
        submitter=submitter,
    )


@pytest.mark.row("2.5/effective", "4.5/any-case", "6.1/aliases", "12/removed")
def test_a_spec_becomes_a_compact_requirement() -> None:
    job = compiled(SPEC)
    task = job.tasks[0]
    assert (task.name, task.count, job.units, job.priority) == ("main", 4, 4, 3)
    assert task.requirement.engine == "wasm"
    assert task.requirement.storages == {"local", "inline"}
    assert task.requirement.publisher == ""  # publishers are the control plane's
    assert [each.key for each in task.requirement.constraints] == ["region"]
    assert task.requirement.resources.vector() == (500, 64 << 20, 0, 1)
    assert task.execution_timeout == job.total_timeout == timedelta(seconds=90)
    assert job.queue_timeout == timedelta(seconds=30)
    assert (job.offline.wait, job.offline.replace, job.offline.on_return) == (
        timedelta(minutes=1),
        False,
        OnReturn.STOP,
    )


def test_jobs_that_wait_alike_share_what_is_kept_of_that() -> None:
    jobs = [replace(compiled(SPEC), id=f"j-{number}") for number in range(3)]
    shared = [(job.offline, job.update, job.targets, job.failed, job.won_at, job.manifests) for job in jobs]
    assert len({tuple(map(id, each)) for each in shared}) == 1
    line = WaitingLine()
    for job in jobs:
        line.put(job, {job.tasks[0].requirement: 4})
    assert len({id(line.of_job(job.id)) for job in jobs}) == 1
    line.put(jobs[0], {jobs[0].tasks[0].requirement: 3})
    assert [line.units(job.id) for job in jobs] == [3, 4, 4]


@pytest.mark.row("4.8/disk")
def test_what_a_spec_leaves_out_is_no_limit_and_no_amount() -> None:
    job = compiled({"Tasks": [{"Name": "main", "Engine": {"Type": "wasm", "Params": {"EntryModule": "m"}}}]})
    assert (job.queue_timeout, job.total_timeout, job.tasks[0].execution_timeout) == (None, None, None)
    assert job.tasks[0].requirement.resources.vector() == (0, 0, 0, 0)
    assert job.offline.wait == timedelta(minutes=5)


def test_equal_specs_are_one_class_of_work() -> None:
    first, second = compiled(SPEC).tasks[0].requirement, compiled(SPEC).tasks[0].requirement
    assert first == second
    assert hash(first) == hash(second)
    assert len({first, second}) == 1


def with_paths(*sources: dict[str, object]) -> dict[str, object]:
    inputs = [{"Source": {"Type": "local", "Params": params}, "Target": "/in"} for params in sources]
    return {"Tasks": [{"Name": "main", "Engine": {"Type": "wasm"}, "InputSources": inputs}]}


def test_whom_a_node_hands_paths_to_matters_for_the_owner_alone() -> None:
    spec = with_paths({"SourcePath": "/b", "ReadWrite": True}, {"sourcepath": "/a"}, {"SourcePath": "/a"}, {})
    owners = compiled(spec, "owner")
    assert owners.owner
    assert owners.tasks[0].requirement.local == (LocalPath("/a"), LocalPath("/b", writes=True))
    for submitter in ("anonymous", "joining", "", "Owner"):
        others = compiled(spec, submitter)
        assert (others.owner, others.tasks[0].requirement.owner) == (False, False)
        assert others.tasks[0].requirement.local == owners.tasks[0].requirement.local
    assert owners.tasks[0].requirement != compiled(spec).tasks[0].requirement


def test_what_stays_on_a_node_goes_where_its_path_may_be_written() -> None:
    task = {
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "m"}},
        "Publisher": {"Type": "localDirectory", "Params": {"Path": "/srv/out"}},
    }
    spec, _ = parse_job({"Type": "batch", "Count": 1, "Tasks": [task]})
    wanted = requirement(spec, spec.tasks[0])
    assert wanted.publisher == "localdirectory"
    assert wanted.local == (LocalPath("/srv/out/{jobID}/{executionID}", writes=True, creates=True),)
    assert wanted.handed_out, "whoever submitted it"
