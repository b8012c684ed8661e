"""What a run order says of where its result goes: in the node's words what to upload, in the token all the rest."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from skrei_domain.lifecycle import JobState
from skrei_domain.messages import LeftPart, Publishing, RunOrder
from skrei_domain.portions import Portion
from skrei_domain.spec import JobSpec, ResultPath, SpecConfig, TaskSpec, encode
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import TokenSigner, TokenVerifier, UploadGrant, UploadRight
from skrei_scheduler.specs import SpecCache, order
from tests.support.builders import NOW, a_job, an_execution

PRIVATE, PUBLIC = new_key()
GRANT = UploadGrant("store", 1_000, 3_600.0)
S3 = SpecConfig(type="S3", params={"Bucket": "b", "Key": "{jobID}/{partition}/{date}"})


def ordered(publisher: SpecConfig, **given: Any) -> tuple[RunOrder, UploadRight]:
    paths, keep, upload = given.pop("paths", ()), given.pop("keep_failed", None), given.pop("upload", GRANT)
    job = replace(a_job("j-1", state=JobState.RUNNING, type=given.pop("type", "batch")), **given)
    row = an_execution("e-1", job=job, partition=1)
    task = TaskSpec(
        name="main", engine=SpecConfig(type="wasm"), publisher=publisher, result_paths=paths, keep_failed=keep
    )
    spec = SpecCache().put("j-1", 1, encode(JobSpec(count=2, tasks=(task,))))
    signer = TokenSigner(PRIVATE, now=NOW.timestamp)
    made = order(row, job, spec, signer=signer, now=NOW, token=timedelta(hours=1), upload=upload)
    if upload is None:
        return made, UploadRight("e-1", "n-1", "", 0)
    return made, TokenVerifier(PUBLIC, now=NOW.timestamp).upload(made.token, "e-1")


def test_a_destination_stands_in_the_token_with_its_words_replaced() -> None:
    made, right = ordered(S3)
    assert made.publishing == Publishing(to="s3")
    assert (right.publisher, right.most_bytes) == ("s3", 1_000)
    assert right.params == {"Bucket": "b", "Key": f"j-1/1/{NOW:%Y%m%d}"}


def test_every_attempt_and_every_repeat_of_an_order_names_the_same_place() -> None:
    asked = {"asked_at": NOW - timedelta(days=1)}
    first, later = ordered(S3, **asked), ordered(S3, **asked)
    assert first[1].params == later[1].params == {"Bucket": "b", "Key": f"j-1/1/{NOW - timedelta(days=1):%Y%m%d}"}


def test_exit_codes_that_fail_a_job_are_told() -> None:
    assert ordered(S3, fails_on_exit=True)[0].publishing == Publishing(to="s3", on_zero=True)


@pytest.mark.parametrize("name", ["", "local", "noop", "None", "store"])
def test_our_own_store_needs_no_word(name: str) -> None:
    made, right = ordered(SpecConfig(type=name))
    assert (made.publishing, right.publisher, right.params) == (None, "store", {})


@pytest.mark.parametrize("kind", ["service", "daemon"])
def test_what_never_ends_publishes_nothing_elsewhere(kind: str) -> None:
    made, right = ordered(S3, type=kind)
    assert (made.publishing, right.publisher) == (None, "store")


def test_what_stays_on_its_node_has_a_place_there_and_no_way_to_the_store() -> None:
    made, right = ordered(SpecConfig(type="localDirectory", params={"Path": "/srv/out"}))
    assert made.publishing == Publishing(to="localdirectory", place="/srv/out/j-1/e-1")
    assert right.publisher == "localdirectory"
    keyed, _ = ordered(SpecConfig(type="localDirectory", params={"Path": "/srv/out", "Key": "{partition}/x"}))
    assert keyed.publishing == Publishing(to="localdirectory", place="/srv/out/1/x")


def test_a_place_that_cannot_be_is_the_node_s_to_refuse() -> None:
    made, _ = ordered(SpecConfig(type="localDirectory", params={"Path": "../out"}))
    assert made.publishing == Publishing(to="localdirectory", place="")


def test_a_path_s_own_publisher_stands_in_the_token_beside_its_task_s() -> None:
    paths = (ResultPath(name="a", path="/a", publisher=S3), ResultPath(name="b", path="/b"))
    made, right = ordered(SpecConfig(), paths=paths)
    assert made.publishing == Publishing(to="store")
    assert right.publisher == "store"
    assert right.portions == (
        Portion((), "store", {}),
        Portion(("a",), "s3", {"Bucket": "b", "Key": f"j-1/1/{NOW:%Y%m%d}"}),
    )


def test_paths_that_go_where_their_task_s_result_goes_are_no_portions() -> None:
    own = SpecConfig(type="local", params={"Anything": "ignored"})
    made, right = ordered(SpecConfig(), paths=(ResultPath(name="a", path="/a", publisher=own),))
    assert right.portions == ()
    assert made.publishing == Publishing(to="store")
    assert ordered(S3, paths=(ResultPath(name="a", path="/a", publisher=S3),))[1].portions == ()


def test_what_never_ends_has_no_portions() -> None:
    paths = (ResultPath(name="a", path="/a", publisher=S3),)
    made, right = ordered(SpecConfig(), type="service", paths=paths)
    assert (made.publishing, right.portions) == (None, ())


def test_what_is_not_to_be_kept_of_a_failure_is_told() -> None:
    assert ordered(SpecConfig())[0].drop is None
    assert ordered(SpecConfig(), keep_failed=True)[0].drop is None
    assert ordered(SpecConfig(), keep_failed=False)[0].drop == "failed"
    assert ordered(SpecConfig(), keep_failed=False, fails_on_exit=True)[0].drop == "nonzero"


def test_a_path_that_stays_on_its_node_is_told_to_it_and_to_whoever_makes_the_rest_final() -> None:
    def here(key: str) -> SpecConfig:
        return SpecConfig(type="localDirectory", params={"Path": "/srv/", "Key": key})

    named = [("a", here("{jobID}/x")), ("b", S3), ("c", here("{jobID}/x")), ("d", here("{partition}"))]
    paths = tuple(ResultPath(name=name, path=f"/{name}", publisher=publisher) for name, publisher in named)
    made, right = ordered(SpecConfig(), paths=paths)
    left = (LeftPart(paths=("a", "c"), place="/srv/j-1/x"), LeftPart(paths=("d",), place="/srv/1"))
    assert made.publishing == Publishing(to="store", left=left)
    assert [(each.paths, each.publisher) for each in right.portions] == [
        ((), "store"),
        (("a", "c"), "localdirectory"),
        (("b",), "s3"),
        (("d",), "localdirectory"),
    ]
    assert right.portions[1].params == {"NodeID": "n-1", "Path": "/srv/j-1/x"}


def test_where_nobody_takes_uploads_a_node_is_told_all_the_same_what_may_not_leave_it() -> None:
    path = ResultPath(name="a", path="/a", publisher=SpecConfig(type="localDirectory", params={"Path": "/srv"}))
    made, _ = ordered(SpecConfig(), paths=(path,), upload=None)
    assert made.publishing is not None
    assert [each.place for each in made.publishing.left] == ["/srv/j-1/e-1"]
