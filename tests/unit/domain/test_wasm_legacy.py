"""The older form of wasm tasks: modules as inputs by themselves."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.job import InvalidJob, parse_job
from skrei_domain.wasm_legacy import lift_wasm

SOURCE = {"Type": "inline", "Params": {"URL": "data:,x"}}


def a_job(params: dict[str, Any], **task: Any) -> dict[str, Any]:
    main = {"Name": "main", "Engine": {"Type": "WASM", "Params": params}} | task
    return {"Name": "j", "Type": "batch", "Tasks": [main]}


@pytest.mark.row("5.3/legacy-form")
def test_modules_become_inputs_at_their_places() -> None:
    params = {
        "entrymodule": {"source": SOURCE, "Alias": "main", "target": "/ignored"},
        "EntryPoint": "run",
        "ImportModules": [{"Source": SOURCE}, {"Source": SOURCE}],
    }
    spec, _ = parse_job(a_job(params, InputSources=[{"Source": SOURCE, "Target": "/data"}]))
    task = spec.tasks[0]
    assert [(one.target, one.alias) for one in task.input_sources] == [
        ("/data", ""),
        ("/wasm/entry.wasm", "main"),
        ("/wasm/imports/module_0.wasm", ""),
        ("/wasm/imports/module_1.wasm", ""),
    ]
    assert task.engine.param("EntryModule") == "/wasm/entry.wasm"
    assert task.engine.param("Entrypoint") == "run"
    assert task.engine.param("ImportModules") == ["/wasm/imports/module_0.wasm", "/wasm/imports/module_1.wasm"]


def test_todays_form_stays_as_it_is() -> None:
    params = {"EntryModule": "/a", "ImportModules": ["/b"]}
    spec, _ = parse_job(a_job(params))
    assert (dict(spec.tasks[0].engine.params), spec.tasks[0].input_sources) == (params, ())


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"EntryModule": {}}, "InputSources[0].Source.Type: missing"),
        ({"EntryModule": {"Source": {"Type": "inline", "Params": {"URL": 7}}}}, "InputSources[0].Source.Params.URL: 7"),
        ({"EntryModule": "/a", "ImportModules": [{"Source": SOURCE}, "text"]}, 'InputSources[1]: "text"'),
        ({"EntryModule": ["a"]}, 'Engine.Params.EntryModule: ["a"]'),
    ],
)
def test_what_is_wrong_in_it_is_named(params: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(a_job(params))
    assert f"Tasks[0].{named}" in raised.value.message


SOME = (None, 7, "/a", {}, {"Source": SOURCE}, {"target": 7}, ["/a"])
json = st.sampled_from(SOME) | st.lists(st.sampled_from(SOME), max_size=3)


@given(json, json, json)
def test_whatever_is_sent_is_lifted_once_and_fails_never(entry: object, modules: object, inputs: object) -> None:
    params = {"EntryModule": entry, "ImportModules": modules}
    task = {"Engine": {"Type": "wasm", "Params": params}, "InputSources": inputs}
    lift_wasm(task)
    again = dict(task)
    lift_wasm(again)
    assert again == task
