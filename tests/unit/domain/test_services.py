"""What a task is told of the services that it uses, and which names it may use."""

from typing import Any

import pytest

from skrei_domain.job_parse import parse_job
from skrei_domain.job_reading import InvalidJob
from skrei_domain.messages import PortObserved
from skrei_domain.services import MOST_BYTES, Endpoint, address, is_near, variable, variables


def an_endpoint(
    partition: int, *ports: tuple[str, int], task: str = "main", order: int = 0, host: str = "10.0.0.1"
) -> Endpoint:
    told = tuple(PortObserved(name=name, host=host, port=port, target=port) for name, port in ports)
    return Endpoint((order, partition, f"e-{partition}"), task, told)


def a_job(*uses: object, name: str = "reader", **task: object) -> dict[str, Any]:
    whole = {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "busybox"}}, "Uses": list(uses)} | task
    return {"Name": name, "Type": "batch", "Tasks": [whole]}


def problems(job: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidJob) as caught:
        parse_job(job)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "told"),
    [("web", "SKREI_SERVICE_WEB"), ("my-api.v2", "SKREI_SERVICE_MY_API_V2"), ("Été", "SKREI_SERVICE__T_")],
)
def test_a_name_is_a_variable_in_upper_case(name: str, told: str) -> None:
    assert variable(name) == told


def test_each_ready_execution_is_listed_in_the_order_of_partitions() -> None:
    found = variables({"web": [an_endpoint(1, ("http", 81)), an_endpoint(0, ("http", 80))]})
    assert found["SKREI_SERVICE_WEB"] == "10.0.0.1:80,10.0.0.1:81"
    assert found["SKREI_SERVICE_WEB_HTTP"] == "10.0.0.1:80,10.0.0.1:81"


def test_the_first_port_is_the_services_own_and_each_is_told_by_its_name() -> None:
    found = variables({"db": [an_endpoint(0, ("sql", 5432), ("admin", 8080))]})
    assert found == {
        "SKREI_SERVICE_DB": "10.0.0.1:5432",
        "SKREI_SERVICE_DB_SQL": "10.0.0.1:5432",
        "SKREI_SERVICE_DB_ADMIN": "10.0.0.1:8080",
    }


def test_of_several_tasks_the_first_stands_for_the_service() -> None:
    web = an_endpoint(0, ("http", 80))
    side = an_endpoint(0, ("http", 90), ("metrics", 91), task="side", order=1)
    found = variables({"app": [side, web]})
    assert found["SKREI_SERVICE_APP"] == found["SKREI_SERVICE_APP_HTTP"] == "10.0.0.1:80"
    assert found["SKREI_SERVICE_APP_METRICS"] == "10.0.0.1:91"


def test_lists_begin_with_another_for_each_turn() -> None:
    web = [an_endpoint(number, ("http", 80 + number)) for number in range(3)]
    firsts = [variables({"web": web}, turn=turn)["SKREI_SERVICE_WEB"].split(",")[0] for turn in range(4)]
    assert firsts == ["10.0.0.1:80", "10.0.0.1:81", "10.0.0.1:82", "10.0.0.1:80"]


def test_a_service_by_its_own_name_goes_before_a_port_of_another() -> None:
    found = variables({"web": [an_endpoint(0, ("admin", 1))], "web-admin": [an_endpoint(0, ("http", 2))]})
    assert found["SKREI_SERVICE_WEB_ADMIN"] == "10.0.0.1:2"


def test_what_is_told_is_bounded_and_every_service_is_told() -> None:
    ports = [(f"{'p' * 200}{number}", 1024 + number) for number in range(32)]
    many = {f"s{n}": [an_endpoint(each, *ports, host="h" * 250) for each in range(100)] for n in range(16)}
    found = variables(many)
    assert {variable(name) for name in many} <= found.keys()
    assert sum(len(name) + len(value) for name, value in found.items()) <= MOST_BYTES


def test_addresses_are_written_as_in_urls() -> None:
    assert (address("10.0.0.1", 80), address("::1", 80)) == ("10.0.0.1:80", "[::1]:80")


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("n-1", False)],
)
def test_loopback_is_reached_on_its_own_machine_alone(host: str, near: bool) -> None:
    assert is_near(host) is near


def test_names_are_kept_as_they_are_written() -> None:
    spec, warnings = parse_job(a_job("web", " my-api "))
    assert spec.tasks[0].uses == ("web", "my-api")
    assert warnings == ()


def test_who_uses_nothing_says_nothing() -> None:
    assert parse_job(a_job())[0].tasks[0].uses is None
    assert parse_job(a_job(Uses=None))[0].tasks[0].uses is None


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (a_job(Uses="web"), 'Tasks[0].Uses: "web"; allowed: a list'),
        (a_job("web", 7), "Tasks[0].Uses[1]: 7; allowed: a text"),
        (a_job(""), "Tasks[0].Uses[0]: missing; allowed: a text that is not blank"),
        (a_job("x" * 257), "allowed: at most 256 bytes"),
        (
            a_job("web-1", "WEB.1"),
            'Tasks[0].Uses[1]: "WEB.1"; allowed: a name that makes another variable than Tasks[0].Uses[0] '
            "(SKREI_SERVICE_WEB_1)",
        ),
        (
            a_job("web", name="web"),
            'Tasks[0].Uses[0]: "web"; allowed: the name of another job: this one waits for itself',
        ),
        (a_job(*map(str, range(17))), "Tasks[0].Uses: 17 services; allowed: at most 16 services"),
    ],
)
def test_a_wrong_name_is_told(job: dict[str, Any], told: str) -> None:
    assert told in "\n".join(problems(job))
