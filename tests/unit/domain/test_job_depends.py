"""Tasks that wait for others: what may be said of it, how it is stored, and the exact lines that answer the rest."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.job import InvalidJob, decode, encode, parse_job
from skrei_domain.job_depends import Dependency, find_circle, is_inside


def a_task(name: str, *depends: Any, **changes: Any) -> dict[str, Any]:
    task = {"Name": name, "Engine": {"Type": "wasm", "Params": {"EntryModule": "m"}}, **changes}
    return task | ({"DependsOn": list(depends)} if depends else {})


def a_job(*tasks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"Type": "batch", "Tasks": list(tasks)} | changes


def from_task(name: Any, **params: Any) -> dict[str, Any]:
    return {"Source": {"Type": "task", "Params": {"Task": name, **params}}, "Target": "/in"}


OTHER = "the name of another task of this job"
FORM = "a task's name, or {Task: name, Partition: same}"
INSIDE = "a path inside of that task's result, such as `stdout` or `outputs/a.csv`"

WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "a name that nobody has",
        a_job(a_task("train"), a_task("test", "trian")),
        [f"Tasks[1].DependsOn[0]: \"trian\"; allowed: {OTHER}; did you mean 'train'?"],
    ),
    ("itself", a_job(a_task("a", "a")), [f'Tasks[0].DependsOn[0]: "a"; allowed: {OTHER}']),
    ("another case", a_job(a_task("A"), a_task("b", "Z")), [f'Tasks[1].DependsOn[0]: "Z"; allowed: {OTHER}']),
    ("a blank name", a_job(a_task("a", " ")), ['Tasks[0].DependsOn[0]: " "; allowed: a text that is not blank']),
    ("no list", a_job(a_task("a"), a_task("b") | {"DependsOn": "a"}), ['Tasks[1].DependsOn: "a"; allowed: a list']),
    ("a number", a_job(a_task("a", 5)), [f"Tasks[0].DependsOn[0]: 5; allowed: {FORM}"]),
    (
        "an object without a task",
        a_job(a_task("a", {"Partition": "same"})),
        ["Tasks[0].DependsOn[0].Task: missing; allowed: a text that is not blank"],
    ),
    (
        "another word for partitions",
        a_job(a_task("a"), a_task("b", {"Task": "a", "Partition": "next"})),
        ['Tasks[1].DependsOn[0].Partition: "next"; allowed: all, same'],
    ),
    (
        "the same index of a task with another count",
        a_job(a_task("a", Count=3), a_task("b", {"Task": "a", "Partition": "same"}), Count=2),
        ["Tasks[1].DependsOn[0].Partition: \"same\"; allowed: all: 'a' has 3 partitions, 'b' 2"],
    ),
    (
        "the same task twice",
        a_job(a_task("a"), a_task("b", "a", {"Task": "a", "Partition": "same"})),
        ['Tasks[1].DependsOn[1]: "a"; allowed: a task that is not also at Tasks[1].DependsOn[0]'],
    ),
    (
        "two that wait for each other",
        a_job(a_task("a", "b"), a_task("b", "a")),
        ['Tasks[0].DependsOn: "a -> b -> a"; allowed: no circle: it would wait for itself'],
    ),
    (
        "a circle behind others, closed by an input",
        a_job(a_task("x"), a_task("a", "x", "c"), a_task("b", "a"), a_task("c", InputSources=[from_task("b")])),
        ['Tasks[1].DependsOn: "a -> c -> b -> a"; allowed: no circle: it would wait for itself'],
    ),
    (
        "an input from nowhere",
        a_job(a_task("a", InputSources=[from_task("b")])),
        [f'Tasks[0].InputSources[0].Source.Params.Task: "b"; allowed: {OTHER}'],
    ),
    (
        "an input from itself",
        a_job(a_task("a", InputSources=[from_task("a")])),
        [f'Tasks[0].InputSources[0].Source.Params.Task: "a"; allowed: {OTHER}'],
    ),
    (
        "an input without a task",
        a_job(a_task("a", InputSources=[{"Source": {"Type": "Task"}, "Target": "/in"}])),
        [f"Tasks[0].InputSources[0].Source.Params.Task: missing; allowed: {OTHER}"],
    ),
    (
        "an input of a number",
        a_job(a_task("a", InputSources=[from_task(7)])),
        [f"Tasks[0].InputSources[0].Source.Params.Task: 7; allowed: {OTHER}"],
    ),
    (
        "an input from outside of a result",
        a_job(a_task("a"), a_task("b", InputSources=[from_task("a", Path="../x")])),
        [f'Tasks[1].InputSources[0].Source.Params.Path: "../x"; allowed: {INSIDE}'],
    ),
    (
        "an input at an absolute path",
        a_job(a_task("a"), a_task("b", InputSources=[from_task("a", path="/etc")])),
        [f'Tasks[1].InputSources[0].Source.Params.Path: "/etc"; allowed: {INSIDE}'],
    ),
    (
        "no partition at all",
        a_job(a_task("a", Count=0)),
        ["Tasks[0].Count: 0; allowed: a whole number from 1 to 10,000"],
    ),
    (
        "too many partitions together",
        a_job(a_task("a"), a_task("b", Count=4_001), Count=6_000),
        ["Tasks: 10,001 partitions in all; allowed: at most 10,000"],
    ),
    (
        "two of one name",
        a_job(a_task("a"), a_task("a")),
        ['Tasks[1].Name: "a"; allowed: a name that is not also at Tasks[0].Name'],
    ),
    ("33 tasks", a_job(*(a_task(f"t{i}") for i in range(33))), ["Tasks: 33 tasks; allowed: 1 to 32 tasks"]),
]


@pytest.mark.parametrize(("raw", "lines"), [pytest.param(raw, lines, id=name) for name, raw, lines in WRONG])
def test_a_dependency_that_cannot_be_is_named(raw: dict[str, Any], lines: list[str]) -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(raw)
    assert raised.value.message.splitlines() == lines


def test_dependencies_are_kept_as_they_were_said() -> None:
    spec, warnings = parse_job(
        a_job(a_task("a", Count=3), a_task("b", "a"), a_task("c", {"task": "a", "partition": "SAME"}, Count=3), Count=2)
    )
    assert warnings == ()
    assert [spec.count_of(task) for task in spec.tasks] == [3, 2, 3]
    assert spec.units == 8
    assert [task.needs for task in spec.tasks] == [(), (Dependency("a"),), (Dependency("a", same=True),)]
    text = encode(spec)
    assert '"DependsOn":["a"]' in text
    assert '"DependsOn":[{"Task":"a","Partition":"same"}]' in text
    assert decode(text) == spec
    again = parse_job(json.loads(text))[0]
    assert [(task.needs, task.count) for task in again.tasks] == [(task.needs, task.count) for task in spec.tasks]


def test_an_input_from_a_task_is_a_dependency_of_its_own() -> None:
    spec, _ = parse_job(
        a_job(
            a_task("a"),
            a_task("b"),
            a_task(
                "c",
                {"Task": "b", "Partition": "same"},
                InputSources=[from_task("a"), from_task("b") | {"Target": "/b"}],
            ),
        )
    )
    assert spec.tasks[2].needs == (Dependency("b", same=True), Dependency("a"))


def test_a_job_of_one_task_is_stored_as_ever() -> None:
    text = encode(parse_job(a_job(a_task("main")))[0])
    assert "DependsOn" not in text
    assert text.count('"Count"') == 1


@pytest.mark.row("2.2/tasks", "12/one-task")
def test_32_tasks_in_a_row_are_a_job() -> None:
    names = [f"t{i}" for i in range(32)]
    chain = [a_task(name, *names[max(i - 1, 0) : i]) for i, name in enumerate(names)]
    assert parse_job(a_job(*chain))[0].units == 32


@pytest.mark.parametrize("path", ["", "stdout", "outputs/a.csv", "./a", "a..b/c"])
def test_what_lies_inside(path: str) -> None:
    assert is_inside(path)


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4)))
def test_a_circle_is_found_exactly_where_no_order_is(needs: dict[str, list[str]]) -> None:
    """A circle is one: each waits for the next. Where none is found the tasks can be put in an order."""
    circle = find_circle(needs)
    if circle:
        assert circle[0] == circle[-1]
        assert all(after in needs[before] for before, after in itertools.pairwise(circle))
        return
    done: set[str] = set("abcdef") - needs.keys()
    while left := needs.keys() - done:
        free = {name for name in left if all(need in done for need in needs[name])}
        assert free, f"no circle was found, and {left} have no order"
        done |= free
