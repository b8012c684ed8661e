"""Jobs of a scene made into jobs of several tasks that wait for each other."""

import random

from skrei_domain.job_depends import Dependency
from skrei_domain.job_kinds import Kind
from skrei_domain.spec import JobSpec, ResourcesConfig, SpecConfig, TaskSpec, Timeouts

NAMES = "abcde"


def ordered(rng: random.Random, spec: JobSpec) -> JobSpec:
    """Return a batch of two to five tasks in some order; some want a node of their own, and mostly they end well."""
    counts = [rng.choice([1, 1, 2, 3]) for _ in range(rng.randint(2, len(NAMES)))]
    tasks = [_task(rng, spec.tasks[0], counts, index) for index in range(len(counts))]
    rng.shuffle(tasks)
    return spec.model_copy(update={"type": Kind.BATCH, "count": 1, "tasks": tuple(tasks)})


def _task(rng: random.Random, like: TaskSpec, counts: list[int], index: int) -> TaskSpec:
    needs = [
        Dependency(NAMES[before], same=counts[before] == counts[index] and rng.random() < 0.5)
        for before in range(index)
        if rng.random() < 0.5
    ]
    end = rng.choice(["ok"] * 5 + ["large"] * 4 + ["trap"])
    engine = SpecConfig(
        type=rng.choice([like.engine.type, "wasm", "wasm"]),
        params={"seconds": rng.choice([0.01, 0.2, 2.0, 8.0]), "end": end},
    )
    return like.model_copy(
        update={
            "name": NAMES[index],
            "count": counts[index],
            "depends_on": tuple(needs) or None,
            "engine": engine,
            "resources": ResourcesConfig(cpu=rng.choice(["100m", "500m", "1", "1"]), memory="64Mb"),
            "timeouts": Timeouts(queue_timeout=rng.choice([0, 0, 0, 5, 60]), total_timeout=rng.choice([0, 0, 0, 120])),
        }
    )
