"""A machine with nothing but a node, outside of a cluster's network: it runs the line that its owner was told."""

import json
import os
import shlex
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from scripts.environment import ROOT

STOP_SECONDS = 20.0


@dataclass
class EdgeMachine:
    """Its home, and what runs there in a session of its own. `told` are its settings."""

    home: Path
    told: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def run(self, line: str) -> None:
        """Start what a line of a shell says, as the machine's user has it."""
        self.home.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SKREI_")}
        path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        with (self.home / "said").open("ab") as said:
            self.process = subprocess.Popen(
                shlex.split(line), cwd=self.home, env=kept | {"HOME": str(self.home), "PATH": path, **self.told},
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def standing(self, folder: str = ".skrei/agent") -> tuple[str, str]:
        """Where its node stands, and why; empty before it says anything."""
        file = self.home / folder / "standing.json"
        if self.process is None or self.process.poll() is not None or not file.exists():
            return "", ""
        found = json.loads(file.read_text())
        return found["state"], found["reason"]

    def said(self) -> str:
        """The end of all that it said."""
        return (self.home / "said").read_text()[-4_000:]

    def stop(self) -> None:
        """Stop it as its owner does."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None
