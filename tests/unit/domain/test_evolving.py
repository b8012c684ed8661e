"""Replacing fields of a value: the same as the library's own way, for every kind of value that it is used for."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import pytest

from skrei_domain.evolving import replace
from skrei_domain.lifecycle import ExecutionState, JobState
from tests.support.builders import a_job, a_node, a_requirement, an_execution


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (a_job("j-1"), {"state": JobState.RUNNING, "won": frozenset({("main", 1)})}),
        (an_execution("e-1"), {"state": ExecutionState.RUNNING, "changes": 7}),
        (a_node("n-1"), {"confirmed": 9}),
        (a_requirement(), {"engine": "other"}),
        (a_node("n-1"), {}),
    ],
    ids=["job", "execution", "node", "made by its constructor", "nothing"],
)
def test_a_value_is_replaced_as_the_library_does(value: Any, changes: dict[str, Any]) -> None:
    found = replace(value, **changes)
    assert found == dataclasses.replace(value, **changes)
    assert found is not value
    if changes:
        assert found != value


def test_what_its_constructor_makes_is_made_anew() -> None:
    plain = a_requirement()
    assert hash(replace(plain, engine="other")) != hash(plain)
    assert hash(replace(replace(plain, engine="other"), engine=plain.engine)) == hash(plain)


def test_a_field_that_there_is_not_is_refused() -> None:
    job: Any = a_job("j-1")
    with pytest.raises(TypeError, match="JobRow has no field nonsense"):
        replace(job, nonsense=1)


@dataclass(frozen=True, kw_only=True)
class _Named:
    one: int = 1
    two: int = 2


@dataclass(frozen=True)
class _Alone:
    one: int = 1
    two: int = field(init=False, default=2)


@pytest.mark.parametrize("value", [_Named(), _Alone()])
def test_a_class_that_is_made_otherwise_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="not foreseen"):
        replace(value, one=3)
