"""Jobs of a scene that want a port of their node by its number: few numbers, so that they stand in each other's way."""

import random

from skrei_domain.spec import JobSpec, NetworkConfig, Port

NUMBERS = (8080, 8080, 8080, 9090)


def with_ports(rng: random.Random, spec: JobSpec) -> JobSpec:
    """Return the job with a port for each of some of its tasks."""
    if rng.random() < 0.5:
        return spec
    network = NetworkConfig(type="Host", ports=(Port(name="web", static=rng.choice(NUMBERS)),))
    return spec.model_copy(
        update={
            "tasks": tuple(
                task.model_copy(update={"network": network}) if rng.random() < 0.7 else task for task in spec.tasks
            )
        }
    )
