"""A command tells where the services are reached that its task uses, as of when it is sent."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from skrei_domain.clock import ManualClock
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import PortObserved
from skrei_domain.spec import JobSpec, SpecConfig, TaskSpec, encode
from skrei_kit.bus import Bus
from skrei_kit.tokens import TokenSigner
from skrei_scheduler.core import Core
from skrei_scheduler.sender import Sender
from skrei_scheduler.specs import SpecCache
from skrei_scheduling.changes import Changes, ExecutionChange
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_job, a_node, a_requirement, an_execution, counting_ids

WASM = SpecConfig(type="wasm", params={})


class _Recorder:
    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []

    async def publish(self, subject: str, payload: bytes) -> None:
        self.orders += [each["run"] for each in json.loads(payload)["data"]["commands"]]


class _Tokens:
    def run(self, *_: object, **__: object) -> str:
        return "token"


async def test_a_command_tells_where_its_services_are_reached_and_waits_while_they_are_not() -> None:
    web = replace(a_job("j-web", state=JobState.RUNNING, type="service"), name="web")
    ports = (PortObserved(name="http", host="10.0.0.1", port=8000, target=80),)
    serving = replace(an_execution("e-web", job=web, state=ExecutionState.RUNNING), ports=ports)
    job = a_job("j-1", requirement=a_requirement(uses=["web"]))
    rows = [an_execution("e-1", job=job), an_execution("e-2", job=job, partition=1)]
    view = ClusterView.load([a_node()], [web, job], [serving, *rows])
    specs = SpecCache()
    specs.put("j-1", 1, encode(JobSpec(count=2, tasks=(TaskSpec(name="main", engine=WASM, uses=("web",)),))))
    bus = _Recorder()
    sender = Sender(
        cast("Bus", bus),
        Core(view, timeline=1, epoch=1, now=0.0, ids=counting_ids()),
        specs=specs,
        signer=cast("TokenSigner", _Tokens()),
        clock=ManualClock(NOW),
        token=timedelta(hours=1),
    )
    await sender.commands("n-1", rows)
    told = {"SKREI_SERVICE_WEB": "10.0.0.1:8000", "SKREI_SERVICE_WEB_HTTP": "10.0.0.1:8000"}
    assert [order["services"] for order in bus.orders] == [told, told]

    view.apply(Changes(executions=(ExecutionChange(replace(serving, ready=False)),)))
    await sender.commands("n-1", rows)
    assert len(bus.orders) == 2, "nothing is sent that would not find its service"


async def test_a_task_that_uses_nothing_is_told_nothing() -> None:
    job = a_job("j-1")
    row = an_execution("e-1", job=job)
    specs = SpecCache()
    specs.put("j-1", 1, encode(JobSpec(tasks=(TaskSpec(name="main", engine=WASM),))))
    bus = _Recorder()
    core = Core(ClusterView.load([a_node()], [job], [row]), timeline=1, epoch=1, now=0.0, ids=counting_ids())
    sender = Sender(
        cast("Bus", bus),
        core,
        specs=specs,
        signer=cast("TokenSigner", _Tokens()),
        clock=ManualClock(NOW),
        token=timedelta(hours=1),
    )
    await sender.commands("n-1", [row])
    assert "services" not in bus.orders[0]
