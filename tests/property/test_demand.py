"""The scaling signal adds up, however work is grouped, and however jobs came and went in line."""

from hypothesis import given
from hypothesis import strategies as st

from skrei_scheduling.demand import GROUPS, OTHER, Kind, Waiting, demand
from skrei_scheduling.rows import Requirement
from skrei_scheduling.waiting import WaitingLine
from tests.support.builders import a_job, a_requirement

REQUIREMENTS = st.builds(
    a_requirement,
    engine=st.sampled_from(["docker", "wasm"]),
    cpu=st.sampled_from(["0", "100m", "4"]),
    memory=st.sampled_from(["0", "1GiB"]),
    gpu=st.integers(0, 2),
    constraints=st.one_of(
        st.sampled_from(["", "region=eu", "disk in (ssd,nvme),!old", "key>1"]),
        st.integers(0, 200).map(lambda number: f"rack={number}"),
        st.integers(100, 300).map(lambda length: f"rack={'x' * length}"),
    ),
)


def total(units: dict[Requirement, int]) -> Waiting:
    vectors = [(count, requirement.resources.vector()) for requirement, count in units.items()]
    return Waiting(
        sum(count for count, _ in vectors),
        sum(count * cpu for count, (cpu, _, _, _) in vectors),
        sum(count * memory for count, (_, memory, _, _) in vectors),
        sum(count * gpus for count, (_, _, _, gpus) in vectors),
    )


@given(st.dictionaries(REQUIREMENTS, st.integers(1, 1000), max_size=120))
def test_what_waits_is_told_whole_in_few_kinds(units: dict[Requirement, int]) -> None:
    found = demand(units)
    assert len(found) <= GROUPS
    assert Waiting(*map(sum, zip(*found.values(), strict=True))) == total(units) if units else not found
    assert all(len(kind.constraints) <= 200 for kind in found)
    engines = {requirement.engine for requirement in units}
    assert {kind.engine for kind in found} <= engines | {OTHER}


def test_the_kinds_of_which_most_waits_are_told_apart() -> None:
    units = {a_requirement(constraints=f"rack={number}"): number + 1 for number in range(GROUPS + 30)}
    found = demand(units)
    assert Kind("wasm", f"rack={GROUPS + 29}") in found
    assert Kind("wasm", "rack=0") not in found
    assert found[Kind(OTHER, OTHER)].units == sum(range(1, 32))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.one_of(st.none(), st.dictionaries(REQUIREMENTS, st.integers(1, 9), max_size=3))
        ),
        max_size=30,
    )
)
def test_units_of_classes_are_those_of_the_jobs_in_line(steps: list[tuple[int, dict[Requirement, int] | None]]) -> None:
    line, jobs = WaitingLine(), [a_job(f"j-{number}", priority=number) for number in range(6)]
    for number, classes in steps:
        if classes is None:
            line.drop(jobs[number].id)
        else:
            line.put(jobs[number], classes)
    expected: dict[Requirement, int] = {}
    for job in jobs:
        for requirement, count in line.of_job(job.id).items():
            expected[requirement] = expected.get(requirement, 0) + count
    assert line.all_units() == expected
    assert line.lengths().keys() == expected.keys()
