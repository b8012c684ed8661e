"""What a person waits for: from `install.sh` to hello, the commands of every day, a second machine that joins.

    .venv/bin/python -m benchmarks.laptop        about a minute, as root

Everything as installed from wheels into a home folder of its own; the package cache is warm and no index is asked. The
two machines are network namespaces of this one: what is timed is Skrei, not a cable.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.run import HERE, Figure, show
from tests.support.netns import Host, hosts
from tests.support.newcomer import Newcomer, newcomers

RUNS = 11
LONGEST_SECONDS = 60.0


def until(what: Callable[[], bool], seconds: float = LONGEST_SECONDS) -> None:
    """Return when it is so; a measurement has nobody else to tell it."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise SystemExit("it took too long")
        time.sleep(0.02)


def checked(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise SystemExit(f"{shlex.join(done.args)}: {done.stderr or done.stdout}")
    return done.stdout


def hello(person: Newcomer) -> float:
    """Install, and run a first program with nothing started: its word on stdout ends the time."""
    began = time.monotonic()
    checked(person.install())
    started = {"SKREI_AUTOSTART": "1"}
    said = checked(person.run(person.skrei, "wasm", "run", str(HERE / "hello.wasm"), **started))
    seconds = time.monotonic() - began
    if "hello" not in said.lower():
        raise SystemExit(f"it said {said!r}")
    return seconds


def typed(person: Newcomer, *words: str) -> float:
    """Return how long a command takes at the median, in milliseconds."""
    times = []
    for _ in range(RUNS):
        began = time.monotonic()
        checked(person.run(person.skrei, *words))
        times.append((time.monotonic() - began) * 1000)
    return round(statistics.median(times))


@contextmanager
def serving(person: Newcomer, host: Host, data: Path, *options: str) -> Iterator[None]:
    command = host.inside(person.skrei, "serve", "--data-dir", str(data), *options)
    with data.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, env=person.words, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def joining(person: Newcomer, folder: Path) -> tuple[float, float]:
    """Return from the pasted line to the node in the list, and from there to the waiting job completed."""
    plane, node = folder / "plane", folder / "node"
    with hosts(2) as (one, other), serving(person, one, plane, "--orchestrator", "--listen", one.address):

        def ready() -> bool:
            try:
                return bool(json.loads((plane / "stack.json").read_text()).get("ready"))
            except (OSError, ValueError):
                return False

        def ask(*words: str) -> str:
            return checked(person.run(*one.inside(person.skrei, *words)))

        until(ready)
        line = shlex.split(ask("node", "join-line", "--data-dir", str(plane)))
        job = ask("wasm", "run", "--id-only", str(HERE / "hello.wasm")).strip()
        began = time.monotonic()
        with serving(person, other, node, *line[2:]):
            until(lambda: "CONNECTED" in ask("node", "list", "-o", "json"))
            listed = time.monotonic()
            until(lambda: "Completed" in ask("job", "describe", job, "-o", "json"))
            return listed - began, time.monotonic() - listed


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with newcomers("home") as (person,), tempfile.TemporaryDirectory(prefix="skrei-laptop-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the database's user passes through
        first = hello(person)
        version, listed = typed(person, "version"), typed(person, "job", "list")
        checked(person.run(person.skrei, "down"))
        joined, started = joining(person, folder)
    show(
        [
            Figure("from install.sh to hello on screen", round(first, 1), "s", "<= 60", first <= 60),
            Figure("skrei version", version, "ms", "<= 150", version <= 150),
            Figure("skrei job list", listed, "ms", "<= 250", listed <= 250),
            Figure("the pasted line to the node in the list", round(joined, 1), "s", "<= 5", joined <= 5),
            Figure("a waiting job done after its first node", round(started, 1), "s", "start <= 2", started <= 2),
        ]
    )


if __name__ == "__main__":
    main()
