"""A program's environment: its own variables, the host's by allow-list, ours on top."""

import pytest

from skrei_compute_agent.env import HostVariableDenied, environment, port_variables
from skrei_plugin_api.engine import PortBinding
from tests.support.agent_machine import an_order

ORDER = an_order(partition=2, partition_count=4, job_type="batch")


def made(task_env: dict[str, str], allow: tuple[str, ...] = ()) -> dict[str, str]:
    return environment("e-1", ORDER, task_env, host={"REGION": "north", "SECRET": "x"}, allow=allow)


@pytest.mark.row("2.7/system-variables")
def test_every_program_learns_which_part_of_which_job_it_is() -> None:
    assert made({"A": "1"}) == {
        "A": "1",
        "BACALHAU_EXECUTION_ID": "e-1",
        "BACALHAU_JOB_ID": "j-1",
        "BACALHAU_JOB_TYPE": "batch",
        "BACALHAU_PARTITION_INDEX": "2",
        "BACALHAU_PARTITION_COUNT": "4",
    }


@pytest.mark.row("2.7/system-variables")
def test_what_the_node_sets_wins() -> None:
    assert made({"BACALHAU_PARTITION_INDEX": "9"})["BACALHAU_PARTITION_INDEX"] == "2"


@pytest.mark.row("2.7/host-variables", "12/allow-list", "12/secrets")
def test_a_host_variable_is_handed_out_by_allow_list_only() -> None:
    assert made({"R": "env:REGION"}, allow=("REG*",))["R"] == "north"
    with pytest.raises(HostVariableDenied, match="R asks for this node's variable SECRET, which its allow-list"):
        made({"R": "env:SECRET"}, allow=("REG*",))
    for part in ("REG", "EGION", "regi*", ".*"):
        with pytest.raises(HostVariableDenied, match="which its allow-list"):
            made({"R": "env:REGION"}, allow=(part,))
    with pytest.raises(HostVariableDenied, match="which is not set here"):
        made({"R": "env:NOWHERE"}, allow=("*",))


def test_services_that_a_task_uses_are_told_and_win_over_its_own_words() -> None:
    told = ORDER.model_copy(update={"services": {"SKREI_SERVICE_WEB": "10.0.0.1:80"}})
    found = environment("e-1", told, {"SKREI_SERVICE_WEB": "mine", "A": "b"}, host={}, allow=())
    assert (found["SKREI_SERVICE_WEB"], found["A"]) == ("10.0.0.1:80", "b")


@pytest.mark.row("2.7/other-prefixes")
def test_another_prefix_is_plain_text() -> None:
    assert made({"R": "http://x"})["R"] == "http://x"


@pytest.mark.row("2.7/port-variables")
def test_a_program_is_told_where_it_listens_and_how_it_is_reached() -> None:
    ports = (PortBinding("web", "127.0.0.1", 20_001, 80), PortBinding("dns", "127.0.0.1", 20_002, 20_002))
    assert port_variables(ports) == {
        "BACALHAU_PORT_web": "80",
        "BACALHAU_HOST_PORT_web": "20001",
        "BACALHAU_PORT_dns": "20002",
        "BACALHAU_HOST_PORT_dns": "20002",
    }
