import json
from typing import Any

import pytest

from skrei_domain.errors import Invalid
from skrei_domain.job import InvalidJob, JobSpec, decode
from skrei_domain.retention import parse_policy
from skrei_domain.spec import RetentionConfig
from skrei_orchestrator_api import submit
from skrei_orchestrator_api.origin import with_origin
from skrei_orchestrator_api.problems import HttpProblem
from skrei_orchestrator_api.submit import (
    KEPT_BODIES,
    KEPT_BODY_BYTES,
    Bodies,
    check_retention,
    digest,
    read_submission,
    to_store,
    traceparent,
)

JOB: dict[str, Any] = {
    "Type": "batch",
    "Tasks": [{"Name": "main", "Engine": {"Type": "wasm", "Params": {"EntryModule": "m"}}}],
}


def body(**fields: Any) -> bytes:
    return json.dumps({"Job": JOB} | fields).encode()


@pytest.mark.row("1.1/keys-in-any-case")
def test_a_body_is_read_with_its_keys_in_any_case() -> None:
    spec, warnings, token, force, _ = read_submission(
        json.dumps({"job": JOB, "idempotencytoken": "t-1", "FORCE": True}).encode()
    )
    assert (spec.type, warnings, token, force) == ("batch", (), "t-1", True)


def test_force_is_a_truth_value() -> None:
    assert not read_submission(body()).force
    assert not read_submission(body(Force=None)).force
    with pytest.raises(Invalid, match=r"^Force: \"yes\"; allowed: true or false$"):
        read_submission(body(Force="yes"))


@pytest.mark.row("1.4/cli-body")
def test_the_whole_body_that_the_original_client_sends_is_accepted() -> None:
    zero = {"ID": "", "Name": "", "Namespace": "", "State": {"StateType": "Undefined"}, "Version": 0, "Meta": None}
    spec, warnings, _, _, _ = read_submission(
        body(Job=JOB | zero, Force=False, Namespace="", IdempotencyToken="", Credential=None)
    )
    assert (spec.namespace, warnings) == ("default", ())


def test_the_namespace_may_stand_beside_the_job_but_the_jobs_own_wins() -> None:
    assert read_submission(body(Namespace="team"))[0].namespace == "team"
    assert read_submission(body(Job=JOB | {"namespace": "own"}, Namespace="team"))[0].namespace == "own"


@pytest.mark.parametrize(
    "raw", [b"", b"  ", b"nonsense", b'{"Job":', b"[]", b'"text"', b"\xff\xfe", b'{"a":NaN}', b"[" * 9_000]
)
def test_what_is_no_json_object_is_answered_as_the_http_layer_does(raw: bytes) -> None:
    with pytest.raises(HttpProblem) as raised:
        read_submission(raw)
    assert (raised.value.status, raised.value.code, raised.value.component) == (400, "BadRequest", "APIServer")


@pytest.mark.parametrize("raw", [b"{}", b'{"Job":null}'])
@pytest.mark.row("B/no-job")
def test_no_job_is_told_in_the_words_that_clients_know(raw: bytes) -> None:
    with pytest.raises(Invalid, match=r"^empty/nil job$"):
        read_submission(raw)


@pytest.mark.parametrize(
    "raw", [b'{"Job":{"Name":"\\ud800","Type":"batch"}}', b'{"Job":{"Name":"a\\u0000","Type":"batch"}}']
)
def test_half_characters_and_nuls_are_refused_by_field(raw: bytes) -> None:
    with pytest.raises(Invalid) as raised:
        read_submission(raw)
    assert raised.value.message.startswith('Name: "')


@pytest.mark.parametrize("token", [7, "x" * 257, "a\0", "a\nb", {"a": 1}])
def test_an_idempotency_token_that_no_index_could_hold_is_refused(token: object) -> None:
    with pytest.raises(Invalid, match=r"^IdempotencyToken: allowed: printable text"):
        read_submission(body(IdempotencyToken=token))


