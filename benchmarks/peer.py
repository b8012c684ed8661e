"""Beside the peer: Bacalhau and Skrei on this machine in this hour, in turns, the same load client on both.

    make bacalhau && .venv/bin/python -m benchmarks.peer        about five minutes

A machine's speed drifts by two within a day, so a time in milliseconds says as much of the hour as of the code. The
targets of docs/PERFORMANCE.md were set beside what this peer reached on the machine of that day: each turn here gives a
ratio, and each target is one too. Both keep their data in one folder, on one file system.
"""

import argparse
import os
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.run import START_SECONDS, Stack, alone, load
from scripts import bacalhau
from skrei_embedded.nats import free_port

WARM, SERIAL, SERIAL_TURNS = 20, 50, 9
BURST, BURST_WIDTH, BURST_TURNS = 3_000, 32, 2
STOP_SECONDS = 20
QUIET = {  # it asks nobody outside whether there is a newer one, and tells nobody of its use
    "DisableAnalytics": "true",
    "UpdateConfig.Interval": "0s",
    "WebUI.Enabled": "false",
    "API.Host": "127.0.0.1",
    "Orchestrator.Host": "127.0.0.1",
    "Publishers.Types.Local.Address": "127.0.0.1",
}


@dataclass(frozen=True)
class Row:
    """One figure of both, and the ratio that is asked for: the target by what the peer reached where it was set."""

    what: str
    ours: list[float]
    theirs: list[float]
    asked: float
    less_is_better: bool

    def __str__(self) -> str:
        """Medians, the ratio of each turn, their median beside what is asked."""
        ratios = [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        found = statistics.median(ratios)
        met = found <= self.asked if self.less_is_better else found >= self.asked
        return (
            f"{self.what:42} {statistics.median(self.ours):8.1f} {statistics.median(self.theirs):8.1f} {found:6.2f}  "
            f"{'<=' if self.less_is_better else '>='} {self.asked:.2f}  {'ok' if met else 'MISSED'}   "
            f"(turns: {', '.join(f'{ratio:.2f}' for ratio in ratios)})"
        )


@contextmanager
def peer(folder: Path) -> Iterator[str]:
    """Bacalhau, orchestrator and compute node in one process with a store on disk, as the address of its API."""
    if not bacalhau.COMMAND.exists():
        raise SystemExit("Bacalhau's command line is not there: `make bacalhau` builds it (minutes, wants Go)")
    port = free_port()
    settings = QUIET | {"API.Port": str(port), "Orchestrator.Port": str(free_port())}
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command = [
        str(bacalhau.COMMAND),
        "serve",
        "--orchestrator",
        "--compute",
        "--data-dir",
        str(folder / "data"),
        *flags,
    ]
    base, end = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HOME": str(folder)})
    try:
        while not is_alive(base):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"Bacalhau did not start:\n{(folder / 'log').read_text()[-3000:]}")
            time.sleep(0.1)  # it tells nobody that it is ready: it can only be asked
        yield base
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_alive(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/api/v1/agent/alive", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def measure(ours: str, theirs: str) -> list[Row]:
    """Take turns, each going first in every second one."""
    both = (ours, theirs)
    for base in both:
        load(base, "serial", n=WARM)  # modules compiled, statements prepared, pools grown
    serial: dict[str, list[float]] = {base: [] for base in both}
    submitted: dict[str, list[float]] = {base: [] for base in both}
    ended: dict[str, list[float]] = {base: [] for base in both}
    for turn in range(SERIAL_TURNS):
        for base in both if turn % 2 else reversed(both):
            serial[base].append(load(base, "serial", n=SERIAL)["p50_ms"])
    for turn in range(BURST_TURNS):
        for base in both if turn % 2 else reversed(both):
            found = load(base, "burst", n=BURST, c=BURST_WIDTH)
            submitted[base].append(found["submit_per_s"])
            ended[base].append(found["jobs_per_s"])
    return [
        Row("serial wasm, submit to terminal, p50, ms", serial[ours], serial[theirs], 10 / 13.15, less_is_better=True),
        Row("submissions inside the burst, /s", submitted[ours], submitted[theirs], 1_000 / 875, less_is_better=False),
        Row("wasm jobs end to end, /s", ended[ours], ended[theirs], 400 / 81.5, less_is_better=False),
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with alone() as folder:
        for each in ("ours", "theirs"):
            (folder / each).mkdir(mode=0o711)
        stack = Stack(folder / "ours")
        with peer(folder / "theirs") as theirs:
            try:
                stack.start()
                rows = measure(stack.base, theirs)
            finally:
                stack.stop()
    print(f"\n{'figure':42} {'Skrei':>8} {'Bacalhau':>8} {'ratio':>6}  asked")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
