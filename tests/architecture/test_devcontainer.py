"""The container that people try Skrei in: what it runs is what the checkout has."""

import json
import re

from scripts.environment import ROOT


def test_its_commands_are_verbs_of_the_checkout_and_its_python_is_that_of_the_images() -> None:
    text = (ROOT / ".devcontainer/devcontainer.json").read_text()
    told = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    verb = told["onCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{verb}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    version = re.search(r"PYTHON_IMAGE=python:(\d\.\d+)", (ROOT / "deploy/Dockerfile").read_text())
    assert version is not None
    assert f":{version[1]}-" in told["image"]
    assert told["remoteEnv"]["PATH"].startswith("${containerWorkspaceFolder}/.venv/bin:")
