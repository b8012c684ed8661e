"""Label constraints: Kubernetes selector semantics over a node's labels."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constraint:
    """One condition on a label; `operator` is one of in, notin, exists, !, =, ==, !=, gt, lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()
