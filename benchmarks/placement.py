"""What one decision costs: 10,000 nodes, mixed constraints. Run: python benchmarks/placement.py

Targets (benchmark machine of the prototypes): 100 µs for an evaluation of a class that was never seen, 10 µs with
its masks kept, a million placements a second in one job.
"""

import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from skrei_domain import bloom
from skrei_domain.constraints import parse
from skrei_domain.lifecycle import Connection, JobState
from skrei_domain.node import NodeInfo, Plugin
from skrei_domain.resources import Resources
from skrei_domain.source_keys import source_key
from skrei_scheduling import ranking
from skrei_scheduling.feasibility import compute
from skrei_scheduling.rows import Evaluation, JobRow, KeyedInput, NodeRow, Requirement, TaskPlan
from skrei_scheduling.schedule import schedule
from skrei_scheduling.view import ClusterView

NODES = 10_000
REPEATS = 200
INPUTS = 100


def main() -> None:
    view = cluster()
    ask = requirement()
    for _ in range(5):
        compute(ask, view.matrix)
    work = view.feasibility.of(ask)
    print(f"{NODES} nodes, {int(work.possible.sum())} can run the class")
    report("masks of a class, computed", lambda: compute(ask, view.matrix))
    report("masks kept", lambda: view.feasibility.of(ask))
    report("one choice: masks kept", lambda: choose(view, ask))
    report("one choice: masks computed", lambda: (compute(ask, view.matrix), choose(view, ask)))
    one, hundred = job("j-1", 1, ask), job("j-100", 100, ask)
    report("schedule() of one job, Count: 1", lambda: plan(view, one))
    took = report("schedule() of one job, Count: 100", lambda: plan(view, hundred), repeats=50)
    print(f"{'':42}{100 / took * 1e6 / 1e3:10.0f} thousand placements a second")
    fill(view)
    one, hundred = job("j-1", 1, ask, reads=2), job("j-100", 100, ask, reads=2)
    report(f"the same, {INPUTS} inputs cached on each node", lambda: plan(view, job("j-1", 1, ask)))
    report("and it reads two of them, Count: 1", lambda: plan(view, one))
    report("and it reads two of them, Count: 100", lambda: plan(view, hundred), repeats=50)
    report("and it reads two that nobody has", lambda: plan(view, job("j-1", 1, ask, reads=-2)))


def choose(view: ClusterView, ask: Requirement) -> int | None:
    work = view.feasibility.of(ask)
    return ranking.best(work.with_room(view.matrix), ranking.keys(view.matrix, 7, favours=work.bonus))


def plan(view: ClusterView, row: JobRow) -> None:
    made = schedule(view, [Evaluation("", row.id, "room", row)], row.created_at, 7, lambda prefix: prefix)
    if len(made.placements) != row.units:
        raise SystemExit(f"{len(made.placements)} of {row.units} placed")


def report(what: str, step: Callable[[], object], repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e6)
    middle = statistics.median(times)
    print(f"{what:42}{middle:10.1f} µs")
    return middle


def fill(view: ClusterView) -> None:
    """Give every node a filter of some of the cluster's inputs."""
    rng = random.Random(2)
    there = [input_key(number) for number in range(5 * INPUTS)]
    for row in range(view.matrix.rows):
        view.matrix.cached.replace(row, bloom.build(rng.sample(there, INPUTS)))
    view.matrix.cached.sized((key, 100_000_000) for key in there)


def input_key(number: int) -> str:
    return source_key("s3", {"Bucket": "b", "Key": str(number)})


def cluster() -> ClusterView:
    rng = random.Random(1)
    return ClusterView.load((node(index, rng) for index in range(NODES)), [], [])


def node(index: int, rng: random.Random) -> NodeRow:
    name = f"n-{index:05d}"
    info = NodeInfo(
        node_id=name,
        labels={"region": rng.choice(["eu", "us", "ap"]), "disk": rng.choice(["ssd", "hdd"]), "rack": str(index % 64)},
        engines=tuple(Plugin(name=each) for each in ("wasm", "docker")[: rng.randint(1, 2)]),
        storages=(Plugin(name="inline"), Plugin(name="local")),
        capacity=Resources(cpu_milli=rng.choice([4000, 16000]), memory_bytes=rng.choice([8, 64]) << 30),
    )
    return NodeRow(id=name, info=info, connection=Connection.CONNECTED, incarnation=1)


def requirement() -> Requirement:
    return Requirement(
        engine="docker",
        storages=frozenset({"inline"}),
        constraints=parse("region in (eu,us),disk=ssd,rack>7"),
        resources=Resources(cpu_milli=500, memory_bytes=1 << 29),
    )


def job(name: str, count: int, ask: Requirement, *, reads: int = 0) -> JobRow:
    """Return a job that reads so many inputs; below zero: such as no node has."""
    first = 0 if reads > 0 else 10**6
    inputs = tuple(KeyedInput(input_key(first + number)) for number in range(abs(reads)))
    return JobRow(
        id=name,
        namespace="default",
        name=name,
        type="batch",
        priority=0,
        generation=1,
        version=1,
        state=JobState.PENDING,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        tasks=(TaskPlan("main", count, ask, inputs=inputs),),
    )


if __name__ == "__main__":
    main()
