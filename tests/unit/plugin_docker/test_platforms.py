"""Which images run on which machines."""

import pytest

from skrei_plugin_docker.platforms import Platform, of_image, of_registry, read, suits


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("Linux/x86_64", Platform("linux", "amd64")),
        ("linux/arm/v7", Platform("linux", "arm")),
        ("linux/aarch64", Platform("linux", "arm64")),
    ],
)
def test_platforms_are_read_in_dockers_words(text: str, platform: Platform) -> None:
    assert read(text) == platform


@pytest.mark.parametrize(
    ("image", "own", "runs"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/386", "linux/amd64", True),
        ("linux/amd64", "linux/386", False),
        ("linux/arm", "linux/arm64", True),
        ("linux/arm64", "linux/amd64", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_processors_run_what_they_can(image: str, own: str, runs: bool) -> None:
    assert suits([read(image)], read(own)) is runs


def test_what_an_owner_emulates_runs_too() -> None:
    assert suits([read("linux/arm64")], read("linux/amd64"), ["linux/arm64"])


def test_what_is_not_told_is_not_known() -> None:
    assert of_image({"Architecture": "", "Os": "linux"}) is None
    assert of_image({"Architecture": "arm64", "Os": "linux"}) == Platform("linux", "arm64")
    answer = {"Platforms": [{"os": "linux", "architecture": "amd64"}, {"os": "unknown", "architecture": "unknown"}, {}]}
    assert of_registry(answer) == [Platform("linux", "amd64")]
    assert of_registry({}) == []