def test_a_job_without_a_name_is_called_by_its_id() -> None:
    spec, text, blobs = to_store(read_submission(body())[0], "j-1")
    assert (spec.name, decode(text).name, blobs) == ("j-1", "j-1", ())
    assert to_store(read_submission(body(Job=JOB | {"Name": "mine"}))[0], "j-1")[0].name == "mine"


def test_large_inline_data_is_stored_beside_the_spec() -> None:
    source = {"Source": {"Type": "inline", "Params": {"URL": "data:," + "x" * 5_000}}, "Target": "/in"}
    job = JOB | {"Tasks": [JOB["Tasks"][0] | {"InputSources": [source]}]}
    _, text, (blob,) = to_store(read_submission(body(Job=job))[0], "j-1")
    assert blob.data == b"x" * 5_000
    assert f'"URL":"blob:{blob.digest};mime="' in text


def test_the_same_body_has_the_same_digest_however_it_is_written() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_a_callers_trace_goes_on_and_what_is_none_is_left_out() -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert traceparent(given) == given
    for bad in ("", "00-00000000000000000000000000000000-b7ad6b7169203331-01", given + "\0", given.upper()):
        assert traceparent(bad) == ""


def test_a_name_that_no_address_can_hold_is_warned_of() -> None:
    _, warnings, *_ = read_submission(body(Job=JOB | {"name": "team/night"}))
    assert warnings == ('Name: "team/night" has a slash, which parts an address: use the job\'s id in addresses',)


def test_a_body_that_comes_again_means_the_same_and_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies, raw = Bodies(), body()
    first = bodies.read(raw, "team")
    assert first == read_submission(raw, "team")
    stored = to_store(with_origin(first.spec, {"X-Bacalhau-InstanceID": "i-1"}, "here"), "j-1")
    monkeypatch.setattr(submit, "read_submission", lambda *_: pytest.fail("it was read before"))
    again = bodies.read(raw, "team")
    assert again == first, "and whoever took it has changed nothing of it"
    assert to_store(with_origin(again.spec, {"X-Bacalhau-InstanceID": "i-1"}, "here"), "j-1") == stored
    assert to_store(again.spec, "j-2")[0].name == "j-2"


def test_the_same_body_in_another_namespace_is_another_one() -> None:
    bodies = Bodies()
    assert [bodies.read(body(), name).spec.namespace for name in ("one", "two", "one")] == ["one", "two", "one"]


def test_few_bodies_are_kept_and_none_that_is_long_names_a_token_or_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    real = read_submission

    def reading(raw: bytes, namespace: str = "") -> submit.Asked:
        read.append(raw)
        return real(raw, namespace)

    monkeypatch.setattr(submit, "read_submission", reading)
    bodies = Bodies()
    never = [body(IdempotencyToken="t-1"), body(Job=JOB | {"Meta": {"long": "x" * KEPT_BODY_BYTES}})]
    for raw in never * 2:
        bodies.read(raw)
    for _ in range(2):
        with pytest.raises(Invalid):
            bodies.read(body(Force="yes"))
    assert len(read) == 6
    many = [body(Job=JOB | {"Name": f"n-{number}"}) for number in range(KEPT_BODIES + 1)]
    for raw in many:
        bodies.read(raw)
    read.clear()
    bodies.read(many[-1])
    assert read == []
    bodies.read(many[0])
    assert read == [many[0]], "the one that came longest ago went"


def test_a_job_that_wants_to_be_kept_longer_than_it_may_is_told_how_long_it_may() -> None:
    policy = parse_policy({"results.max": "10d", "team:results.max": "1d"})
    spec = JobSpec(namespace="team", retention=RetentionConfig(results=2 * 86_400))
    with pytest.raises(InvalidJob) as caught:
        check_retention(spec, policy)
    (problem,) = caught.value.problems
    assert str(problem) == 'Retention.Results: "2d"; allowed: at most 1d in namespace team (SKREI_RETENTION)'
    check_retention(spec.model_copy(update={"namespace": "other"}), policy)
    check_retention(JobSpec(namespace="team"), policy)
