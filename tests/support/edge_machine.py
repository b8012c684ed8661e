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
    """Its home, and what runs there in a session of its own. `told` are its settings.

    `names` are addresses of hosts that nobody else knows: it has an /etc/hosts of its own then, which wants root.
    """

    home: Path
    told: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def folder(self) -> Path:
        """Where its node keeps what it knows: root's is one folder of this whole machine else."""
        return self.home / "skrei"

    def run(self, line: str) -> None:
        """Start what a line of a shell says, as the machine's user has it."""
        self.home.mkdir(parents=True, exist_ok=True)
        line = f"{line} --data-dir {self.folder}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SKREI_")}
        path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        environment = kept | {"HOME": str(self.home), "PATH": path, **self.told}
        with (self.home / "said").open("ab") as said:
            self.process = subprocess.Popen(
                [*self.knowing(), *shlex.split(line)], cwd=self.home, env=environment,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def knowing(self) -> list[str]:
        """What stands before the words of a command that is to know the names of this machine."""
        if not self.names:
            return []
        hosts = self.home / "hosts"
        hosts.write_text(
            "".join(f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **self.names}.items())
        )
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]

    def standing(self) -> tuple[str, str]:
        """Where its node stands, and why; empty before it says anything."""
        file = self.folder / "agent/standing.json"
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
