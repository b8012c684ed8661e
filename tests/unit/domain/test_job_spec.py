import base64
from typing import Any

import pytest

from skrei_domain.constraints import Constraint
from skrei_domain.job import (
    MAX_SPEC_BYTES,
    InvalidJob,
    JobSpec,
    cut_blobs,
    decode,
    decode_data_url,
    encode,
    parse_job,
    references,
    restore_blobs,
    stored_text,
)
from skrei_domain.resources import Resources

HELLO: dict[str, Any] = {
    "Type": "batch",
    "Tasks": [{"Name": "main", "Engine": {"Type": "wasm", "Params": {"EntryModule": "m"}}}],
}


def spec_of(**changes: Any) -> JobSpec:
    return parse_job(HELLO | changes)[0]


def with_inline(url: str) -> JobSpec:
    source = {"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": "/in"}
    return spec_of(Tasks=[HELLO["Tasks"][0] | {"InputSources": [source]}])


@pytest.mark.row("2.3/lower-case", "2.1/count", "2.1/namespace", "2.1/priority", "2.2/publisher", "2.3/defaults")
def test_a_bare_job_gets_the_defaults() -> None:
    spec = spec_of()
    task = spec.tasks[0]
    assert (spec.count, spec.namespace, spec.priority, spec.constraints) == (1, "default", 0, ())
    assert (task.resources.cpu, task.resources.memory) == ("500m", "512mb")
    assert task.resources.amounts() == Resources(cpu_milli=500, memory_bytes=512_000_000)
    assert (task.publisher.type, task.network.type) == ("", "Default")
    assert (spec.offline.wait, spec.offline.replace, spec.offline.on_return) == (300, True, "keep-first")


@pytest.mark.row("2.1/count")
def test_an_explicit_count_of_zero_is_kept() -> None:
    assert spec_of(Count=0).count == 0


@pytest.mark.row("2.2/result-paths", "2.2/publisher")
def test_what_a_task_leaves_needs_no_publisher() -> None:
    left = [{"Name": "out", "Path": "/out"}]
    spec, warnings = parse_job(HELLO | {"Tasks": [HELLO["Tasks"][0] | {"ResultPaths": left}]})
    assert ([path.path for path in spec.tasks[0].result_paths], warnings) == (["/out"], ())


@pytest.mark.row("2.3/amounts-as-numbers", "2.5/durations")
def test_amounts_and_durations_may_be_numbers_and_durations_texts() -> None:
    told = {"Resources": {"CPU": 2, "Memory": 1024}, "Timeouts": {"ExecutionTimeout": "5m", "QueueTimeout": 7}}
    (task,) = parse_job(HELLO | {"Tasks": [HELLO["Tasks"][0] | told]})[0].tasks
    assert task.resources.amounts() == Resources(cpu_milli=2000, memory_bytes=1024)
    assert (task.timeouts.execution_timeout, task.timeouts.queue_timeout) == (300, 7)


@pytest.mark.row("2.7/unicode")
@pytest.mark.parametrize("name", ["A", "A_1", "ÄB", "ΣUM", "X__Y"])
def test_names_of_variables_may_have_the_letters_of_any_language(name: str) -> None:
    (task,) = parse_job(HELLO | {"Tasks": [HELLO["Tasks"][0] | {"Env": {name: "x"}}]})[0].tasks
    assert task.env == {name: "x"}


@pytest.mark.row("2.1/null-is-absent", "2.1/lists")
def test_a_null_stands_for_an_absent_key_everywhere() -> None:
    nulls = dict.fromkeys(
        ["Name", "Namespace", "Count", "Constraints", "Meta", "Labels", "Offline", "State", "Version"]
    )
    task = dict.fromkeys(
        ["Publisher", "Env", "Meta", "InputSources", "ResultPaths", "Resources", "Network", "Timeouts"]
    )
    spec, warnings = parse_job(HELLO | nulls | {"Tasks": [HELLO["Tasks"][0] | task]})
    assert spec == spec_of()
    assert warnings == ()


@pytest.mark.row("2.1/any-case", "2.3/json-name")
def test_keys_match_in_any_case_but_not_inside_maps_that_are_the_users() -> None:
    spec, warnings = parse_job(
        {
            "type": "BATCH",
            "labels": {"Team": "x", "team": "y"},
            "TASKS": [
                {
                    "name": "main",
                    "engine": {"type": "wasm", "params": {"entryModule": "a.wasm"}},
                    "resources": {"cpu": "1 000 M", "memory": "1GI"},
                    "inputsources": [{"source": {"TYPE": "local", "params": {"sourcePath": "/d"}}, "target": "/x"}],
                    "timeouts": {"executiontimeout": 5, "totalTimeout": "1h"},
                }
            ],
            "offline": {"wait": "2m", "onreturn": "Stop"},
        }
    )
    task = spec.tasks[0]
    assert warnings == ()
    assert spec.type == "batch"
    assert spec.labels == {"Team": "x", "team": "y"}
    assert task.engine.params == {"entryModule": "a.wasm"}
    assert task.engine.param("EntryModule") == "a.wasm"
    assert (task.resources.cpu, task.resources.memory) == ("1000m", "1gi")
    assert (task.timeouts.execution_timeout, task.timeouts.total_timeout) == (5, 3600)
    assert (spec.offline.wait, spec.offline.on_return) == (120, "stop")
    assert task.input_sources[0].source.type == "local"


