"""What a seed makes of a cluster: its nodes, its jobs, and which faults strike when."""

import random
from dataclasses import dataclass

from skrei_domain.job import JobSpec
from skrei_domain.node import NodeInfo, Plugin
from skrei_domain.spec import Check, Offline, ResourcesConfig, SpecConfig, TaskSpec, TcpCheck, Timeouts, UpdateConfig
from tests.support.builders import amounts, selector

FAULTS = (
    "crash", "crash", "wipe", "leave", "gone", "cut", "cut", "cut-all", "freeze", "freeze", "kill", "deafen", "doom",
    "wipe-streams", "storm", "shift", "shift", "publisher-away", "publisher-away", "publisher-loses", "publisher-no",
    "publisher-slow",
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """One seed's choices. `jobs` and `faults` come with their moments."""

    seconds: float
    nodes: tuple[NodeInfo, ...]
    jobs: tuple[tuple[float, JobSpec], ...]
    faults: tuple[tuple[float, str], ...]
    stopped: float
    changed: float
    flaky: float


def choose(rng: random.Random) -> Scene:
    """Choose a scene: not every fault in every life, so that each meets long stretches without the others."""
    if rng.random() < 0.3:
        return _islands(rng)
    seconds = rng.choice([40.0, 80.0, 120.0])
    kinds = rng.sample(FAULTS, k=rng.randint(1, 5))
    return Scene(
        seconds=seconds,
        nodes=tuple(_node(rng, number) for number in range(rng.randint(2, 5))),
        jobs=tuple((rng.uniform(0.0, seconds * 0.8), _job(rng, number)) for number in range(rng.randint(3, 9))),
        faults=tuple((rng.uniform(1.0, seconds), rng.choice(kinds)) for _ in range(rng.randint(1, 12))),
        stopped=rng.choice([0.0, 0.2, 0.5]),
        changed=rng.choice([0.0, 0.0, 0.3, 0.7]),
        flaky=rng.choice([0.0, 0.0, 0.2, 0.6]),
    )


def _islands(rng: random.Random) -> Scene:
    """Nodes that are cut off while they work, and come back to find a replacement at work: who wins is a close race."""
    seconds = 180.0
    cuts = [rng.uniform(5.0, seconds * 0.7) for _ in range(rng.randint(3, 9))]
    others = [
        (rng.uniform(5.0, seconds), rng.choice(["freeze", "kill", "doom", "crash", "storm", "storm", "publisher-away"]))
        for _ in range(rng.randint(0, 6))
    ]
    jobs = []
    for number in range(rng.randint(3, 6)):
        job, task = _job(rng, number), _job(rng, number).tasks[0]
        engine = SpecConfig(
            type="wasm", params={"seconds": rng.choice([20.0, 35.0, 60.0]), "end": rng.choice(["ok", "large"])}
        )
        small = ResourcesConfig(cpu="100m", memory="64Mb")
        task = task.model_copy(update={"engine": engine, "resources": small, "timeouts": Timeouts()})
        offline = Offline(wait=rng.choice([1, 3, 8]), on_return=rng.choice([job.offline.on_return, "keep-original"]))
        job = job.model_copy(update={"tasks": (task,), "offline": offline, "constraints": ()})
        jobs.append((rng.uniform(0.0, seconds * 0.5), job))
    return Scene(
        seconds=seconds,
        nodes=tuple(_node(rng, number) for number in range(rng.randint(2, 4))),
        jobs=tuple(jobs),
        faults=(*((moment, "island") for moment in cuts), *others),
        stopped=rng.choice([0.0, 0.2]),
        changed=rng.choice([0.0, 0.0, 0.5]),
        flaky=0.0,
    )


def another(rng: random.Random, spec: JobSpec) -> JobSpec:
    """Choose what a user makes of a job: all but its name may differ, or of a service its Count alone."""
    if spec.type == "service" and rng.random() < 0.4:
        return spec.model_copy(update={"count": rng.choice([0, 1, 2, 3, 5])})
    return _job(rng, 0).model_copy(update={"name": spec.name})


def _node(rng: random.Random, number: int) -> NodeInfo:
    engines = ["wasm", "docker"] if rng.random() < 0.6 else ["wasm"]
    return NodeInfo(
        node_id=f"n-{number}",
        labels={"zone": rng.choice("ab")},
        engines=tuple(Plugin(name=name) for name in engines),
        storages=(Plugin(name="inline"), Plugin(name="local")),
        publishers=(Plugin(name="local"),),
        capacity=amounts(rng.choice(["1", "2", "4"]), "4GiB", "100GiB"),
    )


def _job(rng: random.Random, number: int) -> JobSpec:
    end = rng.choice(["ok", "ok", "ok", "large", "large", "large", "large-trap", "exit", "trap"])
    seconds = rng.choice([0.01, 0.2, 2.0, 8.0, 30.0, 1e9])
    endless = seconds > 1e6
    kind = rng.choice(["batch", "batch", "batch", "ops", "daemon", "service"])
    check = Check(tcp=TcpCheck(port="web")) if kind != "batch" and rng.random() < 0.5 else None
    return JobSpec(
        name=f"job {number}",
        type=kind,
        update=UpdateConfig(
            max_surge=rng.choice([1, 2]), min_ready=rng.choice([0, 2, 5]), progress_deadline=rng.choice([10, 60, 600])
        ),
        count=0 if kind in ("ops", "daemon") else rng.choice([1, 1, 2, 3, 5, 8]),
        priority=rng.choice([0, 0, 10]),
        constraints=selector(rng.choice(["", "", "", "zone=a", "zone!=a"])),
        offline=Offline(
            wait=rng.choice([3, 10, 30]),
            replace=rng.random() < 0.85,
            on_return=rng.choice(["keep-first", "keep-original", "stop"]),
        ),
        tasks=(
            TaskSpec(
                name="main",
                engine=SpecConfig(
                    type=rng.choice(["wasm", "wasm", "wasm", "docker"]),
                    params={"seconds": seconds, "end": end, "ready": rng.random() < 0.7},
                ),
                check=check,
                resources=ResourcesConfig(cpu=rng.choice(["100m", "500m", "1", "1", "3"]), memory="64Mb"),
                timeouts=Timeouts(
                    execution_timeout=rng.choice([5, 40]) if endless else rng.choice([0, 0, 10]),
                    queue_timeout=rng.choice([0, 0, 0, 5, 60]),
                    total_timeout=rng.choice([0, 0, 0, 20, 120]),
                ),
            ),
        ),
    )
