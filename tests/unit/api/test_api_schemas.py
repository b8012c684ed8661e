"""Shapes of answers that no live server shows at once: what is escaped, and what a node that is away still tells."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.node import Gpu, NodeInfo, Plugin
from skrei_domain.resources import Resources
from skrei_orchestrator_api import schemas
from skrei_orchestrator_api.openapi.examples import EXAMPLES
from skrei_orchestrator_api.openapi.shapes import SCHEMAS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_node(**changes: Any) -> dict[str, Any]:
    info = NodeInfo(
        node_id="n-1",
        name="box",
        version="0.5.0",
        os="linux",
        arch="amd64",
        labels={"region": "eu"},
        engines=(Plugin(name="wasm"), Plugin(name="docker")),
        capacity=Resources(cpu_milli=6400, memory_bytes=13_000_000_000, gpu=1),
        gpus=(Gpu(index=0, name="Tesla", vendor="NVIDIA", memory_bytes=16160 * 2**20, pci_address=""),),
    )
    values: dict[str, Any] = {
        "info": info,
        "labels": {},
        "intake": "open",
        "drain_until": None,
        "membership": "APPROVED",
        "connection": "CONNECTED",
        "connected_since": NOW,
        "disconnected_since": None,
        "heard": NOW,
        "confirmed": 12,
        "error": "",
        "reserved": Resources(cpu_milli=400),
        "running": 1,
    }
    return schemas.node(**values | changes)


@pytest.mark.row("1.4/results-unescaped")
def test_characters_stay_as_they_are() -> None:
    url = "https://host/x?a=1&b=<2>&X-Amz-Signature=ø"
    assert schemas.dump({"URL": url}) == f'{{"URL":"{url}"}}'


@pytest.mark.row("1.6/gpus")
def test_devices_are_told_with_their_memory_in_mebibytes() -> None:
    capacity = a_node()["Info"]["ComputeNodeInfo"]["MaxCapacity"]
    gpu = {"Index": 0, "Name": "Tesla", "Vendor": "NVIDIA", "Memory": 16160, "PCIAddress": ""}
    assert capacity == {"CPU": 6.4, "Memory": 13_000_000_000, "GPU": 1, "GPUs": [gpu]}


def test_the_node_of_the_examples_is_one_that_an_answer_could_tell() -> None:
    shown, told = EXAMPLES["Node"]["Info"], a_node()["Info"]
    assert shown["SupportedProtocols"] == EXAMPLES["ServerNode"]["SupportedProtocols"] == [*told["SupportedProtocols"]]
    assert set(shown["ComputeNodeInfo"]["Publishers"]) >= set(told["ComputeNodeInfo"]["Publishers"]) > set()
    assert set(shown["Labels"]) >= {"os_type", "os_arch", "name"}


def test_the_result_of_the_examples_says_who_made_it() -> None:
    assert set(EXAMPLES["Result"]["Params"]) == set(SCHEMAS["Result"]["properties"]["Params"]["properties"]) - {
        "Task",
        "ResultPaths",
    }


@pytest.mark.row("3.4/away")
def test_a_node_that_is_away_tells_since_when_and_why_and_keeps_its_size() -> None:
    told = a_node(connection="DISCONNECTED", connected_since=None, disconnected_since=NOW, error="heartbeat timeout")
    state = told["ConnectionState"]
    assert (told["Connection"], state["Status"], state["LastError"]) == (*["DISCONNECTED"] * 2, "heartbeat timeout")
    assert (state["ConnectedSince"], state["DisconnectedSince"]) == ("0001-01-01T00:00:00Z", "2026-01-02T03:04:05Z")
    assert told["Info"]["ComputeNodeInfo"]["AvailableCapacity"]["CPU"] == 6.0


@pytest.mark.row("3.2/unknown")
def test_an_execution_of_a_silent_node_shows_what_it_did_last() -> None:
    assert ExecutionState.UNKNOWN.number(ExecutionState.RUNNING) == 6
    assert schemas.desired(ExecutionState.UNKNOWN, Want.RUN, "") == {"StateType": 1}


@pytest.mark.row("3.2/message")
def test_a_state_without_a_message_has_none() -> None:
    assert schemas.desired(ExecutionState.COMPLETED, Want.RUN, "") == {"StateType": 2}
    assert schemas.desired(ExecutionState.RUNNING, Want.STOP, "enough") == {"StateType": 2, "Message": "enough"}


@pytest.mark.row("1.11/times")
def test_times_are_whole_nanoseconds_or_rfc_3339() -> None:
    at = NOW + timedelta(microseconds=7)
    assert schemas.nanoseconds(at) == 1767323045_000007000
    assert (schemas.rfc3339(at), schemas.rfc3339(None)) == ("2026-01-02T03:04:05.000007Z", "0001-01-01T00:00:00Z")
    assert json.loads(schemas.dump({"at": schemas.rfc3339(at)})) == {"at": "2026-01-02T03:04:05.000007Z"}