@pytest.mark.row("2.1/id", "2.1/server-fields")
def test_what_the_server_sets_is_ignored_with_the_warnings_that_clients_know() -> None:
    _, warnings = parse_job(
        HELLO
        | {
            "ID": "j-1",
            "State": {"StateType": "Running"},
            "Revision": 2,
            "Version": 3,
            "CreateTime": 4,
            "ModifyTime": 5,
            "Meta": {"bacalhau.org/requester.id": "x", "mine": "y"},
        }
    )
    assert warnings == (
        "job ID is ignored when submitting a batch job",
        "job state is ignored when submitting a job",
        "job revision is ignored when submitting a job",
        "job version is ignored when submitting a job",
        "job create time is ignored when submitting a job",
        "job modify time is ignored when submitting a job",
        'job meta key "bacalhau.org/requester.id" is reserved and will be ignored',
    )


@pytest.mark.row("2.1/zero-values", "3.1/names")
def test_zero_values_of_a_client_that_sends_everything_are_no_reason_to_warn() -> None:
    zero = {
        "ID": "",
        "State": {"StateType": "Undefined"},
        "Version": 0,
        "Revision": 0,
        "CreateTime": 0,
        "ModifyTime": 0,
    }
    assert parse_job(HELLO | zero)[1] == ()


@pytest.mark.row("2.1/unknown-keys")
def test_an_unknown_key_is_kept_and_answered_with_the_nearest_known_one() -> None:
    spec, warnings = parse_job(HELLO | {"Cuont": 3, "x": 1})
    assert warnings == (
        "unknown key \"Cuont\" is kept but has no effect; did you mean 'Count'?",
        'unknown key "x" is kept but has no effect',
    )
    assert '"Cuont":3' in encode(spec)
    assert decode(encode(spec)) == spec


def test_a_stored_spec_reads_back_as_it_was() -> None:
    spec = spec_of(
        Constraints=[{"key": "region", "operator": "IN", "values": ["eu", "us"]}],
        Tasks=[
            {
                "Name": "main",
                "Engine": {"Type": "docker", "Params": {"Image": "busybox", "N": 1.5}},
                "Env": {"A": "ø"},
                "ResultPaths": [{"Name": "out", "Path": "/out"}],
                "Resources": {"CPU": 2, "Memory": 1048576, "GPU": "1"},
            }
        ],
    )
    assert spec.constraints == (Constraint("region", "in", ("eu", "us")),)
    assert decode(encode(spec)) == spec
    assert spec.tasks[0].resources.amounts() == Resources(cpu_milli=2000, memory_bytes=1 << 20, gpu=1)


@pytest.mark.row("2.2/never-null")
def test_engine_and_publisher_are_never_null_in_what_is_stored() -> None:
    text = encode(
        spec_of(Tasks=[{"Name": "m", "Engine": {"Type": "wasm", "Params": {"EntryModule": "m"}}, "Publisher": None}])
    )
    assert '"Publisher":{"Type":"","Params":{}}' in text
    assert '"Engine":{"Type":"wasm","Params":{"EntryModule":"m"}}' in text


def test_a_spec_over_its_limit_is_refused_and_one_at_it_is_not() -> None:
    room = MAX_SPEC_BYTES - len(stored_text(spec_of(Meta={"k": ""})))
    assert len(stored_text(spec_of(Meta={"k": "x" * room}))) == MAX_SPEC_BYTES
    with pytest.raises(InvalidJob, match="65,537 bytes; allowed: at most 65,536 bytes without inline data"):
        stored_text(spec_of(Meta={"k": "x" * (room + 1)}))


class TestInlineData:
    def test_small_data_stays_where_it_is(self) -> None:
        spec = with_inline("data:text/plain;base64," + base64.b64encode(b"x" * 4096).decode())
        assert cut_blobs(spec) == (spec, ())

    def test_large_data_is_cut_out_by_digest_and_put_back(self) -> None:
        data = bytes(range(256)) * 17
        url = "data:application/wasm;base64," + base64.b64encode(data).decode()
        spec = with_inline(url)
        cut, blobs = cut_blobs(spec)
        (blob,) = blobs
        assert blob.data == data
        assert cut.tasks[0].input_sources[0].source.param("URL") == f"blob:{blob.digest};mime=application/wasm"
        assert list(references(cut)) == [blob.digest]
        assert restore_blobs(cut, {blob.digest: data}) == spec
        assert restore_blobs(cut, {}) == cut

    def test_the_same_data_twice_is_one_blob(self) -> None:
        url = "data:,%41" + "x" * 5000
        sources = [{"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": f"/{i}"} for i in range(2)]
        _, blobs = cut_blobs(spec_of(Tasks=[HELLO["Tasks"][0] | {"InputSources": sources}]))
        assert [blob.data for blob in blobs] == [b"A" + b"x" * 5000]

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("data:,a%20b", ("", b"a b")),
            ("data:text/plain;charset=utf-8,hi", ("text/plain;charset=utf-8", b"hi")),
            ("DATA:application/gzip;BASE64,aGk%3D", ("application/gzip", b"hi")),
        ],
    )
    def test_data_urls_are_read_as_the_standard_says(self, url: str, expected: tuple[str, bytes]) -> None:
        assert decode_data_url(url) == expected
