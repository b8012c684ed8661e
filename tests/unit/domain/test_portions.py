"""Paths of a result with a publisher of their own: what a job may say of them, and which go together."""

import json
from typing import Any

import pytest

from skrei_domain.bounds import LARGEST
from skrei_domain.job import parse_job
from skrei_domain.job_reading import InvalidJob
from skrei_domain.node_results import LOCAL_DIRECTORY
from skrei_domain.portions import MOST_OWN, ROOM, Placed, Portion, heard, place_of, placed_at, portions, told

S3 = {"Type": "s3", "Params": {"Bucket": "b", "Key": "k"}}


def task(*own: Any, **more: Any) -> dict[str, Any]:
    paths = [{"Name": f"p{n}", "Path": f"/p{n}", "Publisher": each} for n, each in enumerate(own)]
    engine = {"Type": "wasm", "Params": {"EntryModule": "m"}}
    return {"Type": "batch", "Tasks": [{"Name": "m", "Engine": engine, "ResultPaths": paths} | more]}


def here(path: str, key: str = "") -> dict[str, Any]:
    return {"Type": "localDirectory", "Params": {"Path": path} | ({"Key": key} if key else {})}


def test_a_path_may_name_its_own_publisher() -> None:
    spec, warnings = parse_job(task(S3, None, {}, {"Type": "local"}, here("/srv"), here("/srv"), here("/srv", "x")))
    named = [None if each.publisher is None else each.publisher.type for each in spec.tasks[0].result_paths]
    assert (named, warnings) == (["s3", None, None, "local", *["localDirectory"] * 3], ())


@pytest.mark.parametrize(
    ("job", "path", "allowed"),
    [
        (task("s3"), "ResultPaths[0].Publisher", "an object with Type, Params"),
        (task({"Params": {"Bucket": "b"}}), "ResultPaths[0].Publisher.Type", "the name of a publisher"),
        (task(S3, {"Type": "LocalDirectory"}), "ResultPaths[1].Publisher.Params.Path", "an absolute path on the node"),
        (task(here("/srv/x", "{jobID}")) | {"Count": 2}, "ResultPaths[0].Publisher.Params.Key", "one for each of its"),
        (
            task(here("/srv"), here("/srv/{jobID}", "x"), here("/srv", "{jobID}")),
            "ResultPaths[2].Publisher.Params.Key",
            'beside "/srv/{jobID}/{executionID}"',
        ),
        (
            task(S3, Publisher={"Type": "localDirectory", "Params": {"Path": "/srv/x"}}),
            "ResultPaths[0].Publisher",
            "stays on its node",
        ),
        (task(here("/srv")) | {"Type": "daemon"}, "ResultPaths[0].Publisher.Type", "to Skrei's own store"),
        (task(Publisher=here("/srv")) | {"Type": "service"}, "Publisher.Type", "none that leaves results on the node"),
        (task(*[S3] * (MOST_OWN + 1)), f"ResultPaths[{MOST_OWN}].Publisher", f"at most {MOST_OWN}"),
        (task({"Type": "s3", "Params": []}), "ResultPaths[0].Publisher.Params", "an object"),
    ],
)
def test_what_cannot_be_is_named(job: dict[str, Any], path: str, allowed: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(job)
    (problem,) = raised.value.problems
    assert problem.path == f"Tasks[0].{path}"
    assert allowed in problem.allowed


def test_paths_of_one_place_go_there_together_and_those_of_the_task_s_own_with_the_rest() -> None:
    own = Portion((), "s3", {"Bucket": "rest"})
    two = {"Bucket": "two"}
    found = portions(own, [("a", "s3", two), ("b", "ipfs", {}), ("c", "s3", two), ("d", "s3", {"Bucket": "rest"})])
    assert found == (own, Portion(("a", "c"), "s3", two), Portion(("b",), "ipfs", {}))
    assert placed_at("forward:{}") is None


def test_what_is_told_of_them_is_heard_again() -> None:
    placed = [Placed((), "store", {}, "sha256:0", 1), Placed(("a",), "s3", {"Key": "k"}, "sha256:1", 2)]
    assert heard(told(placed)) == placed


def test_what_stays_on_a_node_is_told_in_the_room_that_it_has() -> None:
    digest, path = f"sha256:{'0' * 64}", "/srv/results/j-1"
    at = {"NodeID": f"n-{'1' * 36}", "Path": path}
    shown = f"{path}.e-{'2' * 36}.7"  # something else had come to lie there
    final = at | {"Path": shown, "Bytes": LARGEST, "Archive": {"Digest": digest, "Size": LARGEST}}
    wanted, is_at = (
        Portion(("scans",), "localdirectory", at),
        Placed(("scans",), LOCAL_DIRECTORY, final, digest, LARGEST),
    )
    assert len(json.dumps(told([is_at] * 8))) <= len(place_of([wanted] * 8)) + 8 * ROOM


def test_a_task_may_say_that_nothing_of_a_failure_is_kept() -> None:
    assert parse_job(task())[0].tasks[0].keep_failed is None
    assert parse_job(task(KeepFailed=False))[0].tasks[0].keep_failed is False
    with pytest.raises(InvalidJob, match="KeepFailed"):
        parse_job(task(KeepFailed="no"))
