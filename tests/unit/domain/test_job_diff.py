"""What differs between two specs, as people read it."""

import pytest

from skrei_domain.job import parse_job
from skrei_domain.job_diff import difference, same, what_runs
from skrei_domain.spec import JobSpec, TaskSpec, decode, encode


def a_spec(**task: object) -> JobSpec:
    whole = {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "ubuntu"}}} | task
    return parse_job({"Type": "batch", "Name": "mine", "Tasks": [whole]})[0]


def test_a_long_text_is_told_by_its_beginning_its_length_and_its_digest() -> None:
    old, new = (a_spec(Meta={"notes": "x" * 300 + end}) for end in "ab")
    lines = [line for line in difference(old, new).splitlines() if line[0] in "+-"]
    assert [line.partition("…")[0] for line in lines] == [f'{sign}    "notes": "{"x" * 60}' for sign in "-+"]
    assert lines[0].endswith('(301 characters, sha256 f5e724b7ec29)"')
    assert lines[0][1:] != lines[1][1:]


def test_what_stands_around_a_change_is_told_and_what_is_far_is_not() -> None:
    told = difference(a_spec(), a_spec(Env={"A": "1"}))
    assert '+    "A": "1"' in told
    assert "Constraints" not in told
    assert all(line[:1] in "+- " for line in told.splitlines())


@pytest.mark.row("2.9/diff")
def test_the_letters_of_amounts_make_no_version_and_those_of_anything_else_do() -> None:
    assert same(a_spec(Resources={"Memory": "1GiB"}), a_spec(Resources={"memory": "1 gib"}))
    stored = a_spec()
    capital = stored.tasks[0].resources.model_copy(update={"memory": "512Mb"})
    old = stored.model_copy(update={"tasks": (stored.tasks[0].model_copy(update={"resources": capital}),)})
    assert same(old, stored), "what was stored before amounts were read in lower case"
    assert not same(a_spec(Env={"A": "x"}), a_spec(Env={"A": "X"}))


class NewerTask(TaskSpec):
    """A task as a later release knows it."""

    shine: int = 3


class NewerJob(JobSpec):
    """A job as a later release knows it."""

    glow: str = "none"
    tasks: tuple[NewerTask, ...] = ()


def test_a_release_that_knows_more_of_a_spec_does_not_start_again_what_runs() -> None:
    text = encode(a_spec(Env={"A": "x"}, Resources={"Memory": "1GiB"}))
    newer = NewerJob.model_validate_json(text)
    assert what_runs(newer) == what_runs(decode(text))
    assert what_runs(newer.model_copy(update={"glow": "red"})) != what_runs(newer), "what is said counts"
    assert what_runs(newer.model_copy(update={"tasks": (newer.tasks[0].model_copy(update={"shine": 4}),)})) != (
        what_runs(newer)
    )


def test_what_runs_is_all_but_how_many_there_are_and_how_they_are_updated() -> None:
    spec = a_spec(Env={"A": "x"})
    (task,) = spec.tasks
    more = spec.model_copy(update={"count": 7, "tasks": (task.model_copy(update={"count": 3}),)})
    slower = spec.model_copy(update={"update": spec.update.model_copy(update={"max_surge": 9})})
    assert what_runs(more) == what_runs(slower) == what_runs(spec)
    letters = [a_spec(Env={"A": "x"}, Resources={"Memory": amount}) for amount in ("600Mb", "600MB")]
    assert what_runs(letters[0]) == what_runs(letters[1]) != what_runs(spec)
    others = [a_spec(Env={"A": "y"}), a_spec(Env={"A": "x"}, Network={"Type": "Bridge"})]
    others.append(spec.model_copy(update={"meta": {"mine": "1"}}))
    assert len({what_runs(each) for each in (spec, *others)}) == 4
    assert what_runs(JobSpec()), "a spec that says nothing is one too"
