"""The command line typed at a live stack, by a user of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.live_stack import LiveStack

SKREI = str(Path(sys.executable).with_name("skrei"))
SECONDS = 90


def environment_at(stack: LiveStack, folder: Path) -> dict[str, str]:
    """The variables of somebody whose commands mean this stack, and who keeps what they remember in `folder`."""
    told = {"SKREI_API_URL": stack.state()["api_url"], "XDG_STATE_HOME": str(folder / "state"), "TERM": "xterm"}
    return dict(os.environ) | told | {"XDG_CONFIG_HOME": str(folder / "config")}


@dataclass(frozen=True, slots=True)
class Typist:
    """Runs `skrei` with these first words."""

    environment: dict[str, str]
    first: tuple[str, ...] = ()

    def __call__(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = [SKREI, *self.first, *words]
        return subprocess.run(command, capture_output=True, check=False, env=self.environment, timeout=SECONDS)
