"""The parameters of docker tasks: right ones in any case, and every wrong one named."""

from typing import Any

import pytest

from skrei_domain.docker_params import docker_problems
from skrei_domain.job_parse import parse_job
from skrei_domain.job_reading import InvalidJob


@pytest.mark.parametrize(
    "image",
    [
        "ubuntu",
        "ubuntu:24.04",
        "bacalhauproject/hello",
        "ghcr.io/a/b/c:v1.2-rc_3",
        "localhost:5000/x",
        "127.0.0.1:5000/x/y:1",
        "[::1]:5000/x",
        "registry/a__b.c--d",
        "a@sha256:" + "0" * 64,
        "a:1@sha256:" + "0" * 64,
    ],
)
def test_names_of_images_are_taken(image: str) -> None:
    assert docker_problems({"image": image}) == []


@pytest.mark.parametrize(
    "image", [None, "", 7, "Upper", "a b", "a:", "@", ":1", "/a", "a//b", "a@sha256:1", "http://a/b", "-a", "a" * 5000]
)
def test_what_is_no_name_of_an_image_is_refused(image: object) -> None:
    assert [problem.path for problem in docker_problems({"Image": image})] == ["Image"]


@pytest.mark.parametrize(
    ("params", "paths"),
    [
        ({"entrypoint": "sh"}, ["Entrypoint"]),
        ({"Parameters": ["a", 1]}, ["Parameters"]),
        ({"Parameters": ["a\0b"]}, ["Parameters"]),
        ({"EnvironmentVariables": {"A": "1"}}, ["EnvironmentVariables"]),
        (
            {"EnvironmentVariables": ["A=1", "B", "=1", "bacalhau_x=1"]},
            ["EnvironmentVariables[1]", "EnvironmentVariables[2]", "EnvironmentVariables[3]"],
        ),
        ({"WorkingDirectory": "a/b"}, ["WorkingDirectory"]),
        ({"pull": "NEVER"}, []),
        ({"Pull": "if-not-present"}, ["Pull"]),
        ({"Entrypoint": None, "Parameters": [], "WorkingDirectory": "", "Pull": ""}, []),
    ],
)
@pytest.mark.row("5.1/params")
def test_every_wrong_parameter_is_named(params: dict[str, Any], paths: list[str]) -> None:
    assert [problem.path for problem in docker_problems({"Image": "a"} | params)] == paths


def test_a_job_is_refused_with_the_path_of_the_field() -> None:
    engine = {"Type": "Docker", "Params": {"Image": "Upper"}}
    with pytest.raises(InvalidJob) as raised:
        parse_job({"Type": "batch", "Tasks": [{"Name": "main", "Engine": engine}]})
    assert [problem.path for problem in raised.value.problems] == ["Tasks[0].Engine.Params.Image"]
